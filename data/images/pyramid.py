"""Levels of resolution: those that a file holds, and any coarser one by averaging the pixels that it covers."""

from __future__ import annotations

import numpy as np

from ..windows import Window, window_grid
from .reading import read_mirrored

# A level that comes this near to what is asked for is taken as it is.
TOLERANCE = 0.01
# Pixels per axis that are read at a time to be averaged, by number of axes.
SIDE = {2: 2048, 3: 160}


def pixel_scale(full, shape):
    """Returns how many pixels of the full resolution one pixel stands for, per axis."""
    return tuple(float(whole / length) for whole, length in zip(full, shape, strict=True))


def is_smaller(shape, full):
    """Says whether an image shows all of a larger one: its sides have the same ratio but for rounding."""
    (height, width), (rows, columns) = shape[:2], full[:2]
    return height <= rows and width < columns and abs(height * columns - width * rows) <= rows + columns


def described(levels):
    """Returns `(shape, downsample)` for levels `(shape, ...)` of which the first is the full resolution."""
    full = levels[0][0]
    return [(tuple(shape), float(np.mean(pixel_scale(full[:2], shape[:2])))) for shape, *_ in levels]


def chosen_level(path, levels, level):
    """Returns the full shape and what belongs to one of several levels `(shape, ...)`.

    Raises:
        ValueError: Where there is no such level.
    """
    if not 0 <= level < len(levels):
        raise ValueError(f"{path}: expected a level from 0 to {len(levels) - 1}; received {level}")
    return levels[0][0], levels[level][1]


def at_resolution(open_level, resolution):
    """Returns a source whose pixels have a chosen size: see `open_source`.

    Args:
        open_level: Function from the number of a level to its source.
        resolution: Size of a pixel along every axis, in the units of the file.

    Raises:
        ValueError: Where the file does not say the size of its pixels, or they are larger.
    """
    source = open_level(0)
    if source.resolution is None:
        raise ValueError(f"{source.name}: expected a file that says how large its pixels are; received none of that")
    if not resolution > 0 or resolution < max(source.resolution) * (1 - TOLERANCE):
        raise ValueError(
            f"{source.name}: expected a resolution of at least {max(source.resolution):g} per pixel, that of the file; "
            f"received {resolution}"
        )
    full = source.shape
    wanted = [resolution / size for size in source.resolution]
    scales = [pixel_scale(full, shape) for shape, _ in source.levels]
    level = max(
        n for n, scale in enumerate(scales) if n == 0 or (np.array(scale) <= np.multiply(wanted, 1 + TOLERANCE)).all()
    )
    source = open_level(level) if level else source
    if all(abs(have / want - 1) <= TOLERANCE for have, want in zip(scales[level], wanted, strict=True)):
        return source
    return ResampledSource(source, [max(1, round(n / w)) for n, w in zip(full, wanted, strict=True)])


class ResampledSource:
    """Reads an image in fewer pixels; every window has the pixels that the whole has there.

    Args:
        source: What is resampled.
        shape: Size per axis, at most that of the source.
        nearest: Take the pixel at the middle, as labels need it, not the mean of all pixels that one covers.
    """

    def __init__(self, source, shape, *, nearest=False):
        self._source = source
        self._nearest = nearest
        self.shape = tuple(int(length) for length in shape)
        self.path, self.name, self.dtype, self.channels = source.path, source.name, source.dtype, source.channels
        steps = pixel_scale(source.shape, self.shape)
        self.scale = tuple(a * b for a, b in zip(getattr(source, "scale", (1.0,) * len(steps)), steps, strict=True))
        resolution = getattr(source, "resolution", None)
        self.resolution = resolution and tuple(a * b for a, b in zip(resolution, steps, strict=True))
        self.georeference = scaled_georeference(source.georeference, steps)

    @property
    def levels(self):
        """List of `(shape, downsample)` of the levels that the file holds, the finest first."""
        return self._source.levels

    @property
    def source(self):
        """What is resampled."""
        return self._source

    def __enter__(self):
        return self

    def __exit__(self, *arguments):
        self._source.__exit__(*arguments)

    def read(self, window):
        """Returns the pixels of a `Window` as an array `(*size, channels)`, mirrored outside the image."""
        return read_mirrored(self, window, self._read)

    def _read(self, window):
        part = self._sampled if self._nearest else self._averaged
        side = SIDE[len(self.shape)]
        step = [max(1, side * n // length) for n, length in zip(self.shape, self._source.shape, strict=True)]
        out = np.empty((*window.size, self.channels), self.dtype)
        for box in window_grid(window.size, step):
            out[box.slices] = part(Window(np.add(window.offset, box.offset), box.size))
        return out

    def _sampled(self, window):
        picks = [
            (2 * np.arange(start, stop) + 1) * length // (2 * n)
            for start, stop, length, n in zip(window.offset, window.stop, self._source.shape, self.shape, strict=True)
        ]
        first = [axis[0] for axis in picks]
        pixels = self._source.read(Window(first, [axis[-1] + 1 - axis[0] for axis in picks]))
        return pixels[np.ix_(*(axis - start for axis, start in zip(picks, first, strict=True)))]

    def _averaged(self, window):
        axes = list(zip(window.offset, window.stop, self._source.shape, self.shape, strict=True))
        first = [start * length // n for start, _, length, n in axes]
        last = [-(-stop * length // n) for _, stop, length, n in axes]
        pixels = self._source.read(Window(first, np.subtract(last, first)))
        small = self.dtype.kind in "bui" and self.dtype.itemsize < 4
        pixels = pixels.astype(np.float32 if small else np.float64)
        for number, (start, stop, length, n) in enumerate(axes):
            pixels = averaged(pixels, number, np.arange(start, stop), length, n, first[number])
        return (pixels if self.dtype.kind == "f" else np.rint(pixels)).astype(self.dtype)


def averaged(pixels, axis, places, length, n, first):
    """Averages an axis of `length` pixels to `n`, of which `places` are wanted and `pixels` begin at `first`.

    Shares are ratios of whole numbers and are added in one order: a pixel is the same whatever else is read with it.
    """
    total = 0
    start = places * length // n
    for step in range(-(-length // n) + 1):
        pixel = start + step
        # In units of 1 / n of a pixel.
        overlap = np.minimum((places + 1) * length, (pixel + 1) * n) - np.maximum(places * length, pixel * n)
        share = (np.maximum(overlap, 0) / length).astype(pixels.dtype)
        share = share.reshape([-1 if number == axis else 1 for number in range(pixels.ndim)])
        index = np.minimum(pixel - first, pixels.shape[axis] - 1)
        total = total + np.take(pixels, index, axis) * share
    return total


def scaled_georeference(georeference, steps):
    """Returns a georeference for an image whose pixels are larger, by a factor for each axis."""
    if georeference is None:
        return None
    if "affine" in georeference:
        grown = np.eye(4)
        for axis, step in enumerate(steps):
            grown[axis, axis], grown[axis, 3] = step, (step - 1) / 2
        return {**georeference, "affine": georeference["affine"] @ grown}
    from affine import Affine
    from rasterio.control import GroundControlPoint

    rows, columns = steps
    points = [GroundControlPoint(p.row / rows, p.col / columns, p.x, p.y, p.z) for p in georeference["gcps"] or ()]
    a, b, c, d, e, f = georeference["transform"][:6]
    transform = Affine(a * columns, b * rows, c, d * columns, e * rows, f)
    return {**georeference, "transform": transform, "gcps": points}
