"""Images read at another size, window by window: linear between pixels, labels class by class."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from math import prod

import numpy as np

from ..windows import Window, window_grid
from . import reader_cache
from .pyramid import BLOCK
from .reading import read_mirrored
from .source import Level, Source
from .wrapped_source import ReadPart, WrappedSource

# Resized images up to this size are kept, so that their pixels are computed once.
KEPT_BYTES = 1 << 27


class ResizedSource(WrappedSource):
    """Reads an image in more or fewer pixels; every window has the pixels that the whole has there.

    A new pixel is the mean of the old ones around its centre, with weights that fall off linearly over the larger of
    the two pixels. Of labels, each value is resized as a mask of its own, and the value with the largest share is
    taken, of equal shares the smallest value.

    Args:
        source: What is resized.
        shape: Size per axis.
        nearest: For each axis, whether the nearest pixel is taken instead; `None` for none.
        is_label: Resize label values.
    """

    def __init__(
        self,
        source: Source,
        shape: Sequence[int],
        *,
        nearest: Sequence[bool] | None = None,
        is_label: bool = False,
    ) -> None:
        super().__init__(source)
        self._is_label = is_label
        self.shape = tuple(int(length) for length in shape)
        self.nearest = tuple(nearest or (False,) * len(self.shape))
        self.steps = tuple(old / new for old, new in zip(source.shape, self.shape, strict=True))
        self.frame = source.frame.scaled(self.steps, self.shape)
        self._token = uuid.uuid4().hex

    @property
    def own(self) -> Source | None:
        """The same image on the grid of its file."""
        return self.source.own or self.source

    @property
    def levels(self) -> list[Level]:
        """The one level of a resized image."""
        return [(self.shape, 1.0)]

    def close(self) -> None:
        """Closes what this process holds open of the file, and forgets the pixels."""
        reader_cache.volumes.drop(self._token)
        self.source.close()

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        return read_mirrored(self, window, self._read)

    def _read(self, window: Window) -> np.ndarray:
        if prod(self.shape) * self.channels * self.dtype.itemsize > KEPT_BYTES:
            return self._resized(window)
        whole = Window((0,) * len(self.shape), self.shape)
        return np.array(reader_cache.volumes.get(self._token, lambda: self._resized(whole))[window.slices])

    def _resized(self, window: Window) -> np.ndarray:
        out = np.empty((*window.size, self.channels), self.dtype)
        for box in blocks(window, self.source.shape, self.shape):
            axes = axis_weights(box, self.source.shape, self.shape, self.nearest)
            part = self._by_class(axes) if self._is_label else self._interpolated(axes)
            out[box.moved([-start for start in window.offset]).slices] = part
        return out

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds at least half of: see `Source.valid`."""
        if self.source.valid(Window((0,) * len(self.shape), (1,) * len(self.shape))) is None:
            return None
        return read_mirrored(self, window, self._share_is_held)

    def _share_is_held(self, window: Window) -> np.ndarray:
        out = np.ones((*window.size, self.channels), bool)
        for box in blocks(window, self.source.shape, self.shape):
            axes = axis_weights(box, self.source.shape, self.shape, self.nearest)
            if (held := self.source.valid(spanned(axes))) is not None:
                out[box.moved([-start for start in window.offset]).slices] = (
                    weighted(held.astype(np.float32), axes) >= 0.5
                )
        return out

    def _by_class(self, axes: Sequence[AxisWeights]) -> np.ndarray:
        return class_by_class(self.source.read(spanned(axes)), axes)

    def _interpolated(self, axes: Sequence[AxisWeights]) -> np.ndarray:
        window = spanned(axes)
        pixels, held = self.source.read(window), self.source.valid(window)
        small = self.dtype.kind in "bui" and self.dtype.itemsize < 4
        values = weighted(pixels.astype(np.float32 if small else np.float64), axes)
        if held is not None and not held.all():
            # What is lacking is 0 in `pixels`, and has no share.
            share = weighted(held.astype(values.dtype), axes)
            values = np.where(share < 0.5, 0, values / np.maximum(share, 0.5))
        return (values if self.dtype.kind == "f" else np.rint(values)).astype(self.dtype)

    def taken_back(self, read: ReadPart) -> ReadPart:
        """Returns a function like `read`, whose values lie on this grid, to values resized to that of `source`.

        Args:
            read: Function from a window inside this image to floating point values `(*size, bands)`.
        """
        shape, own = self.shape, self.source.shape

        def read_back(window: Window) -> np.ndarray:
            out: np.ndarray | None = None
            for box in blocks(window, shape, own):
                axes = axis_weights(box, shape, own, self.nearest)
                part = weighted(read(spanned(axes)).astype(np.float32), axes)
                if part.shape[:-1] == window.size:
                    return part
                out = np.empty((*window.size, part.shape[-1]), np.float32) if out is None else out
                out[box.moved([-start for start in window.offset]).slices] = part
            if out is None:
                raise RuntimeError("a window without pixels")
            return out

        return read_back


