"""Coarser scales of an image: the levels that a file holds, and averages of the pixels that a larger one covers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from maskzoo.errors import ImageError

from ..windows import Window, window_grid
from .reading import read_mirrored
from .source import Level, Source
from .wrapped_source import WrappedSource

# A level whose scale differs by less than this fraction from what is asked for is taken as it is.
TOLERANCE = 0.01
# Pixels per axis that are read at a time to be averaged, by number of axes.
BLOCK = {2: 2048, 3: 160}

Place = TypeVar("Place")


def pixel_scale(full: Sequence[int], shape: Sequence[int]) -> tuple[float, ...]:
    """Returns how many pixels of the full resolution one pixel stands for, per axis."""
    return tuple(float(whole / length) for whole, length in zip(full, shape, strict=True))


def is_smaller(shape: Sequence[int], full: Sequence[int]) -> bool:
    """Says whether an image may show all of a larger one: its sides have the same ratio but for rounding."""
    (height, width), (rows, columns) = shape[:2], full[:2]
    return height <= rows and width < columns and abs(height * columns - width * rows) <= rows + columns


def with_downsample(shapes: Sequence[Sequence[int]]) -> list[Level]:
    """Returns shape and downsample of levels, given their shapes, the finest first."""
    full = shapes[0]
    return [(tuple(shape), float(np.mean(pixel_scale(full[:2], shape[:2])))) for shape in shapes]


def chosen_level(
    path: object, levels: Sequence[tuple[tuple[int, ...], Place]], level: int
) -> tuple[tuple[int, ...], Place]:
    """Returns the full shape and what belongs to one of several levels `(shape, what belongs to it)`.

    Raises:
        ImageError: If there is no such level.
    """
    if not 0 <= level < len(levels):
        raise ImageError(path, f"a level from 0 to {len(levels) - 1}", level)
    return levels[0][0], levels[level][1]


def at_resolution(open_level: Callable[[int], Source], resolution: float) -> Source:
    """Returns a source whose pixels have a chosen size: see `open_source`.

    Args:
        open_level: Function from the number of a level to its source.
        resolution: Size of a pixel along every axis, in the units of the file.

    Raises:
        ImageError: If the file does not say the size of its pixels, or they are larger.
    """
    source = open_level(0)
    spacing = source.frame.spacing
    if spacing is None:
        raise ImageError(source.name, "a file that says how large its pixels are", "one that does not")
    if not resolution > 0 or resolution < max(spacing) * (1 - TOLERANCE):
        expected = f"a resolution of at least {max(spacing):g} per pixel, that of the file"
        raise ImageError(source.name, expected, resolution)
    full = source.shape
    wanted = [resolution / size for size in spacing]
    scales = [pixel_scale(full, shape) for shape, _ in source.levels]
    level = max(
        n for n, scale in enumerate(scales) if n == 0 or (np.array(scale) <= np.multiply(wanted, 1 + TOLERANCE)).all()
    )
    source = open_level(level) if level else source
    if all(abs(have / want - 1) <= TOLERANCE for have, want in zip(scales[level], wanted, strict=True)):
        return source
    return ResampledSource(source, [max(1, round(n / w)) for n, w in zip(full, wanted, strict=True)])


class ResampledSource(WrappedSource):
    """Reads an image in fewer pixels; every window has the pixels that the whole has there.

    Args:
        source: What is resampled.
        shape: Size per axis, at most that of the source.
        nearest: Take the pixel in the middle, as labels need it, not the mean of all pixels that one covers.
    """

    def __init__(self, source: Source, shape: Sequence[int], *, nearest: bool = False) -> None:
        super().__init__(source)
        self._nearest = nearest
        self.shape = tuple(int(length) for length in shape)
        self.frame = source.frame.scaled(pixel_scale(source.shape, self.shape), self.shape)

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        return read_mirrored(self, window, self._read)

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds at least half of: see `Source.valid`."""
        if self.source.valid(Window((0,) * len(self.shape), (1,) * len(self.shape))) is None:
            return None
        part = self._valid_sampled if self._nearest else self._valid_averaged
        return read_mirrored(self, window, lambda inside: self._assembled(inside, part, np.dtype(bool)))

    def _read(self, window: Window) -> np.ndarray:
        return self._assembled(window, self._sampled if self._nearest else self._averaged, self.dtype)

    def _assembled(self, window: Window, part: Callable[[Window], np.ndarray], dtype: np.dtype) -> np.ndarray:
        """Returns a window, read in parts whose pixels of the file fit into memory."""
        block = BLOCK[len(self.shape)]
        step = [max(1, block * n // length) for n, length in zip(self.shape, self.source.shape, strict=True)]
        out = np.empty((*window.size, self.channels), dtype)
        for box in window_grid(window.size, step):
            out[box.slices] = part(box.moved(window.offset))
        return out

    def _sampled(self, window: Window) -> np.ndarray:
        return nearest(self.source.read, self.source.shape, self.shape, window)

    def _held(self, window: Window) -> np.ndarray:
        """Returns which values of a window of the file it holds."""
        valid = self.source.valid(window)
        return np.ones((*window.size, self.channels), bool) if valid is None else valid

    def _valid_sampled(self, window: Window) -> np.ndarray:
        return nearest(self._held, self.source.shape, self.shape, window)

    def _valid_averaged(self, window: Window) -> np.ndarray:
        covered = self._covered(window)
        return self._mean(self._held(covered).astype(np.float32), window, covered) >= 0.5

    def _covered(self, window: Window) -> Window:
        """Returns the pixels of the file that a window covers."""
        axes = list(zip(window.offset, window.stop, self.source.shape, self.shape, strict=True))
        first = tuple(start * length // n for start, _, length, n in axes)
        last = tuple(-(-stop * length // n) for _, stop, length, n in axes)
        return Window(first, tuple(b - a for a, b in zip(first, last, strict=True)))

    def _mean(self, pixels: np.ndarray, window: Window, covered: Window) -> np.ndarray:
        axes = zip(window.offset, window.stop, self.source.shape, self.shape, strict=True)
        for number, (start, stop, length, n) in enumerate(axes):
            pixels = averaged(pixels, number, np.arange(start, stop), length, n, covered.offset[number])
        return pixels

    def _averaged(self, window: Window) -> np.ndarray:
        covered = self._covered(window)
        pixels, valid = self.source.read(covered), self.source.valid(covered)
        small = self.dtype.kind in "bui" and self.dtype.itemsize < 4
        pixels = pixels.astype(np.float32 if small else np.float64)
        if valid is None or valid.all():
            pixels = self._mean(pixels, window, covered)
        else:
            # What is lacking is 0 in `pixels`, and has no share in the mean.
            share = self._mean(valid.astype(pixels.dtype), window, covered)
            pixels = self._mean(pixels, window, covered) / np.maximum(share, 1e-6)
            pixels[share < 0.5] = 0
        return (pixels if self.dtype.kind == "f" else np.rint(pixels)).astype(self.dtype)


def nearest(
    read: Callable[[Window], np.ndarray], shape: Sequence[int], new: Sequence[int], window: Window
) -> np.ndarray:
    """Returns a window of an image in fewer or more pixels: of each the pixel at its middle.

    Args:
        read: Function from a window of the image to its pixels `(*size, ...)`.
        shape: Size of the image per axis.
        new: The size that it is to have.
        window: Window inside that.
    """
    picks = [
        (2 * np.arange(start, stop) + 1) * length // (2 * n)
        for start, stop, length, n in zip(window.offset, window.stop, shape, new, strict=True)
    ]
    first = tuple(int(axis[0]) for axis in picks)
    pixels = read(Window(first, tuple(int(axis[-1] + 1 - axis[0]) for axis in picks)))
    return pixels[np.ix_(*(axis - start for axis, start in zip(picks, first, strict=True)))]


def averaged(pixels: np.ndarray, axis: int, places: np.ndarray, length: int, n: int, first: int) -> np.ndarray:
    """Averages an axis of `length` pixels to `n`.

    Weights are ratios of whole numbers and are added in one order: a pixel is the same whatever else is read with it.

    Args:
        pixels: Floating point array, along the axis the pixels from number `first` on.
        axis: The axis to average.
        places: Which of the `n` pixels are wanted, ascending.
        length: Pixels that the whole axis has.
        n: Pixels that it is to have.
        first: Number of the first pixel in `pixels`.
    """
    total = np.zeros((), pixels.dtype)
    start = places * length // n
    for step in range(-(-length // n) + 1):
        pixel = start + step
        # In units of 1 / n of a pixel.
        overlap = np.minimum((places + 1) * length, (pixel + 1) * n) - np.maximum(places * length, pixel * n)
        weight = (np.maximum(overlap, 0) / length).astype(pixels.dtype)
        weight = weight.reshape([-1 if number == axis else 1 for number in range(pixels.ndim)])
        index = np.minimum(pixel - first, pixels.shape[axis] - 1)
        total = total + np.take(pixels, index, axis) * weight
    return total
