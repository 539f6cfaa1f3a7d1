"""The pages of a TIFF by level, section and channel, as tifffile describes them."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .tiff_places import require_one_place

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

APERIO_YCBCR = 33003
YCBCR, PALETTE, MIN_IS_WHITE = 6, 3, 0
JPEG = (6, 7, 34892, 33007)
# JPEG 2000, WebP, LERC, JPEG XL and JPEG XR.
LOSSY = (*JPEG, 33003, 33004, 33005, 34712, 34927, 50001, 34887, 50002, 22610, 34934)
# ImageJ escapes the Greek letter.
MICROMETRES = dict.fromkeys(("\u00b5m", "\u03bcm", "\\u00B5m", "um", "micron"), 1.0) | {
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
}

# Sections, channels, height, width, samples per pixel.
PlaneShape = tuple[int, int, int, int, int]

# What is wrong with a file is said by an exception, not on the console.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True, eq=False)
class TiffFacts:
    """What a source keeps of a TIFF.

    Attributes:
        shapes: Shape of every level, the finest first.
        dtype: Type of the values.
        colors: The palette, an array `(indices, 3)`; `None` without one.
        roles: What each sample of a page is, such as `gray`, `red` or `alpha`.
        min_is_white: The least value is white.
        bits: Bits per value, where they are fewer than those of the type.
        is_lossy: The values were compressed, maybe with losses.
        spacing: Micrometres of a pixel along rows, columns and sections; `None` where the file does not say it.
    """

    shapes: list[PlaneShape]
    dtype: np.dtype
    colors: np.ndarray | None
    roles: tuple[str, ...]
    min_is_white: bool
    bits: int | None
    is_lossy: bool
    spacing: list[float | None]


@dataclass(frozen=True, eq=False)
class Planes:
    """The pages of one level, read once and kept without an open file.

    Attributes:
        pages: tifffile's pages by section and channel, an array of objects; `None` for a plane that is left out.
        key: A page that has the layout of all.
        array: The values as a memory map `(sections, channels, height, width, samples)`, if they lie in one piece.
    """

    pages: np.ndarray
    key: TiffPage
    array: np.ndarray | None = None


def read_series(file: TiffFile) -> list[tuple[PlaneShape, str | None, TiffPageSeries]]:
    """Returns the levels of the first image of an open TIFF, and refuses other layouts.

    Args:
        file: A `tifffile.TiffFile`.

    Returns:
        Per level its shape, the name of the axis that counts sections, and tifffile's series.
    """
    found = []
    for level in file.series[0].levels:
        sizes = dict(zip(level.axes, level.shape, strict=True))
        stacked = [axis for axis in sizes if axis not in "YXSC" and sizes[axis] > 1]
        if len(stacked) > 1 or "Y" not in sizes or "X" not in sizes:
            raise ValueError(f"axes {level.axes} of sizes {level.shape}, of which only one can be sections")
        depth = stacked[0] if stacked else None
        shape = (sizes[depth] if depth else 1, sizes.get("C", 1), sizes["Y"], sizes["X"], sizes.get("S", 1))
        found.append((shape, depth, level))
    return found


def read_facts(path: Path) -> TiffFacts:
    """Returns what a source keeps of a TIFF.

    Raises:
        ImageError: If its pages do not lie at one place.
    """
    import tifffile

    with tifffile.TiffFile(path) as file, no_errors_logged():
        levels = read_series(file)
        first, key = levels[0][0], levels[0][2].keyframe
        if key.dtype is None or key.shaped[1] != 1 or min(first) < 1:
            raise ValueError(f"pages of shape {key.shaped}")
        colors = None
        if key.photometric == PALETTE and key.colormap is not None:
            colors = (key.colormap.T >> 8).astype(np.uint8)
        for shape, _, series in levels:
            require_possible_tiles(series.keyframe, path)
            if (series.keyframe.dtype, shape[:2], shape[4]) != (key.dtype, first[:2], first[4]):
                raise ValueError("levels of different types")
        sizes = spacing(file, key)
        require_one_place(path, file, levels[0][2], sizes)
        return TiffFacts(
            shapes=[shape for shape, *_ in levels],
            dtype=key.dtype,
            colors=colors,
            roles=sample_roles(key, first[4]),
            min_is_white=key.photometric == MIN_IS_WHITE,
            is_lossy=key.compression in LOSSY,
            bits=key.bitspersample if key.bitspersample < 8 * key.dtype.itemsize else None,
            spacing=sizes,
        )


@contextmanager
def no_errors_logged() -> Iterator[None]:
    """A context in which what tifffile logs as an error, going on with a part of the pages, is one.

    Raises:
        ValueError: If it logs one in this thread.
    """
    logger, thread, found = logging.getLogger("tifffile"), threading.get_ident(), []

    def hear(record: logging.LogRecord) -> bool:
        if record.thread == thread and record.levelno >= logging.ERROR:
            found.append(record.getMessage())
        return True

    logger.addFilter(hear)
    try:
        yield
    finally:
        logger.removeFilter(hear)
    if found:
        raise ValueError(re.sub(r"^<[^>]*> ", "", found[0]))


def sample_roles(key: TiffPage, samples: int) -> tuple[str, ...]:
    """Returns what each sample of a page is."""
    extra = list(key.extrasamples or ())[:samples]
    colors = samples - len(extra)
    named = ("red", "green", "blue", *("undefined",) * samples) if colors > 2 else ("gray", *("undefined",) * samples)
    # Associated and unassociated alpha.
    return (*named[:colors], *("alpha" if kind in (1, 2) else "undefined" for kind in extra))


def read_planes(path: Path, level: int) -> Planes:
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


def ordered(array: np.ndarray, names: str, *wanted: str | None) -> np.ndarray:
    """Moves the named axes of an array into an order; those not wanted have length 1."""
    present = [names.index(name) for name in wanted if name and name in names]
    rest = [axis for axis in range(array.ndim) if axis not in present]
    return array.transpose([*rest, *present])


def mapped(path: Path, file: TiffFile, series: TiffPageSeries, depth: str | None, shape: PlaneShape) -> np.ndarray:
    """Returns the values of a series that lies in the file in one piece."""
    dtype = series.dtype.newbyteorder(file.byteorder)
    values = np.memmap(path, dtype, "r", series.dataoffset or 0, series.shape)
    return ordered(values, series.axes, depth, "C", "Y", "X", "S").reshape(shape)


def require_possible_tiles(key: TiffPage, path: Path) -> None:
    """Refuses a damaged header: of values of no known type, or of tiles which no compression puts into the file."""
    size = path.stat().st_size
    if key.dtype is None:
        raise ValueError("values of an unknown type")
    tile = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, key.imagewidth)
    tile = [min(extent, 1 << 32) for extent in tile]
    if prod(tile) * key.samplesperpixel * key.dtype.itemsize > max(1 << 26, 2000 * size) and key.compression != 1:
        raise ValueError(f"tiles of {tile[0]} x {tile[1]} pixels in a file of {size} bytes")


def is_ycbcr(key: TiffPage) -> bool:
    """Says whether tiles hold luminance and colour differences that no codec converts."""
    return key.samplesperpixel == 3 and (
        key.compression == APERIO_YCBCR or (key.photometric == YCBCR and key.compression not in JPEG)
    )


def from_ycbcr(pixels: np.ndarray) -> np.ndarray:
    """Converts luminance and colour differences `(*size, 3)` of all 256 values (ITU-T T.871) to red, green, blue."""
    light, blue, red = (pixels[..., number].astype(np.float32) for number in range(3))
    blue, red = blue - 128, red - 128
    colors = [light + 1.402 * red, light - 0.344136 * blue - 0.714136 * red, light + 1.772 * blue]
    return np.clip(np.rint(np.stack(colors, axis=-1)), 0, 255).astype(pixels.dtype)


def spacing(file: TiffFile, key: TiffPage) -> list[float | None]:
    """Returns the micrometres of a pixel along rows, columns and sections, `None` where a file does not say it."""
    description = file.pages.first.description or ""
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


def physical_size(description: str, axis: str) -> float | None:
    """Returns the size of a pixel that OME-XML declares for an axis, in micrometres."""
    size = re.search(rf'PhysicalSize{axis}="([0-9.eE+-]+)"', description)
    unit = re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', description)
    factor = MICROMETRES.get(unit[1].replace("&#181;", "\u00b5")) if unit else 1.0
    return float(size[1]) * factor if size and factor else None
