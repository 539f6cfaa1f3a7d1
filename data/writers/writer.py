"""`open_writer`: an output that is written window by window, in bounded memory, all of it or nothing."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from maskzoo.errors import ImageError, UnwritableFile, reason
from maskzoo.files import check_writable, written_atomically
from maskzoo.files import lock_file as lock_file  # callers know it as `data.lock_file`

from ..images.image_files import file_suffix
from ..images.source import Source
from ..windows import Window, window_grid
from .array_writer import ArrayWriter
from .format_writer import FormatWriter, WriterOptions
from .raster_writer import RasterWriter, block_size
from .volume_writer import VolumeWriter

# What `Writer.fill` holds at a time.
BYTES_AT_ONCE = 1 << 25
# Of files beside an output that tell of its pixels, and of those alone.
STALE_SUFFIXES = (".ovr", ".aux.xml", ".msk", ".msk.ovr", ".ovr.aux.xml")
WRITER_SUFFIXES = (".tif", ".tiff", ".nii", ".nii.gz", ".png", ".npy")
SINK_SUFFIXES = WRITER_SUFFIXES  # the name until version 0.1


def open_writer(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    options: WriterOptions | None = None,
    *,
    unfinished: Path | None = None,
) -> Writer:
    """Prepares a file that windows can be written to, in any order.

    The file appears under its name when the context of the writer ends without an exception; until then, and after an
    exception, what was there before stays.

    Args:
        path: A `.tif` or `.tiff` (tiled, compressed BigTIFF), `.nii` or `.nii.gz`, `.png` or `.npy` file in an existing
            folder; replaced if it exists.
        shape: Spatial sizes, two of them, or two or three for NIfTI and NPY.
        options: What the file holds; by default class ids in one band.
        unfinished: Path to write to until the file is complete; by default one that no other process has.

    Raises:
        UnwritableFile: If the file cannot be written.
        ImageError: If the format cannot hold what is asked for.
    """
    path, options = Path(path), options or WriterOptions()
    shape = tuple(int(length) for length in shape)
    suffix = file_suffix(path)
    dtype = np.dtype(options.dtype)
    if suffix not in WRITER_SUFFIXES:
        raise ImageError(path, f"an output of type {' '.join(WRITER_SUFFIXES)}", suffix or "no suffix")
    make: Callable[[Path, tuple[int, ...], WriterOptions], FormatWriter]
    make = {".nii": VolumeWriter, ".nii.gz": VolumeWriter, ".npy": ArrayWriter}.get(suffix, RasterWriter)
    if len(shape) != 2 and (len(shape) != 3 or make is RasterWriter):
        raise ImageError(path, f"an image with 2 axes for {suffix}", f"shape {shape}")
    if options.cog and suffix not in (".tif", ".tiff"):
        raise ImageError(path, "a .tif or .tiff to make a COG of", suffix)
    if suffix == ".png" and (dtype not in (np.uint8, np.uint16) or options.bands > 4):
        raise ImageError(path, "up to 4 bands of uint8 or uint16 for .png", f"{options.bands} of {dtype}")
    if options.like is not None and tuple(options.like.shape) != shape:
        raise ImageError(path, f"the size of {options.like.name}, {tuple(options.like.shape)}", shape)
    if options.class_names is not None and options.bands > 1 and len(options.class_names) != options.bands:
        raise ImageError(path, f"{options.bands} class names", list(options.class_names))
    check_writable(path)
    return Writer(path, shape, options, make, unfinished)


def open_sink(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    *,
    bands: int = 1,
    dtype: DTypeLike = "uint8",
    like: Source | None = None,
    class_names: Sequence[str] | None = None,
    colors: Sequence[Sequence[int]] | None = None,
    cog: bool = False,
) -> Writer:
    """`open_writer` with its options one by one, as it was called until version 0.1: see `WriterOptions`."""
    return open_writer(path, shape, WriterOptions(bands, dtype, like, class_names, colors, cog))


class Writer:
    """An output file under a temporary name, renamed when it is complete: see `open_writer`."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        options: WriterOptions,
        make: Callable[[Path, tuple[int, ...], WriterOptions], FormatWriter],
        unfinished: Path | None,
    ) -> None:
        self.path, self.shape, self.bands, self.dtype = path, shape, options.bands, np.dtype(options.dtype)
        self._options, self._make, self._unfinished = options, make, unfinished
        self._file: FormatWriter | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            unfinished = stack.enter_context(written_atomically(self.path, self._unfinished))
            stack.callback(self._remove_companions, unfinished)
            try:
                self._file = self._make(unfinished, self.shape, self._options)
            except OSError as error:
                raise self._failure(error) from None
            self._stack = stack.pop_all()
        return self

    def write(self, window: Window, array: np.ndarray) -> None:
        """Writes the values of a window.

        Args:
            window: Window inside the image.
            array: Values `(*size, bands)`.

        Raises:
            UnwritableFile: If the disk refuses.
            ImageError: If shape or type do not fit.
        """
        array = np.asarray(array)
        if window.ndim != len(self.shape) or not window.inside(self.shape):
            raise ImageError(self.path, f"a window inside {self.shape}", window)
        if array.shape != (*window.size, self.bands):
            raise ImageError(self.path, f"an array {(*window.size, self.bands)}", array.shape)
        if array.dtype.kind == "f" and self.dtype.kind != "f":
            raise ImageError(self.path, f"values of {self.dtype}", array.dtype)
        try:
            self._opened().write(window, array.astype(self.dtype, copy=False))
        except OSError as error:
            raise self._failure(error) from None

    def fill(self, read: Callable[[Window, int], np.ndarray]) -> None:
        """Writes everything, band after band in the order of the file's blocks: equal values give equal bytes.

        Blocks of zeros are left to the file, which begins with them; so nothing else may have been written to it.

        Args:
            read: Function from a window and the number of a band to an array of the window's size.

        Raises:
            UnwritableFile: If the disk refuses.
        """
        block, across = block_size(self.shape), self.shape[1:]
        pixels = BYTES_AT_ONCE // self.dtype.itemsize
        size = (block, pixels // block) if len(across) == 1 else (max(1, pixels // prod(across)), *across)
        try:
            for band in range(self.bands):
                for window in window_grid(self.shape, size):
                    values = np.asarray(read(window, band), self.dtype)
                    for part in window_grid(window.size, (block,) * len(self.shape)):
                        if (cut := values[part.slices]).any() or self._options.nodata is not None:
                            self._opened().write(part.moved(window.offset), cut[..., None], band)
        except OSError as error:
            raise self._failure(error) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with suppress(OSError):
                self._opened().abandon()
            self._stack.__exit__(kind, error, trace)
            return
        try:
            with self._stack:
                self._opened().finish()
            # They show what was there before: overviews, statistics and masks that GDAL and viewers would use.
            for suffix in STALE_SUFFIXES:
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        except OSError as failure:
            raise self._failure(failure) from None

    def _opened(self) -> FormatWriter:
        if self._file is None:
            raise RuntimeError(f"{self.path}: a writer is used as a context manager")
        return self._file

    def _remove_companions(self, unfinished: Path) -> None:
        """Removes what was written beside the unfinished file: an uncompressed copy, one to be cloud-optimised."""
        for path in unfinished.parent.glob(f"{glob.escape(unfinished.name)}?*"):
            path.unlink()

    def _failure(self, error: OSError) -> OSError:
        return UnwritableFile(self.path, "a disk that takes the output", reason(error))
