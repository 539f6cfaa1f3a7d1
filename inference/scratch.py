"""The scratch file: the values of finished parts, raw, part behind part, until the output is written from them."""

from __future__ import annotations

import errno
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from itertools import pairwise
from pathlib import Path

import numpy as np

from maskzoo.errors import DiskFull, UnreadableFile

from .. import data

RESUME_HINT = "the same command resumes where it stopped"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ScratchFile:
    """The values of the parts of one output, in a file of their whole size.

    Attributes:
        size: Bytes of the file.
    """

    def __init__(
        self,
        path: Path,
        parts: Sequence[data.Window],
        *,
        bands: int,
        dtype: str,
        column_major: bool = False,
    ) -> None:
        """Lays out the file, without opening it.

        Args:
            path: The file.
            parts: Windows in the order in which they will be written; together they cover the output once.
            bands: Values per pixel.
            dtype: Their type.
            column_major: Lay a part's pixels out column by column, for a reader that takes them so.
        """
        self.path = path
        self._bands, self._dtype = bands, np.dtype(dtype)
        self._column_major, self._parts = column_major, parts
        self._offsets = np.array([part.offset for part in parts])
        self._stops = np.array([part.stop for part in parts])
        lengths = (self._stops - self._offsets).prod(axis=1) * bands * self._dtype.itemsize
        # Where each part begins, and the last one ends.
        self._starts = np.append(0, np.cumsum(lengths))
        self.size = int(self._starts[-1])
        # Which parts may be more than the zeros that the file begins with.
        self._filled = np.zeros(len(parts), bool)
        self._file: FileIO | None = None

    @property
    def is_there(self) -> bool:
        """Whether there is a file of the right size."""
        return self.path.exists() and self.path.stat().st_size == self.size

    def open(self, *, resume: bool) -> None:
        """Opens the file that is there, or makes a new one of zeros.

        Raises:
            DiskFull: If the disk has no room.
        """
        self._filled[:] = resume
        with readable_disk_errors(self.path, self.size):
            if not resume:
                # A name that is there may be a link to somewhere else.
                self.path.unlink(missing_ok=True)
            file = FileIO(self.path, "r+b" if resume else "x+b")
            try:
                if not resume:
                    reserve(file, self.size)
            except BaseException:
                file.close()
                raise
            self._file = file

    def write(self, number: int, values: np.ndarray) -> np.ndarray:
        """Writes the values `(*size, bands)` of one part, and returns them as they lie in the file."""
        planes = np.moveaxis(np.asarray(values, self._dtype), -1, 0)
        planes = np.ascontiguousarray(planes.swapaxes(1, -1) if self._column_major else planes)
        if self._filled[number] or planes.view(np.uint8).any():
            self._filled[number] = True
            with readable_disk_errors(self.path, planes.nbytes):
                self._move(int(self._starts[number]), planes, self._opened().write)
        return planes

    def read(self, window: data.Window, band: int) -> np.ndarray:
        """Returns the values of one band in a window, an array of its size."""
        values = np.zeros(window.size, self._dtype)
        touched = (self._offsets < window.stop).all(axis=1) & (self._stops > window.offset).all(axis=1)
        for number in np.flatnonzero(touched & self._filled):
            part = self._parts[int(number)]
            first, last = np.maximum(window.offset, part.offset), np.minimum(window.stop, part.stop)
            # The rows, or columns, that are asked for lie behind each other.
            axis, rest = (1, part.size[:1]) if self._column_major else (0, part.size[1:])
            plane = np.empty((last[axis] - first[axis], *rest), self._dtype)
            skipped = (band * part.size[axis] + first[axis] - part.offset[axis]) * math.prod(rest)
            start = int(self._starts[number] + skipped * self._dtype.itemsize)
            self._move(start, plane, self._opened().readinto)
            cut = [slice(*pair) for pair in zip(first - part.offset, last - part.offset, strict=True)]
            cut[axis] = slice(None)
            place = tuple(slice(*pair) for pair in zip(first - window.offset, last - window.offset, strict=True))
            values[place] = (plane.T if self._column_major else plane)[tuple(cut)]
        return values

    def checksum(self, first: int, stop: int) -> int:
        """Returns the checksum of some parts, from a first to before another."""
        found = 0
        for start, end in pairwise(self._starts[first : stop + 1]):
            values = np.empty(end - start, np.uint8)
            self._move(int(start), values, self._opened().readinto)
            found = zlib.crc32(values.data, found)
        return found

    def sync(self) -> None:
        """Waits until what was written has reached the disk."""
        with readable_disk_errors(self.path, 0):
            os.fsync(self._opened().fileno())

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _opened(self) -> FileIO:
        if self._file is None:
            raise RuntimeError(f"{self.path} is not open")
        return self._file

    def _move(self, start: int, array: np.ndarray, move: Callable[[memoryview], int | None]) -> None:
        """Reads or writes a contiguous array from a place in the file on."""
        self._opened().seek(start)
        rest = array.reshape(-1).view(np.uint8).data
        while len(rest):
            moved = move(rest)
            if not moved:
                raise UnreadableFile(self.path, f"{array.nbytes} bytes at {start}", "the end of the file")
            rest = rest[moved:]


@contextmanager
def readable_disk_errors(path: Path, size: int) -> Iterator[None]:
    """Turns the error of a full disk into a message that says what is needed and how to resume, as a context.

    Raises:
        DiskFull: If the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        folder = path.absolute().parent
        free = in_bytes(shutil.disk_usage(folder).free)
        raise DiskFull(
            f"{folder}: no space left: expected {in_bytes(size)}; received {free} free; {RESUME_HINT}"
        ) from None


def in_bytes(number: int) -> str:
    """A number of bytes for people, such as `12.3 MB`."""
    power = min(3, int(math.log(max(1, number), 1000)))
    return f"{number / 1024**power:.3g} {('bytes', 'KB', 'MB', 'GB')[power]}"


def reserve(file: FileIO, size: int) -> None:
    """Gives a file its size and the disk space for it, where the system can."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
