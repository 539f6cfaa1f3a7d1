"""Slides and stacks: TIFFs whose codec GDAL lacks or whose planes it does not join, tile by tile through tifffile."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .pyramid import chosen_level, described, pixel_scale
from .reading import Cache, file_version, read_mirrored, reason, require_finite, require_numbers
from .simpleitk_source import nifti_georeference

TILE_BYTES_PER_PROCESS = 1 << 26
APERIO_YCBCR = 33003
YCBCR, PALETTE = 6, 3
JPEG = (6, 7, 34892, 33007)
# ImageJ escapes the Greek letter.
MICROMETRES = dict.fromkeys(("\u00b5m", "\u03bcm", "\\u00B5m", "um", "micron"), 1.0) | {
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
}

_pages = Cache()
_tiles = Cache()

# What is wrong with a file is said by an exception, not on the console.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass
class Planes:
    """The pages of one level, read once and kept without an open file.

    Attributes:
        pages: Pages by section and channel, an array of objects; None for a plane that the file leaves out.
        key: A page that has the layout of all.
        array: The values as a memory map `(sections, channels, height, width, samples)`, where they lie in one piece.
    """

    pages: Any
    key: Any
    array: Any = None


class SlideSource:
    """Reads one level of an OME-TIFF, a stack of pages, or a TIFF with a codec that GDAL lacks: see `open_source`.

    Channels are channels, be they samples of a page or pages of their own. Sections come last, `(Y, X, Z)`, as slices
    do in NIfTI: a section of the volume is the image of its page.
    """

    def __init__(self, path, spatial_dims=None, palette="rgb", *, alpha=False, level=0):
        self.path = Path(path)
        self.name = str(path)
        self._version = file_version(path)
        self._level = 0
        facts = self._facts()
        self._levels, self._micrometres = facts["levels"], facts["micrometres"]
        if level:
            chosen_level(path, self._levels, level)
        self._level = level
        full = self._levels[0][0]
        sections, channels, height, width, samples = self._levels[level][1]
        wanted = spatial_dims or (3 if sections > 1 else 2)
        if wanted == 2 and sections > 1:
            raise ValueError(
                f"{path}: expected an image with 2 spatial axes; received a stack of {sections} sections, a volume"
            )
        if wanted == 3 and sections == 1:
            raise ValueError(f"{path}: expected a volume with 3 spatial axes; received an image with 2")
        self.shape = (height, width, sections)[:wanted]
        self.dtype = require_numbers(path, facts["dtype"])
        self.scale = pixel_scale(full[:wanted], self.shape)
        self._samples = samples
        self._colors = facts["colors"] if palette == "rgb" else None
        self._mask = facts["alpha"] and palette == "rgb"
        self._cut = int(self._mask and not alpha and samples > 1)
        self.channels = channels * (samples - self._cut)
        if self._colors is not None:
            self.channels, self.dtype = 3, np.dtype(np.uint8)
        sizes = self._micrometres
        self.resolution = None
        if all(size is not None for size in sizes[:wanted]):
            self.resolution = tuple(size * scale for size, scale in zip(sizes, self.scale, strict=False))
        self.georeference = None
        if wanted == 3 and self.resolution is not None:
            self.georeference = nifti_georeference(np.diag([*self.resolution, 1.0]), "micron")

    @property
    def levels(self):
        """List of `(shape, downsample)` of the levels that the file holds, the finest first."""
        spatial_dims = len(self.shape)
        return described([(shape[:spatial_dims],) for shape, _ in self._levels])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for level in range(len(self._levels)):
            _pages.drop((self._version, level))

    def _facts(self):
        try:
            return read_facts(self.path)
        except Exception as error:  # tifffile lets whatever a damaged header provokes pass through
            raise OSError(f"{self.name}: expected a readable image; received {reason(error)}") from None

    def _planes(self):
        return _pages.get(
            (self._version, self._level), lambda: read_planes(self.path, self._level), lambda planes: 1, 16
        )

    def read(self, window):
        """Returns the pixels of a `Window` as an array `(*size, channels)`, mirrored outside the image."""
        return require_finite(read_mirrored(self, window, self._read), self.name, window)

    def _read(self, window):
        try:
            return self._read_planes(window)
        except Exception as error:  # so do the codecs with damaged tiles
            raise OSError(
                f"{self.name}: expected readable pixels in the window at {window.offset} of size {window.size}; "
                f"received {reason(error)}"
            ) from None

    def _read_planes(self, window):
        planes = self._planes()
        volume = len(self.shape) == 3
        sections = range(window.offset[2], window.stop[2]) if volume else range(1)
        out = np.empty((*window.size[:2], len(sections), self.channels), self.dtype)
        kept = self.channels // planes.pages.shape[1]
        with open(self.path, "rb") as file:
            for place, section in enumerate(sections):
                for channel in range(planes.pages.shape[1]):
                    plane = self._plane(file, planes, section, channel, window)
                    if self._colors is not None:
                        plane = self._colors[plane[..., 0]]
                    if self._mask:
                        plane = plane[..., : self._samples - self._cut] * (plane[..., -1:] != 0)
                    out[:, :, place, channel * kept : (channel + 1) * kept] = plane
        return out if volume else out[:, :, 0]

    def _plane(self, file, planes, section, channel, window):
        rows, columns = window.slices[:2]
        if planes.array is not None:
            return planes.array[section, channel, rows, columns]
        page, key = planes.pages[section, channel], planes.key
        out = np.zeros((*window.size[:2], self._samples), key.dtype)
        if page is None:
            return out
        separate, _, height, width, _ = key.shaped
        tile = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, width)
        down, across = -(-height // tile[0]), -(-width // tile[1])
        for sample in range(separate):
            band = slice(None) if separate == 1 else slice(sample, sample + 1)
            for row in range(rows.start // tile[0], -(-rows.stop // tile[0])):
                for column in range(columns.start // tile[1], -(-columns.stop // tile[1])):
                    index = (sample * down + row) * across + column
                    if page.databytecounts[index] == 0:
                        continue
                    pixels = self._tile(file, page, key, (section, channel, index))
                    top, left = row * tile[0], column * tile[1]
                    bottom, right = (min(top + pixels.shape[0], rows.stop), min(left + pixels.shape[1], columns.stop))
                    y, x = max(top, rows.start), max(left, columns.start)
                    out[y - rows.start : bottom - rows.start, x - columns.start : right - columns.start, band] = pixels[
                        y - top : bottom - top, x - left : right - left
                    ]
        return out

    def _tile(self, file, page, key, place):
        def make():
            index = place[-1]
            file.seek(page.dataoffsets[index])
            content = file.read(page.databytecounts[index])
            if len(content) < page.databytecounts[index]:
                raise OSError("a file that is cut off")
            pixels = key.decode(content, index, jpegtables=page.jpegtables, jpegheader=key.jpegheader)[0][0]
            return from_ycbcr(pixels) if is_ycbcr(key) else pixels

        return _tiles.get((self._version, self._level, place), make, lambda t: t.nbytes, TILE_BYTES_PER_PROCESS)


def read_series(file):
    """Returns the levels of the first image of an open TIFF as `(axes by role, series)` and refuses other layouts."""
    found = []
    for level in file.series[0].levels:
        sizes = dict(zip(level.axes, level.shape, strict=True))
        stacked = [axis for axis in sizes if axis not in "YXSC" and sizes[axis] > 1]
        if len(stacked) > 1 or "Y" not in sizes or "X" not in sizes:
            raise ValueError(f"axes {level.axes} of sizes {level.shape}, of which only one can be sections")
        depth = stacked[0] if stacked else None
        shape = (sizes.get(depth, 1), sizes.get("C", 1), sizes["Y"], sizes["X"], sizes.get("S", 1))
        found.append((shape, depth, level))
    return found


def read_facts(path):
    """Returns what a source keeps of a TIFF: its levels, type, palette, transparency and size of pixels."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        levels = read_series(file)
        key = levels[0][2].keyframe
        if key.shaped[1] != 1 or min(levels[0][0]) < 1:
            raise ValueError(f"pages of shape {key.shaped}")
        colors = None
        if key.photometric == PALETTE and key.colormap is not None:
            colors = (key.colormap.T >> 8).astype(np.uint8)
        for shape, _, level in levels:
            require_possible_tiles(level.keyframe, path)
            if (level.keyframe.dtype, shape[:2], shape[4]) != (key.dtype, levels[0][0][:2], levels[0][0][4]):
                raise ValueError("levels of different types")
        return {
            "levels": [((shape[2], shape[3], shape[0]), shape) for shape, *_ in levels],
            "dtype": key.dtype,
            "colors": colors,
            "alpha": bool(key.extrasamples) and key.extrasamples[-1] in (1, 2) and levels[0][0][4] in (2, 4),
            "micrometres": micrometres(file, key),
        }


