"""DICOM, MHD, MHA and NRRD through SimpleITK, read as far as a window needs it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from maskzoo.errors import LONGEST_REASON, ImageError, UnreadableFile, readable

from ..windows import Window
from . import reader_cache
from .dicom import require_one_grid, require_whole_elements, series_files, slice_step
from .dicom_frames import Frames, read_frames, slice_thickness
from .dicom_values import SliceValues, read_values
from .image_files import file_suffix, file_version, holds_slices, is_dicom_file
from .nibabel_source import nifti_frame, require_place, voxel_spacing
from .pixel_meaning import INVERTED
from .reading import read_mirrored, require_finite, require_numbers
from .scan_files import data_file, is_compressed, require_whole_scan, says_place
from .source import Source


class SimpleITKSource(Source):
    """Reads DICOM, a file or a folder with the slices of one series, MHD, MHA or NRRD: see `open_source`.

    Volumes have the axes and, in their frame, the affine of the NIfTI file that the same tools make of them; values are
    rescaled as the file says, and shown as viewers do where 0 is white; those that pad the image are lacking. A single
    slice is an image, rows first.
    """

    def __init__(self, path: str | os.PathLike[str], spatial_dims: int | None = None) -> None:
        self.path = Path(path)
        self.name = str(path)
        with readable(self.name, "a readable scan"), itk_errors(self.name, "a readable scan"):
            scan = read_headers(self.path)
        self._scan = scan
        self._version = file_version(path), *map(file_version, scan.data_files)
        if scan.values is not None and scan.values.is_inverted:
            self.notes = (INVERTED,)
        self.dtype, self.channels = require_numbers(self.name, scan.dtype), scan.channels
        require_place(self.name, scan.affine)
        size = scan.size
        flat = len(size) == 2 or size[2] == 1
        spatial_dims = spatial_dims or (2 if len(size) == 2 or (flat and scan.is_dicom) else 3)
        if spatial_dims == 2 and not flat:
            raise ImageError(path, "an image with 2 spatial axes", f"a volume of shape {size}")
        if spatial_dims == 3 and len(size) == 2:
            raise ImageError(path, "a volume with 3 spatial axes", "an image with 2")
        if spatial_dims == 3:
            self.shape = size
            self.frame = nifti_frame(size, scan.affine, "mm", has_place=scan.has_place)
        else:
            self.shape = size[1], size[0]
            self.frame = replace(
                nifti_frame(self.shape, scan.affine, "mm"), spacing=voxel_spacing(scan.affine, 2)[::-1], affine=None
            )
        stored = sum(Path(file).stat().st_size for file in {*scan.files, *map(str, scan.data_files)})
        self._bytes = prod(size) * self.channels * self.dtype.itemsize
        # No compression makes a thousand times less of noise; ITK would allocate what a damaged header declares.
        if min(size) < 1 or self._bytes > max(1 << 26, 2000 * stored):
            raise ImageError(path, f"a size that fits into {stored} bytes", size)

    @property
    def files(self) -> list[Path]:
        """The file or folder, and the file of voxels that a header names."""
        return [*super().files, *self._scan.data_files]

    def close(self) -> None:
        """Forgets what this process holds of the scan."""
        reader_cache.volumes.drop(self._version)

    def read(self, window: Window) -> np.ndarray:
        """Returns the voxels of a window as an array `(*size, channels)`, mirrored outside the volume."""
        return require_finite(read_mirrored(self, window, self._read), self.name, window)

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window do not pad the image: see `Source.valid`."""
        values = self._scan.values
        if values is None or not values.pads:
            return None
        return read_mirrored(self, window, lambda inside: ~values.of(inside.slices[-1]).padded(self._stored(inside)))

    def _read(self, window: Window) -> np.ndarray:
        stored, values = self._stored(window), self._scan.values
        return stored if values is None else values.of(window.slices[-1]).without_padding(stored)

    def _stored(self, window: Window) -> np.ndarray:
        """Returns the values of a window inside the image as they are stored, rescaled."""
        flat = len(self.shape) == 2
        box = Window((*window.offset[::-1], 0), (*window.size[::-1], 1)) if flat else window
        with readable(self.name, "readable voxels"), itk_errors(self.name, "readable voxels"):
            if self._scan.is_streamed or self._bytes > reader_cache.VOLUME_BYTES_PER_PROCESS:
                voxels = self._region(box)
            else:
                everything = Window((0, 0, 0), (*self._scan.size, 1)[:3])
                voxels = reader_cache.volumes.get(self._version, lambda: self._region(everything))[box.slices]
        return np.array(voxels[:, :, 0].swapaxes(0, 1) if flat else voxels)

    def _region(self, box: Window) -> np.ndarray:
        """Returns the voxels `(x, y, z, channels)` of a box of three axes."""
        import SimpleITK as sitk

        files, dimensions, frames = self._scan.files, len(self._scan.size), self._scan.frames
        across, down, slices = box.slices
        shown = np.arange(slices.start, slices.stop)
        if frames is not None:
            shown = frames.order[slices]
            first, last = int(shown.min()), int(shown.max())
            box = Window((*box.offset[:2], first), (*box.size[:2], last + 1 - first))
            shown = shown - first
        if len(files) > 1:
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(files[slices])
        else:
            reader = sitk.ImageFileReader()
            reader.SetFileName(files[0])
            reader.SetExtractIndex(box.offset[:dimensions])
            reader.SetExtractSize(box.size[:dimensions])
        if self._scan.is_dicom:
            # Of a series ITK takes the type of the first file, which may not hold what the others are rescaled to.
            reader.SetOutputPixelType(itk_type(self._scan))
        image = reader.Execute()
        voxels = sitk.GetArrayFromImage(image)
        voxels = voxels.reshape(*image.GetSize()[::-1], self.channels)
        if voxels.ndim == 3:
            voxels = voxels[None]
        voxels = voxels.transpose(2, 1, 0, 3)
        if len(files) > 1:
            voxels = voxels[across, down]
        if voxels.shape[:3] != box.size:
            raise RuntimeError(f"ERROR: {voxels.shape[:3]} voxels where {box.size} are declared")
        if frames is not None:
            voxels = voxels[:, :, shown]
            if frames.rescale is not None:
                # ITK has rescaled all frames as the first.
                (slope, intercept), own = frames.rescale[0], frames.rescale[frames.order[slices], :, None]
                voxels = np.rint((voxels - intercept) / slope) * own[:, 0] + own[:, 1]
        return voxels.astype(self.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class Scan:
    """What the headers of a scan say.

    Attributes:
        files: The files, in the order of their slices.
        data_files: Files with voxels that a header names.
        size: Voxels along x, y and, in volumes, z.
        dtype: Type of the voxels, rescaled.
        channels: Values per voxel.
        affine: From voxel to place as NIfTI counts it, to the right, the front and up, `(4, 4)`.
        is_dicom: The files are DICOM.
        is_rescaled: Voxels become floating point numbers.
        is_streamed: Parts can be read without the rest.
        frames: Of a file with several frames that have a place: how they make up a volume.
        values: What the values of DICOM files mean.
        has_place: The file says where the affine lies, not only how large voxels are.
    """

    files: list[str]
    data_files: list[Path]
    size: tuple[int, ...]
    dtype: np.dtype
    channels: int
    affine: np.ndarray
    is_dicom: bool
    is_rescaled: bool
    is_streamed: bool
    frames: Frames | None = None
    values: SliceValues | None = None
    has_place: bool = True


def read_headers(path: Path) -> Scan:
    """Reads what the headers of a scan say.

    Raises:
        ImageError: If its slices do not make up one image or volume.
        UnreadableFile: If a file is damaged.
        RuntimeError: As ITK says that it cannot read a file.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    is_dicom = holds_slices(path) or is_dicom_file(path)
    files = series_files(path) if holds_slices(path) else [str(path)]
    if not is_dicom:
        require_whole_scan(path)
    elif not holds_slices(path):
        require_whole_elements(path)
    heads = []
    for file in files:
        reader = sitk.ImageFileReader()
        reader.SetFileName(file)
        reader.ReadImageInformation()
        heads.append(reader)
    first = heads[0]
    size = tuple(first.GetSize())
    if len(size) > 3:
        raise ImageError(path, "an image or a volume", f"{len(size)} axes")
    types = [pixel_type(path, head.GetPixelIDValue()) for head in heads]
    is_rescaled = is_dicom and np.result_type(*types).kind == "f"
    affine = lps_affine(first.GetOrigin(), first.GetSpacing(), first.GetDirection())
    dtype = np.result_type(*types)
    frames = read_frames(files[0]) if is_dicom and len(files) == 1 else None
    if frames is not None and len(frames.order) != (*size, 1)[2]:
        raise ImageError(path, f"{(*size, 1)[2]} frames", f"the places of {len(frames.order)}")
    if frames is not None:
        affine = frames.affine
        is_rescaled = is_rescaled or frames.rescale is not None
        frames = frames if len(size) == 3 else None
    elif is_dicom and len(files) == 1 and size[2:] == (1,) and (thickness := slice_thickness(files[0])):
        affine[:3, 2] *= thickness / first.GetSpacing()[2]
    if len(files) > 1:
        if any(head.GetSize() != size for head in heads) or (len(size) == 3 and size[2] != 1):
            raise ImageError(path, "slices of one size", sorted({head.GetSize() for head in heads}))
        if (channels := {head.GetNumberOfComponents() for head in heads}) != {first.GetNumberOfComponents()}:
            raise ImageError(path, "slices of one number of channels", sorted(channels))
        require_one_grid(
            path,
            np.array([head.GetDirection() for head in heads]),
            np.array([head.GetSpacing()[1::-1] for head in heads]),
        )
        affine[:3, 2] = slice_step(path, np.array([head.GetOrigin() for head in heads]))
        size = (*size[:2], len(files))
    return Scan(
        files=files,
        data_files=[found] if (found := data_file(path)) else [],
        size=size,
        dtype=np.dtype(np.float32) if is_rescaled else dtype,
        channels=first.GetNumberOfComponents(),
        affine=np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine,
        is_dicom=is_dicom,
        is_rescaled=is_rescaled,
        is_streamed=file_suffix(path) in (".mhd", ".mha") and not is_compressed(path),
        frames=frames,
        values=read_values(files, frames) if is_dicom else None,
        has_place=is_dicom or says_place(path),
    )


def lps_affine(origin: Sequence[float], spacing: Sequence[float], direction: Sequence[float]) -> np.ndarray:
    """Returns the matrix `(4, 4)` from voxel to place as ITK counts it: to the left, the back and up.

    Args:
        origin: Place of the first voxel.
        spacing: Size of a voxel per axis; a plane is the first slice of a volume.
        direction: Directions of the axes, row by row.
    """
    axes = len(spacing)
    affine = np.eye(4)
    affine[:axes, :axes] = np.reshape(direction, (axes, axes)) * spacing
    affine[:axes, 3] = origin
    return affine


def itk_type(scan: Scan) -> int:
    """Returns SimpleITK's number of the type that holds all voxels of a DICOM scan while they are read."""
    import SimpleITK as sitk

    exact = scan.frames is not None and scan.frames.rescale is not None
    name = (
        "Float64" if exact else {"f": "Float", "u": "UInt", "i": "Int"}[scan.dtype.kind] + str(8 * scan.dtype.itemsize)
    )
    return getattr(sitk, f"sitk{'Vector' if scan.channels > 1 else ''}{name}")


def pixel_type(path: Path, number: int) -> np.dtype:
    """Returns the numpy type of SimpleITK's pixel type, of one channel or several, and refuses complex numbers."""
    import SimpleITK as sitk

    for kind in ("UInt8", "Int8", "UInt16", "Int16", "UInt32", "Int32", "UInt64", "Int64", "Float32", "Float64"):
        if number in (getattr(sitk, f"sitk{kind}"), getattr(sitk, f"sitkVector{kind}")):
            return np.dtype(kind.lower())
    raise ImageError(path, "pixels that are real numbers", sitk.GetPixelIDValueAsString(number))


@contextmanager
def itk_errors(name: str, expected: str) -> Iterator[None]:
    """A context in which what ITK says went wrong is said without the lines of its own code: see `readable`."""
    try:
        yield
    except RuntimeError as error:
        text = re.sub(r"^.*ERROR: *|^Exception thrown in \S+ \w+: \S+:\d+[^:]*: *", "", " ".join(str(error).split()))
        raise UnreadableFile(name, expected, re.sub(r"\(0x[0-9a-f]+\)", "", text)[:LONGEST_REASON]) from error
