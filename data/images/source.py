"""Sources of pixels: read one window of an image or volume of any size, mirrored where it reaches outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .pyramid import at_resolution, chosen_level
from .rasterio_source import RasterSource, stands_in_planes
from .reading import (
    file_suffix,
    holds_slices,
    read_mirrored,
    reason,
    require_finite,
    require_numbers,
    spatial_and_channels,
)
from .simpleitk_source import ScanSource, VolumeSource
from .tifffile_source import SlideSource

RASTER_SUFFIXES = (".tif", ".tiff", ".svs", ".png", ".jpg", ".jpeg")
VOLUME_SUFFIXES = (".nii", ".nii.gz")
SCAN_SUFFIXES = (".mhd", ".mha", ".nrrd", ".nhdr", ".dcm")
ARRAY_SUFFIXES = (".npy",)
SUFFIXES = RASTER_SUFFIXES + VOLUME_SUFFIXES + SCAN_SUFFIXES + ARRAY_SUFFIXES


def open_source(image, *, spatial_dims=None, palette="rgb", alpha=False, level=None, resolution=None):
    """Opens an image or volume so that its windows can be read.

    A source has `name`, `path`, `shape` (spatial sizes), `channels`, `dtype`, `georeference`, `levels`, `scale` (pixels
    of the full resolution per pixel and axis), `resolution` (size of a pixel per axis, None where it is not known) and
    `read(window)`. It can be pickled, and read by several threads and processes at once; as a context manager it closes
    its file. Images have rows before columns; volumes are as NIfTI stores them, `(x, y, z)`, also from DICOM, MHD and
    NRRD; stacks of TIFF pages are rows, columns, sections. Sections are the last axis of both.

    Args:
        image: Path of a TIFF (also OME and BigTIFF), SVS, PNG, JPEG, NIfTI, MHD, MHA, NRRD, DICOM or NPY file, or of a
            folder with the DICOM files of one series; or an array `(*spatial)` or `(*spatial, channels)`.
        spatial_dims: Number of spatial axes, 2 or 3. Unknown: that of the file; an array of three axes is then an image
            if its last axis is at most 4 long, else a volume.
        palette: `"rgb"` turns the indices of a palette into colours, `"index"` keeps them and keeps pixels marked as
            nodata, which is what label images need.
        alpha: Keep transparency as a channel. Where it is 0 all channels are 0 in either case.
        level: Number of the level to read of those in `source.levels`, 0 the finest.
        resolution: Size of a pixel to read at instead: micrometres in slides, units of the coordinate system in maps,
            millimetres in volumes. The nearest finer level is averaged to it unless it is within 1 % of it.

    Raises:
        FileNotFoundError: Where there is no such file.
        OSError: Where the file cannot be read.
        ValueError: Where its format or its number of axes is not one that can be read.
    """
    if palette not in ("rgb", "index"):
        raise ValueError(f"palette: expected rgb or index; received {palette}")
    if level is not None and resolution is not None:
        raise ValueError(f"level: expected either level or resolution; received {level} and {resolution}")

    def open_level(number):
        return open_at_level(image, spatial_dims, palette, alpha, number)

    return open_level(level or 0) if resolution is None else at_resolution(open_level, resolution)


def open_at_level(image, spatial_dims, palette, alpha, level):
    """Opens one level of an image: see `open_source`."""
    if isinstance(image, np.ndarray):
        return of_one_level(ArraySource(image, spatial_dims), level)
    path = Path(image)
    if holds_slices(path):
        return of_one_level(ScanSource(path, spatial_dims), level)
    suffix = file_suffix(path)
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a file of type {' '.join(SUFFIXES)}; received {suffix or 'no suffix'}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected an existing file; received a path where there is none")
    if not path.is_file():
        raise OSError(f"{path}: expected a file; received a folder")
    if suffix in RASTER_SUFFIXES:
        kind = SlideSource if stands_in_planes(path) else RasterSource
        return kind(path, spatial_dims, palette, alpha=alpha, level=level)
    kind = VolumeSource if suffix in VOLUME_SUFFIXES else ScanSource if suffix in SCAN_SUFFIXES else ArraySource
    return of_one_level(kind(path, spatial_dims), level)


def is_image(path) -> bool:
    """Says whether a path looks like an image by its suffix, or is a folder of DICOM slices."""
    return holds_slices(path) or file_suffix(path) in SUFFIXES


def of_one_level(source, level):
    """Gives a source what says that its file holds one level only, and refuses another."""
    source.levels = [(source.shape, 1.0)]
    source.scale = (1.0,) * len(source.shape)
    if level:
        chosen_level(source.name, source.levels, level)
    return source


class ArraySource:
    """Reads an array in memory, or a NPY file without loading the whole of it: see `open_source`."""

    georeference = None
    resolution = None

    def __init__(self, image, spatial_dims=None):
        self._image = image
        self.path = None if isinstance(image, np.ndarray) else Path(image)
        self.name = str(self.path or "array")
        array = self._open()
        self.dtype = require_numbers(self.name, array.dtype)
        self.shape, self.channels = spatial_and_channels(self.name, array.shape, spatial_dims)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def _open(self):
        if isinstance(self._image, np.ndarray):
            return self._image
        try:
            return np.load(self._image, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # a damaged header is parsed as Python, with all that this may raise
            raise OSError(f"{self.name}: expected a readable NPY file; received {reason(error)}") from None

    def read(self, window):
        """Returns the pixels of a `Window` as an array `(*size, channels)`, mirrored outside the image."""
        array = self._open()
        array = array.reshape((*self.shape, self.channels))
        return require_finite(read_mirrored(self, window, lambda box: np.array(array[box.slices])), self.name, window)
