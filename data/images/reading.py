"""What every reader of pixels needs: mirrored windows, checks, the state of files, and what a process keeps of them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np

from ..windows import Window, mirrored


def file_suffix(path) -> str:
    """Returns the suffix of a path in lower case, `.nii.gz` in one piece; a folder of slices has none."""
    if holds_slices(path):
        return ""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def file_stem(path) -> str:
    """Returns the name of a path without its suffix, `.nii.gz` taken off in one piece."""
    name = Path(path).name
    return name[: len(name) - len(file_suffix(path))]


def read_mirrored(source, window, read):
    """Reads the pixels that a window shows once the image is mirrored at its borders.

    Args:
        source: What has `name` and `shape`.
        window: `Window`, which may lie outside the image on any side by any distance.
        read: Function from a window inside the image to an array `(*size, channels)`.
    """
    if window.ndim != len(source.shape):
        raise ValueError(f"{source.name}: expected windows of {len(source.shape)} axes; received {window}")
    if window.inside(source.shape):
        return read(window)
    axes = [mirrored(*axis) for axis in zip(window.offset, window.size, source.shape, strict=True)]
    start = [axis.min() for axis in axes]
    array = read(Window(start, [axis.max() + 1 - axis.min() for axis in axes]))
    for number, (axis, first) in enumerate(zip(axes, start, strict=True)):
        array = np.take(array, axis - first, axis=number)
    return array


def require_finite(array, name, window):
    """Refuses NaN and infinity in floating point pixels."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(
            f"{name}: expected finite values in the window at {window.offset} of size {window.size}; received "
            f"{np.count_nonzero(~np.isfinite(array))} that are NaN or infinite"
        )
    return array


def require_numbers(name, dtype):
    """Refuses pixels that are not real numbers."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected pixels that are real numbers; received {dtype}")
    return dtype


def spatial_and_channels(name, shape, spatial_dims):
    """Splits the shape of an array into its spatial sizes and its number of channels."""
    if spatial_dims is None:
        spatial_dims = {2: 2, 3: 2 if shape[-1] <= 4 else 3, 4: 3}.get(len(shape))
    if spatial_dims is None or len(shape) not in (spatial_dims, spatial_dims + 1) or min(shape) < 1:
        wanted = (
            "2 to 4"
            if spatial_dims is None
            else f"{spatial_dims} spatial axes, or {spatial_dims + 1} with the channels last"
        )
        raise ValueError(f"{name}: expected an array with {wanted}; received shape {tuple(shape)}")
    return tuple(int(length) for length in shape[:spatial_dims]), int(shape[spatial_dims]) if len(
        shape
    ) > spatial_dims else 1


def holds_slices(path) -> bool:
    """Says whether a path is a folder of DICOM files, which is one volume."""
    return Path(path).is_dir() and any(Path(path).glob("*.[dD][cC][mM]"))


def file_version(path):
    """Identifies the content of a file, or of a folder of slices, well enough to notice that it was replaced."""
    files = list(os.scandir(path)) if os.path.isdir(path) else [Path(path)]
    states = [file.stat() for file in files]
    return str(path), max(state.st_mtime_ns for state in states), sum(state.st_size for state in states)


def ends_of_file(path, most=1 << 20):
    """Returns the first megabyte of a file, the last 64 kilobytes behind it and the length; of a folder all slices'."""
    if os.path.isdir(path):
        return b"".join(ends_of_file(file, 1 << 12) for file in sorted(Path(path).iterdir()) if file.is_file())
    with open(path, "rb") as file:
        first = file.read(most)
        length = file.seek(0, 2)
        file.seek(max(most, length - (1 << 16)))
        return first + file.read() + length.to_bytes(8, "big")


def reason(error) -> str:
    """Returns what went wrong in one line, in GDAL's own words where rasterio only points at them."""
    return " ".join(str(error.__cause__ or error or type(error).__name__).split())


class Cache:
    """The most recently used values of one process, such as open files; a forked child starts without its parent's."""

    def __init__(self):
        self._inherited = None
        self._forget()

    def _forget(self):
        self._values = OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def get(self, key, make, size, limit):
        """Returns the value of a key, made if there is none; the least recently used go when sizes pass the limit."""
        if self._process != os.getpid():
            # Closing the parent's files here would be wrong: the two processes share file positions.
            self._inherited = self._values
            self._forget()
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > 1 and sum(size(v) for v in self._values.values()) > limit:
                self._values.popitem(last=False)
        return value

    def drop(self, key):
        """Forgets a value of this process."""
        if self._process == os.getpid():
            with self._lock:
                self._values.pop(key, None)
