"""Rasters: TIFF, PNG, JPEG, JPEG 2000, WebP, BMP and GIF through GDAL."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from maskzoo.errors import ImageError, MaskzooError, readable, reason
from maskzoo.names import counted

from ..windows import Window
from .image_files import FileVersion, file_version
from .orientation import is_placed
from .pixel_meaning import DEFAULT_PIXELS, LOSSY, PixelOptions, StoredPixels, clear_and_opaque, meaning_of
from .pyramid import chosen_level, is_smaller, pixel_scale, with_downsample
from .raster_files import RasterFile, check_beside, check_raster, is_harmless, open_raster, raster_driver
from .raster_frame import raster_frame
from .reader_cache import ReaderCache
from .reading import (
    read_mirrored,
    require_finite,
    require_numbers,
    unreadable_window,
)
from .source import Frame, Level, Source, is_label_value
from .statistics import MEASURED_PIXELS, measured_windows

OPEN_FILES_PER_THREAD = 32
MANY_BANDS = 1000

# What rasterio opens, and the options to open it with.
Place = tuple[str, dict[str, Any]]


class RasterioSource(Source):
    """Reads one level of a TIFF, SVS, PNG, JPEG, JPEG 2000, WebP, BMP or GIF through GDAL: see `open_source`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        spatial_dims: int | None = None,
        pixels: PixelOptions = DEFAULT_PIXELS,
        *,
        level: int = 0,
    ) -> None:
        self.path = self._file = Path(path)
        self.name = str(path)
        self._place: Place = str(path), {}
        self._version = file_version(path)
        if spatial_dims not in (None, 2):
            raise ImageError(path, f"a volume with {spatial_dims} spatial axes", "an image with 2")
        self._driver = raster_driver(path)
        check_raster(path, self._driver)
        if level:
            _, self._place = chosen_level(path, raster_levels(self._file), level)
        with self._reading("a readable image"):
            self._describe(self._dataset(), pixels)
            full = self.frame
            if level:
                full = self._full_frame()
                self.frame = full.scaled(pixel_scale(full.shape, self.shape), self.shape)
            check_beside(self._file, full.shape, has_place=is_placed(full))

    @contextmanager
    def _reading(self, expected: str) -> Iterator[None]:
        """A context in which whatever GDAL raises is said in one line, and the file is closed: see `readable`."""
        try:
            with readable(self.name, expected):
                yield
        except MaskzooError:
            self.close()
            raise

    def _describe(self, dataset: RasterFile, pixels: PixelOptions) -> None:
        path = self.name
        if len(set(dataset.dtypes)) != 1 or dataset.count == 0:
            raise ImageError(path, "bands of one type", ", ".join(dataset.dtypes) or "no bands")
        self.shape = dataset.shape
        stored_type = require_numbers(path, dataset.dtypes[0])
        require_possible_blocks(path, dataset, stored_type.itemsize)
        self.frame = raster_frame(dataset)
        colors = read_colors(dataset)
        white = dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
        bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
        self.bits = int(bits) if bits and int(bits) < 8 * stored_type.itemsize else None
        roles = tuple(color.name for color in dataset.colorinterp)
        names = described_bands(dataset)
        stored = StoredPixels(path, stored_type, roles, self.bits, white, colors, names, self._is_transparency)
        self._meaning = meaning = meaning_of(stored, pixels)
        self.roles, self.channels, self.notes = meaning.roles, meaning.channels, meaning.notes
        self.band_names = meaning.names
        self.notes += scaled_notes(dataset)
        self.bits = None if meaning.colors is not None else self.bits
        self.dtype = meaning.dtype(stored_type)
        self.nodata = meaning.value(dataset.nodata)
        self._keeps_missing = pixels.palette == "index"
        if self._keeps_missing and is_lossy(dataset, self._driver):
            self.notes += ("compressed with losses, which change label values",)
        self._mask = None
        flags = {flag.name for band in dataset.mask_flag_enums for flag in band}
        if "alpha" not in flags and flags != {"all_valid"}:
            # Bands of measurements lack values one by one; colours are missing together.
            self._mask = "band" if self.dtype.kind == "f" else "pixel"
        if self._keeps_missing and colors is not None and (meaning.white is None or self.bits == 1):
            self.palette_colors = colors if meaning.white is None else colors[meaning.white :: -1]

    def _is_transparency(self, band: int) -> bool:
        return is_transparency(self._version, self._driver, band)

    @property
    def levels(self) -> list[Level]:
        """Shape and downsample of the levels that the file holds, the finest first."""
        with readable(self.name, "levels that can be read"):
            return with_downsample([shape for shape, _ in raster_levels(self._file)])

    def _full_frame(self) -> Frame:
        # Of an overview GDAL returns a transform from memory that nobody has written to, where the file has none.
        with open_raster(self._file, driver=self._driver) as whole:
            return raster_frame(whole)

    def close(self) -> None:
        """Closes the file in this thread."""
        _thread.files.drop((self._version, self._place[0], str(self._place[1])))

    def _dataset(self) -> RasterFile:
        def make() -> RasterFile:
            with readable(self.name, "a readable image"):
                name, options = self._place
                return open_raster(name, driver=self._driver, **options)

        return _thread.files.get((self._version, self._place[0], str(self._place[1])), make)

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        array = read_mirrored(self, window, self._read)
        return require_finite(array, self.name, window)

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds: see `Source.valid`."""
        if self._mask is None and self._meaning.alpha is None:
            return None
        return read_mirrored(self, window, self._valid)

    def _read(self, window: Window) -> np.ndarray:
        array = self._meaning.shown(interleaved(self._stored(self._meaning.bands, window)))
        is_kept = self._keeps_missing and (self.nodata is None or is_label_value(self.nodata))
        if is_kept or (self._mask is None and self._meaning.alpha is None):
            return array
        array[~self._valid(window)] = 0
        return array

    def _stored(self, bands: Sequence[int], window: Window) -> np.ndarray:
        """Returns stored values `(bands, *size)`."""
        with self._reading(unreadable_window(window)):
            numbers = [band + 1 for band in bands]
            try:
                return self._dataset().read(numbers, window=box_of(window))
            except Exception as error:
                if self._driver != "JPEG" or not is_harmless(self._file, reason(error)):
                    raise
            import rasterio

            self.close()  # libjpeg has stopped
            with rasterio.Env(GDAL_ERROR_ON_LIBJPEG_WARNING="FALSE"):
                return self._dataset().read(numbers, window=box_of(window))

    def _valid(self, window: Window) -> np.ndarray:
        shape = (*window.size, self.channels)
        valid = np.ones((*window.size, 1), bool)
        with self._reading(unreadable_window(window, "mask")):
            if self._mask == "band" and self._meaning.colors is None:
                numbers = [band + 1 for band in self._meaning.bands]
                valid = interleaved(self._dataset().read_masks(numbers, window=box_of(window))) != 0
            elif self._mask is not None:
                valid = self._dataset().dataset_mask(window=box_of(window))[..., None] != 0
        if self._meaning.alpha is not None:
            valid = valid & (self._stored([self._meaning.alpha], window)[0, ..., None] != 0)
        return np.broadcast_to(valid, shape)

    def thumbnail(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Returns the whole image `(*shape, channels)` as GDAL thins the file; `None` if the source shows others."""
        meaning = self._meaning
        if meaning.white is not None or meaning.bands != tuple(range(self.channels)):
            return None
        try:
            with open_raster(self._file) as file:
                plain = (file.shape, file.count, np.dtype(file.dtypes[0])) == (self.shape, self.channels, self.dtype)
                if not plain or file.colorinterp[0].name == "palette":
                    return None
                return np.stack(list(file.read(out_shape=(file.count, *shape))), axis=-1)
        except Exception:  # of whatever class; damaged overviews are made again from the pixels
            return None


