"""What every reader does with a window and with what it read: mirrored borders, checks, reasons in one line."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import DTypeLike

from maskzoo.errors import ImageError, readable

from ..windows import Window, mirrored
from .source import Source

# Just below the greatest number of four bytes, which marks missing pixels: no measurement has it.
LARGEST = 3.4e38
# Python's warning filters belong to the process: two threads that change and restore them at once leave a mess.
# So do the handlers of libraries' logs.
library_lock = threading.RLock()


def read_mirrored(source: Source, window: Window, read: Callable[[Window], np.ndarray]) -> np.ndarray:
    """Reads the pixels that a window shows once the image is mirrored at its borders.

    Args:
        source: The source, for its name and shape.
        window: Window that may lie outside the image on any side by any distance.
        read: Function from a window inside the image to an array `(*size, channels)`.

    Returns:
        Array `(*size, channels)`.

    Raises:
        UnreadableFile: If the function raises anything that is not written for people.
    """
    with readable(source.name, unreadable_window(window)):
        return read_mirrored_box(source.name, source.shape, window, read)


def read_mirrored_box(
    name: str, shape: tuple[int, ...], window: Window, read: Callable[[Window], np.ndarray]
) -> np.ndarray:
    """Reads the pixels that a window shows of an image of some name and shape: see `read_mirrored`."""
    if window.ndim != len(shape):
        raise ImageError(name, f"windows of {len(shape)} axes", window)
    if window.inside(shape):
        return read(window)
    axes = [mirrored(*axis) for axis in zip(window.offset, window.size, shape, strict=True)]
    start = tuple(int(axis.min()) for axis in axes)
    array = read(Window(start, tuple(int(axis.max()) + 1 - first for axis, first in zip(axes, start, strict=True))))
    for number, (axis, first) in enumerate(zip(axes, start, strict=True)):
        array = np.take(array, axis - first, axis=number)
    return array


def require_finite(array: np.ndarray, name: str, window: Window) -> np.ndarray:
    """Returns the pixels `(*size, channels)` of a window, and refuses NaN, infinity and the last numbers before it."""
    if array.dtype.kind == "f" and not (np.abs(array) < LARGEST).all():
        wrong = np.count_nonzero(~np.isfinite(array))
        huge = f"{np.count_nonzero(np.abs(array) >= LARGEST)} such as {array.flat[np.abs(array).argmax()]:.6g}"
        raise ImageError(
            name,
            f"finite values in the window at {window.offset} of size {window.size}",
            f"{wrong} that are NaN or infinite" if wrong else f"{huge}, which the file does not declare as nodata",
        )
    return array


def require_numbers(name: str, dtype: DTypeLike) -> np.dtype:
    """Returns a type of pixels, and refuses one that is not of real numbers."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biuf":
        raise ImageError(name, "pixels that are real numbers", dtype)
    return dtype


def spatial_and_channels(name: str, shape: tuple[int, ...], spatial_dims: int | None) -> tuple[tuple[int, ...], int]:
    """Splits the shape of an array into its spatial sizes and its number of channels."""
    if spatial_dims is None:
        spatial_dims = {2: 2, 3: 2 if shape[-1] <= 4 else 3, 4: 3}.get(len(shape))
    if spatial_dims is None:
        raise ImageError(name, "an array with 2 to 4 axes", f"shape {tuple(shape)}")
    if len(shape) not in (spatial_dims, spatial_dims + 1) or min(shape) < 1:
        wanted = f"{spatial_dims} spatial axes, or {spatial_dims + 1} with the channels last"
        raise ImageError(name, f"an array with {wanted}", f"shape {tuple(shape)}")
    channels = int(shape[spatial_dims]) if len(shape) > spatial_dims else 1
    return tuple(int(length) for length in shape[:spatial_dims]), channels


@contextmanager
def ignored_warnings(category: type[Warning] = Warning) -> Iterator[None]:
    """A context in which Python's warnings of a category are ignored; one thread at a time is in it."""
    with library_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def unreadable_window(window: Window, pixels: str = "pixels") -> str:
    """Says what was expected where a window could not be read."""
    return f"readable {pixels} in the window at {window.offset} of size {window.size}"
