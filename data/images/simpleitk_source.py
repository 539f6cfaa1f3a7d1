"""Volumes: NIfTI, and through SimpleITK DICOM, MHD, MHA and NRRD, read as far as a window needs it."""

from __future__ import annotations

import os
import re
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np

from ..windows import Window
from .reading import (
    Cache,
    file_suffix,
    file_version,
    holds_slices,
    read_mirrored,
    reason,
    require_finite,
    require_numbers,
    spatial_and_channels,
)

VOLUME_BYTES_PER_PROCESS = 1 << 30

# DICOM: kinds of elements whose length has four bytes; encodings that lie otherwise (big-endian, packed).
LONG_ELEMENTS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
UNDEFINED = 0xFFFFFFFF
UNCHECKED_SYNTAXES = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")

_volumes = Cache()


def held_bytes(voxels) -> int:
    """Returns the memory of a kept volume: its voxels, or next to nothing where they stay in the file."""
    return getattr(voxels, "nbytes", 4096)


class VolumeSource:
    """Reads a NIfTI volume, without loading the whole of it unless it is compressed: see `open_source`."""

    def __init__(self, path, spatial_dims=None):
        self.path = Path(path)
        self.name = str(path)
        self._version = file_version(path)
        image = self._load()
        shape = image.shape
        if spatial_dims == 2 and len(shape) > 2:
            if shape[2] != 1:
                raise ValueError(f"{path}: expected an image with 2 spatial axes; received a volume of shape {shape}")
            shape = shape[:2] + shape[3:]
        elif spatial_dims is None:
            spatial_dims = min(len(shape), 3)
        self.shape, self.channels = spatial_and_channels(self.name, shape, spatial_dims)
        stored = require_numbers(self.name, image.get_data_dtype())
        scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
        self.dtype = np.dtype(np.float32) if scaled else stored.newbyteorder("=")
        self.georeference = {"affine": image.affine, "header": image.header.copy()}
        self.resolution = spacing(image.affine, len(self.shape))

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
                pixels = _volumes.get(self._version, self._pixels, held_bytes, VOLUME_BYTES_PER_PROCESS)
                slices = box.slices + (slice(None),) * (len(pixels.shape) - len(box.slices))
                return np.array(pixels[slices], dtype=self.dtype).reshape((*box.size, self.channels))
            except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
                raise OSError(f"{self.name}: expected readable voxels; received {reason(error)}") from None

        array = read_mirrored(self, window, read)
        return require_finite(array, self.name, window)