def box_of(window: Window) -> tuple[tuple[int, int], ...]:
    """Returns a window as rasterio takes it."""
    return tuple((cut.start, cut.stop) for cut in window.slices)


@lru_cache(maxsize=1 << 12)
def is_transparency(version: FileVersion, driver: str, band: int) -> bool:
    """Says whether a band, counted from 0, holds nothing but clear and opaque pixels; large ones are read in parts.

    Args:
        version: The file, as `file_version` returns it.
        driver: GDAL's name of its format.
        band: The band.
    """
    with open_raster(version[0], driver=driver) as file:
        is_lossy = str(file.profile.get("compress", "")).lower() in LOSSY
        parts = (file.read(band + 1, window=box_of(w)) for w in measured_windows(file.shape, MEASURED_PIXELS))
        return all(clear_and_opaque(part, is_lossy=is_lossy) for part in parts)


def described_bands(dataset: RasterFile) -> tuple[str, ...]:
    """Returns how a raster file describes its bands; nothing if it does not describe all, each otherwise."""
    names = tuple(str(name or "").strip() for name in dataset.descriptions)
    return names if all(names) and len(set(names)) == len(names) > 1 else ()


def scaled_notes(dataset: RasterFile) -> tuple[str, ...]:
    """Says by which scales and offsets a raster file has its values turned into measurements: they are not applied."""
    scales, offsets = (sorted(set(numbers)) for numbers in (dataset.scales, dataset.offsets))
    if scales == [1] and offsets == [0]:
        return ()
    words = (", ".join(f"{number:g}" for number in numbers) for numbers in (scales, offsets))
    return (f"values as they are stored, without the scale {next(words)} and the offset {next(words)} of the file",)