# Of the new pixels along one axis: the old pixels that each is made of, and their weights, both `(pixels, weights)`.
AxisWeights = tuple[np.ndarray, np.ndarray]


def blocks(window: Window, old: Sequence[int], new: Sequence[int]) -> list[Window]:
    """Returns parts of a window of a resized image that are small there and in the old image."""
    side = BLOCK[len(new)]
    size = [max(1, min(side, side * n // length)) for n, length in zip(new, old, strict=True)]
    return [box.moved(window.offset) for box in window_grid(window.size, size)]


def axis_weights(window: Window, old: Sequence[int], new: Sequence[int], nearest: Sequence[bool]) -> list[AxisWeights]:
    """Returns of what the pixels of a window are made, axis by axis.

    Args:
        window: A window inside the new image.
        old: Shape of the old image.
        new: Shape of the new image.
        nearest: Axes along which the nearest pixel is taken.
    """
    return [
        nearest_pixels(np.arange(start, stop), length, n) if take_nearest else linear_weights(start, stop, length, n)
        for start, stop, length, n, take_nearest in zip(window.offset, window.stop, old, new, nearest, strict=True)
    ]


def nearest_pixels(places: np.ndarray, old: int, new: int) -> AxisWeights:
    """Returns the old pixel in which the centre of each new one lies, with weight 1."""
    return ((2 * places + 1) * old // (2 * new))[:, None], np.ones((len(places), 1))


def linear_weights(start: int, stop: int, old: int, new: int) -> AxisWeights:
    """Returns the weights of the old pixels in the new ones: triangles as wide as the larger of both pixels.

    They do not depend on which other pixels are asked for. What lies outside the image counts nothing.
    """
    places = np.arange(start, stop)
    if old == new:
        return places[:, None], np.ones((len(places), 1))
    ratio = old / new
    width = max(1.0, ratio)
    centres = (places + 0.5) * ratio - 0.5
    first = np.floor(centres - width).astype(np.int64) + 1
    pixels = first[:, None] + np.arange(int(np.ceil(2 * width)) + 1)
    weights = np.clip(1 - np.abs(pixels - centres[:, None]) / width, 0, None)
    weights[(pixels < 0) | (pixels >= old)] = 0
    return np.clip(pixels, 0, old - 1), weights / weights.sum(axis=1, keepdims=True)


def spanned(axes: Sequence[AxisWeights]) -> Window:
    """Returns the window of the old image that some new pixels are made of."""
    first = tuple(int(pixels.min()) for pixels, _ in axes)
    return Window(first, tuple(int(pixels.max()) + 1 - start for (pixels, _), start in zip(axes, first, strict=True)))


def weighted(values: np.ndarray, axes: Sequence[AxisWeights]) -> np.ndarray:
    """Returns the new pixels, from the old ones `(*size, channels)` of the window that `spanned` names.

    Weights are added in one order: a pixel is the same whatever else is read with it.
    """
    for number, (pixels, weights) in enumerate(axes):
        index = pixels - pixels.min()
        if pixels.shape[1] == 1:
            values = np.take(values, index[:, 0], number)
            continue
        total: np.ndarray | None = None
        for column in range(pixels.shape[1]):
            weight = weights[:, column].astype(values.dtype)
            weight = weight.reshape([-1 if axis == number else 1 for axis in range(values.ndim)])
            part = np.take(values, index[:, column], number) * weight
            total = part if total is None else np.add(total, part, out=total)
        values = values if total is None else total
    return values


def class_by_class(values: np.ndarray, axes: Sequence[AxisWeights]) -> np.ndarray:
    """Returns for each new pixel and band the label value with the largest share in it, as `weighted` finds it."""
    best = np.zeros((), np.float32)
    found: np.ndarray | None = None
    for value in np.unique(values):
        share = weighted((values == value).astype(np.float32), axes)
        if found is None:
            best, found = share, np.full(share.shape, value, values.dtype)
        else:
            # What differs by rounding alone is equal.
            better = share > best + 1e-5
            found[better] = value
            best = np.where(better, share, best)
    return np.empty(0, values.dtype) if found is None else found