class ScanSource:
    """Reads DICOM, a file or a folder with the slices of one series, MHD, MHA or NRRD: see `open_source`.

    Volumes have the axes and, in `georeference`, the affine of the NIfTI file that the same tools make of them; values
    are rescaled as the file says. A single slice is an image, rows first.
    """

    def __init__(self, path, spatial_dims=None):
        self.path = Path(path)
        self.name = str(path)
        try:
            facts = scan_facts(self.path)
        except RuntimeError as error:
            raise OSError(f"{self.name}: expected a readable scan; received {itk_reason(error)}") from None
        self._version = file_version(path), *map(file_version, facts["data"])
        self._files, self._float, self._streamed = facts["files"], facts["float"], facts["streamed"]
        self.dtype, self.channels = require_numbers(self.name, facts["dtype"]), facts["channels"]
        size = facts["size"]
        flat = len(size) == 2 or size[2] == 1
        spatial_dims = spatial_dims or (2 if len(size) == 2 or (flat and facts["dicom"]) else 3)
        if spatial_dims == 2 and not flat:
            raise ValueError(f"{path}: expected an image with 2 spatial axes; received a volume of shape {size}")
        if spatial_dims == 3 and len(size) == 2:
            raise ValueError(f"{path}: expected a volume with 3 spatial axes; received an image with 2")
        self._size = size
        self.shape = size if spatial_dims == 3 else (size[1], size[0])
        affine = facts["affine"]
        self.georeference = nifti_georeference(affine, "mm") if spatial_dims == 3 else None
        self.resolution = spacing(affine, 3) if spatial_dims == 3 else spacing(affine, 2)[::-1]
        stored = sum(Path(file).stat().st_size for file in {*self._files, *facts["data"]})
        self._bytes = prod(size) * self.channels * self.dtype.itemsize
        # No compression makes a thousand times less of noise; ITK would allocate what a damaged header declares.
        if min(size) < 1 or self._bytes > max(1 << 26, 2000 * stored):
            raise ValueError(f"{path}: expected a size that fits into {stored} bytes; received {size}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _volumes.drop(self._version)

    def read(self, window):
        """Returns the voxels of a `Window` as an array `(*size, channels)`, mirrored outside the volume."""
        return require_finite(read_mirrored(self, window, self._read), self.name, window)

    def _read(self, window):
        flat = len(self.shape) == 2
        box = Window((*window.offset[::-1], 0), (*window.size[::-1], 1)) if flat else window
        try:
            if self._streamed or self._bytes > VOLUME_BYTES_PER_PROCESS:
                voxels = self._region(box)
            else:
                everything = Window((0, 0, 0), (*self._size, 1)[:3])
                voxels = _volumes.get(
                    self._version, lambda: self._region(everything), held_bytes, VOLUME_BYTES_PER_PROCESS
                )[box.slices]
        except RuntimeError as error:
            raise OSError(f"{self.name}: expected readable voxels; received {itk_reason(error)}") from None
        return np.array(voxels[:, :, 0].swapaxes(0, 1) if flat else voxels)

    def _region(self, box):
        """Returns the voxels `(x, y, z, channels)` of a box."""
        import SimpleITK as sitk

        rows, columns, slices = box.slices
        if len(self._files) > 1:
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(self._files[slices])
        else:
            reader = sitk.ImageFileReader()
            reader.SetFileName(self._files[0])
            dimensions = len(self._size)
            reader.SetExtractIndex(box.offset[:dimensions])
            reader.SetExtractSize(box.size[:dimensions])
        if self._float:
            reader.SetOutputPixelType(sitk.sitkFloat32)
        image = reader.Execute()
        voxels = sitk.GetArrayFromImage(image)
        voxels = voxels.reshape(*image.GetSize()[::-1], self.channels)
        if voxels.ndim == 3:
            voxels = voxels[None]
        voxels = voxels.transpose(2, 1, 0, 3)
        if len(self._files) > 1:
            voxels = voxels[rows, columns]
        if voxels.shape[:3] != box.size:
            raise RuntimeError(f"ERROR: {voxels.shape[:3]} voxels where {box.size} are declared")
        return voxels.astype(self.dtype, copy=False)


def scan_facts(path):
    """Returns what a source keeps of a scan: files in order, size, type, channels, affine."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    dicom = holds_slices(path) or file_suffix(path) == ".dcm"
    files = series_files(path) if holds_slices(path) else [str(path)]
    heads = []
    for file in files:
        if dicom:
            require_possible_elements(file)
        reader = sitk.ImageFileReader()
        reader.SetFileName(file)
        reader.ReadImageInformation()
        heads.append(reader)
    first = heads[0]
    size = first.GetSize()
    if len(size) > 3:
        raise ValueError(f"{path}: expected an image or a volume; received {len(size)} axes")
    types = {pixel_type(head.GetPixelIDValue()) for head in heads}
    if None in types:
        raise ValueError(f"{path}: expected pixels that are real numbers; received {first.GetPixelIDValue()}")
    rescaled = dicom and any(kind.kind == "f" for kind in types)
    affine = lps_affine(first.GetOrigin(), first.GetSpacing(), first.GetDirection())
    if len(files) > 1:
        if any(head.GetSize() != size for head in heads) or (len(size) == 3 and size[2] != 1):
            raise ValueError(f"{path}: expected slices of one size; received {sorted({h.GetSize() for h in heads})}")
        affine[:3, 2] = slice_step(path, np.array([head.GetOrigin() for head in heads]))
        size = (*size[:2], len(files))
    data = [found] if (found := data_file(path)) else []
    return {
        "files": files,
        "data": data,
        "size": tuple(size),
        "dtype": np.dtype(np.float32) if rescaled else np.result_type(*types),
        "float": rescaled,
        "channels": first.GetNumberOfComponents(),
        "affine": np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine,
        "dicom": dicom,
        "streamed": file_suffix(path) in (".mhd", ".mha") and not is_compressed(path),
    }


def require_possible_elements(path):
    """Refuses a DICOM file with an element that reaches past its end: GDCM would allocate what it declares.

    Raises:
        OSError: Where there is one.
    """
    size, explicit, pixels = os.path.getsize(path), True, False
    with open(path, "rb") as file:
        file.seek(128)
        if file.read(4) != b"DICM":
            raise OSError(f"{path}: expected a readable DICOM file; received one without its mark")
        while len(head := file.read(8)) == 8:
            tag = struct.unpack("<HH", head[:4])
            length, kind = struct.unpack("<I", head[4:])[0], b""
            if tag[0] != 0xFFFE and (explicit or tag[0] == 2):
                kind = head[4:6]
                length = int.from_bytes(file.read(4) if kind in LONG_ELEMENTS else head[6:], "little")
            # Sequences and their items are gone through, whatever length they say.
            if (kind and not (kind.isalpha() and kind.isupper())) or (file.tell() <= 144 and tag[0] != 2):
                raise OSError(f"{path}: expected a readable DICOM file; received an element of no known kind")
            if length == UNDEFINED and kind == b"UN":
                return
            pixels = pixels or tag == (0x7FE0, 0x10)
            if length == UNDEFINED or kind == b"SQ" or (tag[0] == 0xFFFE and not pixels):
                continue
            if length > size - file.tell():
                raise OSError(f"{path}: expected a readable DICOM file; received an element that passes its end")
            if tag == (2, 0x10):
                syntax = file.read(length).rstrip(b"\0 ").decode("ascii", "replace")
                explicit = syntax != "1.2.840.10008.1.2"
                if syntax in UNCHECKED_SYNTAXES:
                    return
            else:
                file.seek(length, 1)


def series_files(folder):
    """Returns the files of the one DICOM series in a folder, in order along its axis.

    Raises:
        OSError: Where there is no series.
        ValueError: Where there are several.
    """
    import SimpleITK as sitk

    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise OSError(f"{folder}: expected a readable DICOM series; received files of none")
    if len(series) > 1:
        raise ValueError(f"{folder}: expected the slices of one DICOM series; received {len(series)} series")
    return list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))


def slice_step(path, origins):
    """Returns the way from one slice to the next.

    Raises:
        ValueError: Where a slice is missing or two lie at one place.
    """
    steps = np.diff(origins, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    if lengths.min() <= 0 or np.abs(steps - steps.mean(axis=0)).max() > 0.1 * np.median(lengths):
        raise ValueError(
            f"{path}: expected slices at even distances; received {lengths.min():g} to {lengths.max():g} mm"
        )
    return (origins[-1] - origins[0]) / (len(origins) - 1)


def lps_affine(origin, spacing, direction):
    """Returns the matrix from voxel to place, of a plane as the first slice of a volume."""
    axes = len(spacing)
    affine = np.eye(4)
    affine[:axes, :axes] = np.reshape(direction, (axes, axes)) * spacing
    affine[:axes, 3] = origin
    return affine


def pixel_type(number):
    """Returns the numpy type of SimpleITK's pixel type, of one channel or several; None where there is none."""
    import SimpleITK as sitk

    for kind in ("UInt8", "Int8", "UInt16", "Int16", "UInt32", "Int32", "UInt64", "Int64", "Float32", "Float64"):
        if number in (getattr(sitk, f"sitk{kind}"), getattr(sitk, f"sitkVector{kind}")):
            return np.dtype(kind.lower())
    return None


def meta_header(path):
    """Returns the text of a MetaImage header; empty for other files."""
    if file_suffix(path) not in (".mhd", ".mha"):
        return b""
    with open(path, "rb") as file:
        return file.read(1 << 14).split(b"ElementDataFile", 1)[0] + b"ElementDataFile"


def is_compressed(path):
    """Says whether a MetaImage is compressed."""
    return re.search(rb"CompressedData\s*=\s*T", meta_header(path)) is not None


def data_file(path):
    """Returns the file beside a header that holds the voxels, None where they are in the same file or in several."""
    if file_suffix(path) not in (".mhd", ".nhdr"):
        return None
    with open(path, "rb") as file:
        found = re.search(rb"^(?:ElementDataFile\s*=|data ?file:)\s*(\S.*?)\s*$", file.read(1 << 14), re.M | re.I)
    data = path.parent / found[1].decode("utf-8", "replace") if found and b"\0" not in found[1] else None
    return data if data is not None and data.is_file() else None


def itk_reason(error):
    """Returns what ITK says went wrong, in one line, without the lines of its own code."""
    return re.sub(r"^.*ERROR: *", "", reason(error))[:300]


def spacing(affine, spatial_dims):
    """Returns the size of a voxel along each axis."""
    return tuple(np.linalg.norm(np.asarray(affine, float)[:3, :spatial_dims], axis=0).tolist())


def nifti_georeference(affine, unit):
    """Returns the georeference of a volume that was not NIfTI: what a NIfTI file written from it needs."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_xyzt_units(unit)
    return {"affine": np.asarray(affine, float), "header": header}
