"""NPY files, and the array in a file that NIfTI is written through, too."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from ..windows import Window
from .format_writer import FormatWriter, WriterOptions


class ArrayWriter(FormatWriter):
    """Writes a NPY file; a single band gets no axis of its own."""

    def __init__(self, path: Path, shape: tuple[int, ...], options: WriterOptions) -> None:
        self._bands, dtype = options.bands, np.dtype(options.dtype)
        shape = shape if self._bands == 1 else (*shape, self._bands)
        with open(path, "wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, header)
            offset = file.tell()
        self._values = reserved_array(path, dtype, offset, shape, "C")

    def write(self, window: Window, array: np.ndarray, band: int | None = None) -> None:
        """Writes a window: see `FormatWriter`."""
        put(self._values, window, array, band, self._bands)

    def finish(self) -> None:
        """Writes what is left."""
        self._values.flush()
        del self._values

    def abandon(self) -> None:
        """Closes the file as it is."""
        del self._values


def put(values: np.ndarray, window: Window, array: np.ndarray, band: int | None, bands: int) -> None:
    """Writes all bands of a window, or one, into an array whose bands, if there are several, are its last axis.

    Args:
        values: Array `(*spatial)` or `(*spatial, bands)`.
        window: Window inside it.
        array: Values `(*size, bands)`, or `(*size, 1)` of one band.
        band: Number of the band to write; `None` for all.
        bands: Number of bands.
    """
    box = window.slices + ((...,) if band is None or bands == 1 else (..., band))
    values[box] = array.reshape(values[box].shape)


def reserved_array(
    path: Path, dtype: DTypeLike, offset: int, shape: tuple[int, ...], order: Literal["C", "F"]
) -> np.memmap:
    """Maps an array of zeros behind the header of a file, its disk space reserved.

    Args:
        path: The file.
        dtype: Type of the values.
        offset: Bytes of the header.
        shape: Shape of the array.
        order: `C` if the last axis is stored fastest, `F` if the first is.
    """
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    with open(path, "rb+") as file:
        if hasattr(os, "posix_fallocate"):
            # A mapped page that finds the disk full kills the process.
            os.posix_fallocate(file.fileno(), offset, size)
        else:
            file.truncate(offset + size)
    return np.memmap(path, dtype, "r+", offset, shape, order)
