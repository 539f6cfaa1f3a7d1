"""NIfTI volumes through nibabel, read as far as a window needs it."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from maskzoo.errors import ImageError, UnreadableFile

from ..windows import Window
from . import reader_cache
from .image_files import file_suffix, file_version
from .reading import read_mirrored, reason, require_finite, require_numbers, spatial_and_channels
from .source import Frame, Source


class NibabelSource(Source):
    """Reads a NIfTI volume, without loading the whole of it unless it is compressed: see `open_source`."""

    def __init__(self, path: str | os.PathLike[str], spatial_dims: int | None = None) -> None:
        self.path = self._file = Path(path)
        self.name = str(path)
        self._version = file_version(path)
        image = self._load()
        shape = image.shape
        if spatial_dims == 2 and len(shape) > 2:
            if shape[2] != 1:
                raise ImageError(path, "an image with 2 spatial axes", f"a volume of shape {shape}")
            shape = shape[:2] + shape[3:]
        elif spatial_dims is None:
            spatial_dims = min(len(shape), 3)
        self.shape, self.channels = spatial_and_channels(self.name, shape, spatial_dims)
        stored = require_numbers(self.name, image.get_data_dtype())
        scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
        self.dtype = np.dtype(np.float32) if scaled else stored.newbyteorder("=")
        self.value_step = abs(float(image.dataobj.slope)) if scaled else 0.0
        spacing = voxel_spacing(image.affine, len(self.shape))
        # Without either code the affine is made up by nibabel from the size of the voxels.
        has_place = bool(int(image.header["sform_code"]) or int(image.header["qform_code"]))
        self.frame = Frame(self.shape, spacing, affine=image.affine, header=image.header.copy(), has_place=has_place)

    def close(self) -> None:
        """Forgets what this process holds of the volume."""
        reader_cache.volumes.drop(self._version)

    def _load(self) -> Any:
        import nibabel

        try:
            # Without a memory map no file stays open; only what a window needs is read all the same.
            return nibabel.load(self._file, mmap=False)
        except Exception as error:  # nibabel lets whatever a damaged header provokes pass through
            raise UnreadableFile(self.name, "a readable NIfTI file", reason(error)) from None

    def _voxels(self) -> reader_cache.Voxels:
        proxy = self._load().dataobj
        bytes_needed = int(np.prod(proxy.shape, dtype=object)) * self.dtype.itemsize
        if file_suffix(self._file) == ".nii.gz" and bytes_needed <= reader_cache.VOLUME_BYTES_PER_PROCESS:
            return np.asarray(proxy, dtype=self.dtype)
        return proxy

    def read(self, window: Window) -> np.ndarray:
        """Returns the voxels of a window as an array `(*size, channels)`, mirrored outside the volume."""
        return require_finite(read_mirrored(self, window, self._read), self.name, window)

    def _read(self, window: Window) -> np.ndarray:
        try:
            voxels = reader_cache.volumes.get(self._version, self._voxels)
            slices = window.slices + (slice(None),) * (len(voxels.shape) - window.ndim)
            return np.array(voxels[slices], dtype=self.dtype).reshape((*window.size, self.channels))
        except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
            raise UnreadableFile(self.name, "readable voxels", reason(error)) from None


def voxel_spacing(affine: ArrayLike, spatial_dims: int) -> tuple[float, ...]:
    """Returns the size of a voxel along each axis, from an affine `(4, 4)`."""
    return tuple(np.linalg.norm(np.asarray(affine, float)[:3, :spatial_dims], axis=0).tolist())


def nifti_frame(shape: tuple[int, ...], affine: ArrayLike, unit: str) -> Frame:
    """Returns the frame of a volume that was not NIfTI, with the header that a NIfTI file written from it needs.

    Args:
        shape: Number of voxels per axis.
        affine: From voxel to place, `(4, 4)`.
        unit: NIfTI's name of the unit of the affine, such as `mm` or `micron`.
    """
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_xyzt_units(unit)
    affine = np.asarray(affine, float)
    return Frame(shape, voxel_spacing(affine, len(shape)), affine=affine, header=header)
