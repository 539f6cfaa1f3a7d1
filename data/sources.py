"""Sources of pixels: read one window of an image or volume of any size, mirrored where it reaches outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .rasters import RasterSource
from .reading import ends_of_file as ends_of_file
from .reading import (
    file_suffix,
    read_mirrored,
    reason,
    require_finite,
    require_numbers,
    spatial_and_channels,
)
from .volumes import VolumeSource

RASTER_SUFFIXES = (".tif", ".tiff", ".svs", ".png", ".jpg", ".jpeg")
VOLUME_SUFFIXES = (".nii", ".nii.gz")
ARRAY_SUFFIXES = (".npy",)
SUFFIXES = RASTER_SUFFIXES + VOLUME_SUFFIXES + ARRAY_SUFFIXES


def open_source(image, *, rank=None, palette="rgb"):
    """Opens an image or volume so that its windows can be read.

    A source has `name`, `path`, `shape` (spatial sizes), `channels`, `dtype`, `georeference` and `read(window)`. It
    can be pickled, and read by several threads and processes at once; as a context manager it closes its file.

    Args:
        image: Path of a TIFF, SVS, PNG, JPEG, NIfTI or NPY file; or an array `(*spatial)` or `(*spatial, channels)`.
        rank: Number of spatial axes, 2 or 3. Unknown: that of the file; an array of three axes is then an image if its
            last axis is at most 4 long, else a volume.
        palette: `"rgb"` turns the indices of a palette into colours, `"index"` keeps them and keeps pixels marked as
            nodata, which is what label images need.

    Raises:
        FileNotFoundError: Where there is no such file.
        OSError: Where the file cannot be read.
        ValueError: Where its format or its number of axes is not one that can be read.
    """
    if palette not in ("rgb", "index"):
        raise ValueError(f"palette: expected rgb or index; received {palette}")
    if isinstance(image, np.ndarray):
        return ArraySource(image, rank)
    path = Path(image)
    suffix = file_suffix(path)
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a file of type {' '.join(SUFFIXES)}; received {suffix or 'no suffix'}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected an existing file; received a path where there is none")
    if not path.is_file():
        raise OSError(f"{path}: expected a file; received a folder")
    if suffix in RASTER_SUFFIXES:
        return RasterSource(path, rank, palette)
    return VolumeSource(path, rank) if suffix in VOLUME_SUFFIXES else ArraySource(path, rank)


class ArraySource:
    """Reads an array in memory, or a NPY file without loading the whole of it: see `open_source`."""

    georeference = None

    def __init__(self, image, rank=None):
        self._image = image
        self.path = None if isinstance(image, np.ndarray) else Path(image)
        self.name = str(self.path or "array")
        array = self._open()
        self.dtype = require_numbers(self.name, array.dtype)
        self.shape, self.channels = spatial_and_channels(self.name, array.shape, rank)

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