def read_planes(path, level):
    """Reads the pages of one level."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        shape, depth, series = read_series(file)[level]
        key = series.keyframe
        pages = np.empty(shape[:2], object)
        if series.dataoffset is not None and key.compression == 1:
            return Planes(pages, key, mapped(path, file, series, depth, shape))
        _ = key.decode  # made while the file is open
        within = {"Y", "X"} | ({"S"} if key.shaped[0] * key.shaped[4] > 1 else set())
        outer = [(axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if axis not in within]
        if len(series.pages) != prod(size for _, size in outer):
            raise ValueError(f"{len(series.pages)} pages where {outer} are declared")
        order = np.empty([size for _, size in outer], object)
        order.ravel()[:] = list(series.pages)
        names = "".join(axis for axis, _ in outer)
        pages[:] = ordered(order, names, depth, "C").reshape(shape[:2])
        for page in pages.flat:
            if page is not None and page.parent is not file:
                raise ValueError("an OME-TIFF whose planes lie in several files")
            if page is not None and len(page.dataoffsets) != len(page.databytecounts):
                raise ValueError("tiles without sizes")
    return Planes(pages, key)


def ordered(array, names, *wanted):
    """Moves the named axes of an array into an order; those not wanted have length 1."""
    present = [names.index(name) for name in wanted if name and name in names]
    rest = [axis for axis in range(array.ndim) if axis not in present]
    return array.transpose([*rest, *present])


def mapped(path, file, series, depth, shape):
    """Returns the values of a series that lies in the file in one piece."""
    dtype = series.dtype.newbyteorder(file.byteorder)
    values = np.memmap(path, dtype, "r", series.dataoffset, series.shape)
    return ordered(values, series.axes, depth, "C", "Y", "X", "S").reshape(shape)


def require_possible_tiles(key, path):
    """Refuses a damaged header that declares tiles which no compression puts into the file."""
    size = Path(path).stat().st_size
    tile = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, key.imagewidth)
    tile = [min(extent, 1 << 32) for extent in tile]
    if prod(tile) * key.samplesperpixel * key.dtype.itemsize > max(1 << 26, 2000 * size) and key.compression != 1:
        raise ValueError(f"tiles of {tile[0]} x {tile[1]} pixels in a file of {size} bytes")


def is_ycbcr(key):
    """Says whether tiles hold luminance and colour differences that no codec converts."""
    return key.samplesperpixel == 3 and (
        key.compression == APERIO_YCBCR or (key.photometric == YCBCR and key.compression not in JPEG)
    )


def from_ycbcr(pixels):
    """Converts luminance and colour differences of all 256 values (ITU-T T.871) to red, green and blue."""
    light, blue, red = (pixels[..., number].astype(np.float32) for number in range(3))
    blue, red = blue - 128, red - 128
    colors = [light + 1.402 * red, light - 0.344136 * blue - 0.714136 * red, light + 1.772 * blue]
    return np.clip(np.rint(np.stack(colors, axis=-1)), 0, 255).astype(pixels.dtype)


def micrometres(file, key):
    """Returns the size of a pixel along rows, columns and sections, None where a file does not say it."""
    description = file.pages[0].description or ""
    if "<OME" in description:
        return [physical_size(description, axis) for axis in "YXZ"]
    if found := re.search(r"\bMPP *= *([0-9.]+)", description):
        return [float(found[1]), float(found[1]), None]
    units = {2: 25400.0, 3: 10000.0}
    depth = None
    if file.is_imagej:
        facts = file.imagej_metadata or {}
        units = {1: MICROMETRES.get(str(facts.get("unit")))}
        depth = units[1] and facts.get("spacing") and float(facts["spacing"]) * units[1]
    unit = units.get(int(key.resolutionunit))
    across, down = key.get_resolution() if unit and 282 in key.tags and 283 in key.tags else (0, 0)
    if not unit or min(across, down) <= 0:
        return [None] * 3
    return [unit / down, unit / across, depth]


def physical_size(description, axis):
    """Returns the size of a pixel that OME-XML declares for an axis, in micrometres."""
    size = re.search(rf'PhysicalSize{axis}="([0-9.eE+-]+)"', description)
    unit = re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', description)
    factor = MICROMETRES.get(unit[1].replace("&#181;", "\u00b5")) if unit else 1.0
    return float(size[1]) * factor if size and factor else None
