"""Windows into n-dimensional images: pure arithmetic on offsets and sizes, without any reading or writing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import SupportsIndex, overload

import numpy as np

from maskzoo.errors import OptionError

# Pixels on every side, or per axis a number or a pair (before, after).
Halo = int | Sequence[int | Sequence[int]]


@dataclass(frozen=True, slots=True)
class Window:
    """A box of pixels: where it starts and how large it is, per spatial axis; it may reach outside the image.

    Args:
        offset: First pixel per axis, negative before the image's start.
        size: Number of pixels per axis, at least 1.

    Raises:
        OptionError: If the two differ in length or a size is below 1.
    """

    offset: tuple[int, ...]
    size: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "offset", tuple(int(value) for value in self.offset))
        object.__setattr__(self, "size", tuple(int(value) for value in self.size))
        if len(self.offset) != len(self.size) or min(self.size, default=0) < 1:
            raise OptionError(
                "window",
                "one offset and one size of at least 1 per axis",
                f"offset {self.offset}, size {self.size}",
            )

    @property
    def stop(self) -> tuple[int, ...]:
        """The first pixel after the window, per axis."""
        return tuple(start + size for start, size in zip(self.offset, self.size, strict=True))

    @property
    def ndim(self) -> int:
        """The number of spatial axes."""
        return len(self.size)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Slices that cut the window out of an array; only for windows that start inside the image."""
        return tuple(slice(start, stop) for start, stop in zip(self.offset, self.stop, strict=True))

    def padded(self, halo: Halo) -> Window:
        """Returns the window grown by a halo.

        Args:
            halo: Pixels on every side, or per axis a number or a pair (before, after).
        """
        pairs = halo_pairs(halo, self.ndim)
        return Window(
            tuple(start - before for start, (before, _) in zip(self.offset, pairs, strict=True)),
            tuple(size + before + after for size, (before, after) in zip(self.size, pairs, strict=True)),
        )

    def moved(self, by: Sequence[int]) -> Window:
        """Returns the window moved by a number of pixels per axis."""
        return Window(tuple(start + step for start, step in zip(self.offset, by, strict=True)), self.size)

    def within(self, shape: Sequence[int]) -> Window:
        """Returns the part of the window that lies in an image of this shape; there must be some."""
        start = tuple(max(first, 0) for first in self.offset)
        stop = (min(last, length) for last, length in zip(self.stop, shape, strict=True))
        return Window(start, tuple(last - first for first, last in zip(start, stop, strict=True)))

    def inside(self, shape: Sequence[int]) -> bool:
        """Says whether every pixel of the window lies in an image of this shape."""
        return min(self.offset) >= 0 and all(stop <= length for stop, length in zip(self.stop, shape, strict=True))


class WindowGrid(Sequence[Window]):
    """The windows of a regular grid in row-major order, computed when asked for: see `window_grid`."""

    def __init__(self, starts: Sequence[Sequence[int]], sizes: Sequence[Sequence[int]]) -> None:
        self._starts = starts
        self._sizes = sizes
        self._counts = tuple(len(axis) for axis in starts)

    def __len__(self) -> int:
        return prod(self._counts)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Window: ...

    @overload
    def __getitem__(self, index: slice) -> list[Window]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Window | list[Window]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = index.__index__()
        if not -len(self) <= index < len(self):
            raise IndexError(f"window grid: expected an index below {len(self)}; received {index}")
        position = [int(i) for i in np.unravel_index(index % len(self), self._counts)]
        return Window(
            tuple(axis[i] for axis, i in zip(self._starts, position, strict=True)),
            tuple(axis[i] for axis, i in zip(self._sizes, position, strict=True)),
        )


def window_grid(shape: Sequence[int], size: int | Sequence[int], step: int | Sequence[int] | None = None) -> WindowGrid:
    """Covers an image with windows.

    Without `step` the windows are a partition: every pixel lies in exactly one, those at the far border are cut. With
    `step` the windows keep their size, the last of each axis is shifted inwards, and every pixel lies in at least one;
    an axis shorter than the window gets one window of the axis's length.

    Args:
        shape: Image size per spatial axis.
        size: Window size, one number or one per axis.
        step: Distance between neighbouring windows, one number or one per axis, between 1 and the window size.

    Returns:
        A sequence of `Window`, last axis fastest.

    Raises:
        OptionError: If a size is below 1, a step leaves gaps, or the numbers of axes differ.
    """
    shape = tuple(int(length) for length in shape)
    size = per_axis("size", size, len(shape))
    if min(shape, default=0) < 1 or min(size) < 1:
        raise OptionError("size", "sizes of at least 1", f"shape {shape}, window {size}")
    starts, sizes = [], []
    if step is None:
        for length, extent in zip(shape, size, strict=True):
            starts.append(range(0, length, extent))
            sizes.append([min(extent, length - start) for start in starts[-1]])
        return WindowGrid(starts, sizes)
    step = per_axis("step", step, len(shape))
    if any(not 1 <= stride <= extent for stride, extent in zip(step, size, strict=True)):
        raise OptionError("step", f"a step between 1 and the window size {size}", step)
    for length, extent, stride in zip(shape, size, step, strict=True):
        last = max(length - extent, 0)
        starts.append([*range(0, last, stride), last])
        sizes.append([min(extent, length)] * len(starts[-1]))
    return WindowGrid(starts, sizes)


def halo_pairs(halo: Halo, ndim: int) -> tuple[tuple[int, int], ...]:
    """Returns a halo as one pair (before, after) per axis.

    Args:
        halo: Pixels on every side, or per axis a number or a pair (before, after).
        ndim: Number of axes.

    Raises:
        OptionError: If the number of axes differs.
    """
    axes = (halo,) * ndim if isinstance(halo, int | np.integer) else halo
    if len(axes) != ndim:
        raise OptionError("halo", f"{ndim} axes", halo)
    pairs = ((axis, axis) if isinstance(axis, int | np.integer) else axis for axis in axes)
    return tuple((int(before), int(after)) for before, after in pairs)


def crop(array: np.ndarray, halo: Halo) -> np.ndarray:
    """Cuts a halo off the leading axes of an array, which is what `Window.padded` added.

    Args:
        array: Array `(*spatial, channels)`, or with more trailing axes when `halo` names its axes.
        halo: Pixels on every side of all axes but the last, or per leading axis a number or a pair (before, after).

    Returns:
        A view of the array.
    """
    pairs = halo_pairs(halo, array.ndim - 1 if isinstance(halo, int | np.integer) else len(halo))
    return array[
        tuple(slice(before, length - after) for (before, after), length in zip(pairs, array.shape, strict=False))
    ]


def mirrored(start: int, size: int, length: int) -> np.ndarray:
    """Returns the pixels that stand for `start, start + 1, ...` on an axis mirrored at its first and last pixel.

    The mirror repeats as often as needed (numpy's "reflect"); an axis of one pixel repeats it.

    Args:
        start: First position, inside the axis or not.
        size: Number of positions.
        length: Number of pixels that the axis has.

    Returns:
        Integer array of `size` indices in `[0, length)`, which span at most `size` pixels.
    """
    if length == 1:
        return np.zeros(size, np.int64)
    period = 2 * (length - 1)
    position = np.arange(start, start + size) % period
    return np.minimum(position, period - position)


def per_axis(name: str, value: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """Returns one number per axis: the same for all, or those that are given.

    Raises:
        OptionError: If their number is not that of the axes.
    """
    values = (int(value),) * ndim if isinstance(value, int | np.integer) else tuple(int(v) for v in value)
    if len(values) != ndim:
        raise OptionError(name, f"{ndim} numbers", values)
    return values
