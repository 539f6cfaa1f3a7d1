"""Some channels of an image whose reader knows no bands: a volume or an array."""

from __future__ import annotations

import numpy as np

from ..windows import Window
from .pixel_meaning import PixelMeaning
from .source import Source
from .wrapped_source import WrappedSource


class SelectedSource(WrappedSource):
    """Reads some channels of an image, in an order of their own.

    Args:
        source: The image.
        meaning: Which channels.
    """

    def __init__(self, source: Source, meaning: PixelMeaning) -> None:
        super().__init__(source)
        self._bands = list(meaning.bands)
        self.channels, self.roles, self.palette_colors = len(self._bands), meaning.roles, None
        self.notes = (*source.notes, *meaning.notes)
        self.band_names = tuple(source.band_names[band] for band in self._bands) if source.band_names else ()

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        return self.source.read(window)[..., self._bands]

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds: see `Source.valid`."""
        found = self.source.valid(window)
        return None if found is None else found[..., self._bands]