def is_lossy(dataset: RasterFile, driver: str) -> bool:
    """Says whether a raster file is compressed with losses, which change values, as far as it says so."""
    is_reversible = dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION_REVERSIBILITY", "LOSSLESS")
    is_jpeg = str(dataset.profile.get("compress", "")).lower() in ("jpeg", "ycbcr jpeg")
    return driver == "JPEG" or is_jpeg or is_reversible.startswith("LOSSY")


def raster_levels(path: Path) -> list[tuple[tuple[int, ...], Place]]:
    """Returns the shape of every level of a raster file and how to open it, the finest first."""
    if raster_driver(path) != "GTiff":
        with open_raster(path) as file:
            return [(file.shape, (str(path), {}))]
    with open_raster(path, driver="GTiff") as file:
        full, kind = file.shape, (file.count, file.dtypes)
        aperio = file.tags().get("TIFFTAG_IMAGEDESCRIPTION", "").startswith("Aperio")
        # GDAL takes the photographs of label and glass in a slide for overviews.
        overviews = 0 if aperio else len(file.overviews(1))
        places: list[Place] = [(str(path), {"overview_level": number}) for number in range(overviews)]
        places += [(name, {}) for name in file.subdatasets[1:]]
    found: dict[tuple[int, ...], Place] = {}
    for name, options in places:
        with open_raster(name, driver="GTiff", **options) as file:
            tiled = file.block_shapes[0][1] != file.width
            if (options or tiled) and kind == (file.count, file.dtypes) and is_smaller(file.shape, full):
                found.setdefault(file.shape, (name, options))
    return [(full, (str(path), {})), *sorted(found.items(), key=lambda item: -item[0][0])]


def needs_tifffile(path: str | os.PathLike[str]) -> bool:
    """Says whether a TIFF is more to tifffile than to GDAL: an unknown codec, OME's planes, a stack of pages."""
    try:
        if raster_driver(path) != "GTiff":
            return False
        with open_raster(path, driver="GTiff") as file:
            description = file.tags().get("TIFFTAG_IMAGEDESCRIPTION", "")
            if "<OME" in description or re.search(r"^ImageJ=.*^images=(?!1\b)", description, re.DOTALL | re.MULTILINE):
                return True
            if len(file.subdatasets) < 2:
                return False
            with open_raster(file.subdatasets[1], driver="GTiff") as second:
                return (second.shape, second.count) == (file.shape, file.count)
    except Exception as error:  # rasterio lets GDAL's errors, of a class of their own, pass through
        return "missing codec" in str(error)


def interleaved(bands: np.ndarray) -> np.ndarray:
    """Returns an image `(height, width, bands)` from its bands `(bands, height, width)`."""
    if 1 < len(bands) <= 4 and bands.dtype in (np.uint8, np.uint16, np.float32):
        import cv2

        return cv2.merge(list(bands))  # ten times faster than numpy
    # Band by band into place: numpy moves an axis three times slower.
    return np.stack(list(bands), axis=-1)


def require_possible_blocks(path: str, dataset: RasterFile, itemsize: int) -> None:
    """Refuses a damaged header that declares blocks which no compression puts into the file: GDAL would allocate them.

    Raises:
        ImageError: If a block is larger than 64 MB and than two thousand times the file.
    """
    height, width = dataset.block_shapes[0]
    size = os.path.getsize(path)
    # The values of a pixel lie together, or those of a band.
    together = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    if dataset.count > MANY_BANDS:  # which GDAL reads one by one: no blocks of them may be missing
        (height, width), together = dataset.shape, dataset.count
    if height * width * itemsize * together > max(1 << 26, 2000 * size):
        received = f"{height} x {width} pixels of {counted(dataset.count, 'band')}"
        raise ImageError(path, f"blocks that fit into a file of {size} bytes", received)


def read_colors(dataset: RasterFile) -> np.ndarray | None:
    """Returns the palette of a raster file as an array `(indices, 3)`, transparent colours black; `None` without."""
    if dataset.count != 1 or dataset.colorinterp[0].name != "palette":
        return None
    if np.dtype(dataset.dtypes[0]).kind != "u":
        return None  # signed numbers are no indices, whatever GDAL makes of them
    colors = np.zeros((np.iinfo(dataset.dtypes[0]).max + 1, 3), np.uint8)
    for index, (*color, alpha) in dataset.colormap(1).items():
        colors[index] = color if alpha else 0
    return colors


class ThreadFiles(threading.local):
    """The raster files that one thread has open: a handle of GDAL shared by threads crashes the process."""

    def __init__(self) -> None:
        self.files: ReaderCache[RasterFile] = ReaderCache(OPEN_FILES_PER_THREAD)


_thread = ThreadFiles()
