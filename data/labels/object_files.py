"""Labels with a file for each object of an image: read as one label that numbers them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskzoo.errors import LabelError

from ..images.opening import open_source
from ..images.source import Frame, Source
from ..windows import Window
from .values import bands_are_equal, by, one_band_expected


class ObjectFilesSource(Source):
    """Reads the masks of the objects of an image, a file for each, as their numbers: `uint16` `(*size, 1)`, 0 outside.

    Where objects overlap, the later one counts.

    Args:
        folder: The folder of the files.
        files: The files in the order of the numbers, the first 1; none for an image without objects.
        shape: Rows and columns of the image.

    Raises:
        LabelError: If a mask is of another size than the image.
    """

    def __init__(self, folder: Path, files: Sequence[Path], shape: Sequence[int]) -> None:
        self.path, self.name = folder, str(folder)
        self.shape, self.channels, self.dtype = tuple(shape), 1, np.dtype(np.uint16)
        self.frame = Frame(self.shape)
        self._objects = [open_source(file, spatial_dims=len(self.shape), palette="index") for file in files]
        for source in self._objects:
            if source.shape != self.shape:
                raise LabelError(source.name, f"a mask of the size of its image, {by(shape)}", by(source.shape))

    @property
    def files(self) -> list[Path]:
        """The files that the values come from."""
        return [file for source in self._objects for file in source.files]

    def read(self, window: Window) -> np.ndarray:
        """Returns the numbers of the objects in a window, `uint16` `(*size, 1)`.

        Raises:
            LabelError: If the bands of a mask differ.
        """
        numbers = np.zeros((*window.size, 1), np.uint16)
        for number, source in enumerate(self._objects, 1):
            mask = source.read(window)
            if not bands_are_equal(mask):
                raise one_band_expected(source)
            numbers[mask[..., :1] != 0] = number
        return numbers

    def close(self) -> None:
        """Closes what this process holds open of the files."""
        for source in self._objects:
            source.close()
