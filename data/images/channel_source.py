"""Several images of one place as the channels of one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskzoo.errors import ImageError

from ..windows import Window
from .placement import brought_onto, places_in_words
from .source import Level, Source


class ChannelSource(Source):
    """Reads several images as the channels of one: bands of a satellite, or modalities of a scanner.

    Args:
        sources: The images, in the order of the channels; all channels of each are taken.
        name: What messages call the whole.

    Raises:
        ImageError: If they differ in size or place.
    """

    def __init__(self, sources: Sequence[Source], name: str) -> None:
        first = sources[0]
        self.sources = [first, *(fitted(source, first) for source in sources[1:])]
        self.path, self.name, self.shape, self.frame = first.path, name, first.shape, first.frame
        self.channels = sum(source.channels for source in sources)
        self.dtype = np.result_type(*(source.dtype for source in sources))
        self.roles = tuple(role for source in sources for role in source.roles)
        self.notes = tuple(dict.fromkeys(note for source in sources for note in source.notes))

    @property
    def files(self) -> list[Path]:
        """The files that the values come from."""
        return [file for source in self.sources for file in source.files]

    @property
    def levels(self) -> list[Level]:
        """Shape and downsample of the levels that the file of the first channel holds, the finest first."""
        return self.sources[0].levels

    def close(self) -> None:
        """Closes what this process holds open of the files."""
        for source in self.sources:
            source.close()

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        parts = [source.read(window).astype(self.dtype, copy=False) for source in self.sources]
        return np.concatenate(parts, axis=-1)

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the files hold: see `Source.valid`."""
        parts = [source.valid(window) for source in self.sources]
        if all(part is None for part in parts):
            return None
        whole = [(*window.size, source.channels) for source in self.sources]
        filled = [np.ones(shape, bool) if part is None else part for part, shape in zip(parts, whole, strict=True)]
        return np.concatenate(filled, axis=-1)


def fitted(source: Source, first: Source) -> Source:
    """Returns an image with the axes of another one, and refuses one of another size or place."""
    if sorted(source.shape) == sorted(first.shape):
        placed = brought_onto(source, first)
        if placed is None:
            wanted, received = places_in_words(first.frame, source.frame)
            raise ImageError(source.name, f"the place of {first.name}, {wanted}", received)
        source = placed
    if source.shape != first.shape:
        sizes = (" x ".join(map(str, shape)) for shape in (first.shape, source.shape))
        raise ImageError(source.name, f"the size of {first.name}, {next(sizes)}", next(sizes))
    return source
