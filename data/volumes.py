"""Volumes: NIfTI, read as far as a window needs it."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from .reading import (
    Cache,
    file_suffix,
    file_version,
    read_mirrored,
    reason,
    require_finite,
    require_numbers,
    spatial_and_channels,
)

VOLUME_BYTES_PER_PROCESS = 1 << 30

_volumes = Cache()


class VolumeSource:
    """Reads a NIfTI volume, without loading the whole of it unless it is compressed: see `open_source`."""

    def __init__(self, path, rank=None):
        self.path = Path(path)
        self.name = str(path)
        self._version = file_version(path)
        image = self._load()
        shape = image.shape
        if rank == 2 and len(shape) > 2:
            if shape[2] != 1:
                raise ValueError(f"{path}: expected an image with 2 spatial axes; received a volume of shape {shape}")
            shape = shape[:2] + shape[3:]
        elif rank is None:
            rank = min(len(shape), 3)
        self.shape, self.channels = spatial_and_channels(self.name, shape, rank)
        stored = require_numbers(self.name, image.get_data_dtype())
        scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
        self.dtype = np.dtype(np.float32) if scaled else stored.newbyteorder("=")
        self.georeference = {"affine": image.affine, "header": image.header.copy()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _volumes.drop(self._version)

    def _load(self):
        import nibabel

        try:
            # Without a memory map no file stays open; only what a window needs is read all the same.
            return nibabel.load(self.path, mmap=False)
        except Exception as error:  # nibabel lets whatever a damaged header provokes pass through
            raise OSError(f"{self.name}: expected a readable NIfTI file; received {reason(error)}") from None

    def _pixels(self):
        proxy = self._load().dataobj
        bytes_needed = int(np.prod(proxy.shape, dtype=object)) * self.dtype.itemsize
        if file_suffix(self.path) == ".nii.gz" and bytes_needed <= VOLUME_BYTES_PER_PROCESS:
            return np.asarray(proxy, dtype=self.dtype)
        return proxy

    def read(self, window):
        """Returns the voxels of a `Window` as an array `(*size, channels)`, mirrored outside the volume."""

        def read(box):
            try:
                pixels = _volumes.get(
                    self._version, self._pixels, lambda value: getattr(value, "nbytes", 4096), VOLUME_BYTES_PER_PROCESS
                )
                slices = box.slices + (slice(None),) * (len(pixels.shape) - len(box.slices))
                return np.array(pixels[slices], dtype=self.dtype).reshape((*box.size, self.channels))
            except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
                raise OSError(f"{self.name}: expected readable voxels; received {reason(error)}") from None

        array = read_mirrored(self, window, read)
        return require_finite(array, self.name, window)
