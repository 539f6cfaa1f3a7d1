"""Rasters: TIFF, PNG and JPEG through GDAL."""

from __future__ import annotations

import os
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np

from .reading import Cache, file_version, read_mirrored, reason, require_finite, require_numbers

OPEN_FILES_PER_THREAD = 32


class RasterSource:
    """Reads a TIFF, SVS, PNG or JPEG through GDAL: see `open_source`."""

    def __init__(self, path, rank=None, palette="rgb"):
        self.path = Path(path)
        self.name = str(path)
        self._version = file_version(path)
        if rank not in (None, 2):
            raise ValueError(f"{path}: expected a volume with {rank} spatial axes; received an image with 2")
        self._driver = raster_driver(path)
        if self._driver == "PNG":
            check_png(path)
        dataset = self._dataset()
        if len(set(dataset.dtypes)) != 1 or dataset.count == 0:
            raise ValueError(f"{path}: expected bands of one type; received {dataset.dtypes or 'no bands'}")
        self.shape = dataset.shape
        self.dtype = require_numbers(path, dataset.dtypes[0])
        require_possible_blocks(dataset, self.dtype.itemsize)
        self.georeference = read_georeference(dataset)
        self._colors = None
        self._mask = None
        if palette == "rgb":
            self._colors = read_colors(dataset)
            self.dtype = self.dtype if self._colors is None else self._colors.dtype
            flags = {flag.name for band in dataset.mask_flag_enums for flag in band}
            if flags != {"all_valid"} and (flags != {"nodata"} or dataset.nodata != 0 or self._colors is not None):
                # Bands of measurements lack values one by one; colours are missing together.
                self._mask = "band" if self.dtype.kind == "f" else "pixel"
        self.channels = dataset.count if self._colors is None else 3

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _rasters.files.drop(self._version)

    def _dataset(self):
        def make():
            try:
                return open_raster(self.path, driver=self._driver)
            except (OSError, ValueError) as error:
                raise OSError(f"{self.name}: expected a readable image; received {reason(error)}") from None

        return _rasters.files.get(self._version, make, lambda dataset: 1, OPEN_FILES_PER_THREAD)

    def read(self, window):
        """Returns the pixels of a `Window` as an array `(*size, channels)`, mirrored outside the image."""
        array = read_mirrored(self, window, self._read)
        return require_finite(array, self.name, window)

    def _read(self, window):
        box = tuple((cut.start, cut.stop) for cut in window.slices)
        dataset = self._dataset()
        try:
            array = dataset.read(window=box)
            if self._mask == "band":
                array[dataset.read_masks(window=box) == 0] = 0
            elif self._mask == "pixel":
                valid = dataset.dataset_mask(window=box) != 0
        except OSError as error:
            raise OSError(
                f"{self.name}: expected readable pixels in the window at {window.offset} of size {window.size}; "
                f"received {reason(error)}"
            ) from None
        # Band by band into place: numpy moves an axis three times slower.
        array = np.stack(list(array), axis=-1) if self._colors is None else self._colors[array[0]]
        if self._mask == "pixel":
            array *= valid[..., None]
        return array


def require_possible_blocks(dataset, itemsize):
    """Refuses a damaged header that declares blocks which no compression puts into the file: GDAL would allocate them.

    Raises:
        ValueError: Where a block is larger than 64 MB and than two thousand times the file.
    """
    height, width = dataset.block_shapes[0]
    if height * width * itemsize > max(1 << 26, 2000 * os.path.getsize(dataset.name)):
        raise ValueError(
            f"{dataset.name}: expected blocks that fit into a file of {os.path.getsize(dataset.name)} bytes; "
            f"received {height} x {width} pixels"
        )


def read_colors(dataset):
    """Returns the palette of a raster file as an array `(indices, 3)`, transparent colours black; None without one."""
    if dataset.count != 1 or dataset.colorinterp[0].name != "palette":
        return None
    colors = np.zeros((np.iinfo(dataset.dtypes[0]).max + 1, 3), np.uint8)
    for index, (*color, alpha) in dataset.colormap(1).items():
        colors[index] = color if alpha else 0
    return colors


def read_georeference(dataset):
    """Returns coordinate system, transform and ground control points of a raster file; None where it has none."""
    points, points_crs = dataset.gcps
    if dataset.crs is None and dataset.transform.is_identity and not points:
        return None
    return {"crs": dataset.crs, "transform": dataset.transform, "gcps": points, "gcps_crs": points_crs}


def raster_driver(path):
    """Returns GDAL's name of the format that a file starts like, whatever its suffix says."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    return "JPEG" if start[:3] == b"\xff\xd8\xff" else "GTiff"


def check_png(path):
    """Refuses a PNG that is cut off or whose checksums differ: GDAL would show grey pixels instead.

    Raises:
        OSError: Where the file is damaged.
    """
    with open(path, "rb") as file:
        file.seek(8)
        kind = b""
        while kind != b"IEND":
            length, kind = int.from_bytes(file.read(4)), file.read(4)
            data = file.read(length)
            if len(data) < length or int.from_bytes(file.read(4)) != zlib.crc32(data, zlib.crc32(kind)) or not kind:
                raise OSError(f"{path}: expected a whole PNG; received one that is cut off or damaged")


class ThreadFiles(threading.local):
    """The raster files that one thread has open: a handle of GDAL shared by threads crashes the process."""

    def __init__(self):
        self.files = Cache()


_rasters = ThreadFiles()

# Python's warning filters belong to the process: two threads that change and restore them at once leave a mess.
_quiet = threading.Lock()


def open_raster(path, mode="r", **options):
    """Opens a file with rasterio, quiet about a missing georeference, which photographs do not have."""
    # GDAL keeps decoded blocks up to 5 % of the machine's memory unless told otherwise, before its first read.
    os.environ.setdefault("GDAL_CACHEMAX", "256")
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, mode, **options)
