"""Some channels of an image whose reader knows no bands: a volume or an array."""

from __future__ import annotations

import numpy as np

from ..windows import Window
from .pixel_meaning import PixelMeaning
from .source import Level, Source


class SelectedSource(Source):
    """Reads some channels of an image, in an order of their own.

    Args:
        source: The image.
        meaning: Which channels.
    """

    def __init__(self, source: Source, meaning: PixelMeaning) -> None:
        self._source, self._bands = source, list(meaning.bands)
        self.path, self.name, self.frame = source.path, source.name, source.frame
        self.shape, self.dtype, self.channels = source.shape, source.dtype, len(self._bands)
        self.nodata, self.value_step, self.bits = source.nodata, source.value_step, source.bits
        self.roles, self.notes = meaning.roles, (*source.notes, *meaning.notes)

    @property
    def levels(self) -> list[Level]:
        """Shape and downsample of the levels that the file holds, the finest first."""
        return self._source.levels

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        return self._source.read(window)[..., self._bands]

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds: see `Source.valid`."""
        found = self._source.valid(window)
        return None if found is None else found[..., self._bands]

    def close(self) -> None:
        """Closes the image."""
        self._source.close()
