"""NIfTI volumes through nibabel, read as far as a window needs it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from maskzoo.errors import ImageError, readable

from ..windows import Window
from . import reader_cache
from .image_files import file_suffix, file_version
from .packed_streams import require_whole_stream
from .reading import ignored_warnings, read_mirrored, require_finite, require_numbers, spatial_and_channels
from .source import Frame, Source

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

# In voxels: how far two affines of one header may differ.
SAME_PLACE = 0.1
# Beyond any distance.
LARGEST_PLACE = 1e30


class NibabelSource(Source):
    """Reads a NIfTI volume, without loading the whole of it unless it is compressed: see `open_source`."""

    def __init__(self, path: str | os.PathLike[str], spatial_dims: int | None = None) -> None:
        self.path = self._file = Path(path)
        self.name = str(path)
        self._version = file_version(path)
        image = self._load()
        shape = image.shape
        if len(shape) == 5 and shape[3] == 1:  # as tools write several values per voxel, behind an axis for the time
            shape = shape[:3] + shape[4:]
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
        self.frame, self.notes = header_frame(image.header, self.shape)

    def close(self) -> None:
        """Forgets what this process holds of the volume."""
        reader_cache.volumes.drop(self._version)

    def _load(self) -> Any:
        import nibabel

        with readable(self.name, "a readable NIfTI file"), nothing_said():
            # Without a memory map no file stays open; only what a window needs is read all the same.
            return nibabel.load(self._file, mmap=False)

    def _voxels(self) -> reader_cache.Voxels:
        proxy = self._load().dataobj
        number = prod(proxy.shape)
        stored_bytes, bytes_needed = number * proxy.dtype.itemsize, number * self.dtype.itemsize
        if file_suffix(self._file) == ".nii.gz" and bytes_needed <= reader_cache.VOLUME_BYTES_PER_PROCESS:
            voxels = np.asarray(proxy, dtype=self.dtype)
            require_whole_stream(self._version, int(proxy.offset) + stored_bytes)
            return voxels
        return proxy

    def read(self, window: Window) -> np.ndarray:
        """Returns the voxels of a window as an array `(*size, channels)`, mirrored outside the volume."""
        return require_finite(read_mirrored(self, window, self._read), self.name, window)

    def _read(self, window: Window) -> np.ndarray:
        with readable(self.name, "readable voxels"):
            voxels = reader_cache.volumes.get(self._version, self._voxels)
            slices = window.slices + (slice(None),) * (len(voxels.shape) - window.ndim)
            return np.array(voxels[slices], dtype=self.dtype).reshape((*window.size, self.channels))


@contextmanager
def nothing_said() -> Iterator[None]:
    """A context in which nibabel does not write to the console what it puts right in a header; one thread at a time."""
    from nibabel import imageglobals

    with ignored_warnings():
        handlers = imageglobals.logger.handlers[:]
        imageglobals.logger.handlers[:] = [logging.NullHandler()]
        try:
            yield
        finally:
            imageglobals.logger.handlers[:] = handlers


def require_place(name: str, affine: ArrayLike) -> None:
    """Refuses an affine `(4, 4)` with which nothing can be computed.

    Raises:
        ImageError: If it has numbers that are not finite, or larger than any distance.
    """
    values = np.asarray(affine, float)
    if not (np.abs(values) < LARGEST_PLACE).all():
        raise ImageError(name, "a place and a size of voxels in finite numbers", values.tolist())


def header_frame(header: Nifti1Header, shape: tuple[int, ...]) -> tuple[Frame, tuple[str, ...]]:
    """Returns the frame that a NIfTI header says, and what is to be known of it, in words.

    The sform counts, as nibabel has it, then the qform; without either there is no place, and the size of the voxels
    alone. So it is if what they say is none, such as voxels without length or NaN.

    Args:
        header: The header.
        shape: Number of voxels per axis.
    """
    coded: list[np.ndarray] = []
    for form, name in ((header.get_sform, "sform_code"), (header.get_qform, "qform_code")):
        if int(header[name]):
            coded.append(np.asarray(form(), float))
    forms = [affine for affine in coded if is_grid(affine)]
    notes = ()
    if len(forms) == 2 and np.abs(forms[0] - forms[1]).max() > SAME_PLACE * min(voxel_spacing(forms[0], 3)):
        notes = ("its sform and its qform say different places: the sform counts",)
    if len(forms) < len(coded):
        notes = ("the place in its header is none, such as voxels without length: it counts for nothing",)
    affine = forms[0] if forms else np.asarray(header.get_base_affine(), float)
    spacing = voxel_spacing(affine, len(shape)) if is_grid(affine) else None
    if spacing is None:
        affine = np.eye(4)
    return Frame(shape, spacing, affine=affine, header=header.copy(), has_place=bool(forms)), notes


def is_grid(affine: np.ndarray) -> bool:
    """Says whether an affine `(4, 4)` gives every voxel a place of its own."""
    return bool((np.abs(affine) < LARGEST_PLACE).all()) and np.linalg.matrix_rank(affine[:3, :3]) == 3


def voxel_spacing(affine: ArrayLike, spatial_dims: int) -> tuple[float, ...]:
    """Returns the size of a voxel along each axis, from an affine `(4, 4)`."""
    return tuple(np.linalg.norm(np.asarray(affine, float)[:3, :spatial_dims], axis=0).tolist())


def nifti_frame(shape: tuple[int, ...], affine: ArrayLike, unit: str, *, has_place: bool = True) -> Frame:
    """Returns the frame of a volume that was not NIfTI, with the header that a NIfTI file written from it needs.

    Args:
        shape: Number of voxels per axis.
        affine: From voxel to place, `(4, 4)`.
        unit: NIfTI's name of the unit of the affine, such as `mm` or `micron`.
        has_place: See `Frame.has_place`.
    """
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_xyzt_units(unit)
    affine = np.asarray(affine, float)
    return Frame(shape, voxel_spacing(affine, len(shape)), affine=affine, header=header, has_place=has_place)
