"""Arrays in memory, and NPY files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from maskzoo.errors import readable

from ..windows import Window
from .reading import read_mirrored, require_finite, require_numbers, spatial_and_channels
from .source import Frame, Source


class ArraySource(Source):
    """Reads an array, or a NPY file without loading the whole of it: see `open_source`.

    Args:
        image: Array `(*spatial)` or `(*spatial, channels)`, or the path of a NPY file.
        spatial_dims: Number of spatial axes, see `open_source`.
        name: What messages call an array in memory.
    """

    def __init__(
        self, image: np.ndarray | str | os.PathLike[str], spatial_dims: int | None = None, *, name: str = "array"
    ) -> None:
        self._image = image
        self.path = None if isinstance(image, np.ndarray) else Path(image)
        self.name = name if self.path is None else str(self.path)
        array = self._open()
        self.dtype = require_numbers(self.name, array.dtype)
        self.shape, self.channels = spatial_and_channels(self.name, array.shape, spatial_dims)
        self.frame = Frame(self.shape)

    def _open(self) -> np.ndarray:
        if isinstance(self._image, np.ndarray):
            return self._image
        # Products of absurd sizes overflow.
        with readable(self.name, "a readable NPY file"), np.errstate(over="ignore"):
            return np.load(self._image, mmap_mode="r", allow_pickle=False)

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        array = self._open().reshape((*self.shape, self.channels))
        return require_finite(read_mirrored(self, window, lambda box: np.array(array[box.slices])), self.name, window)
