"""NIfTI volumes, of any size in bounded memory."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np

from ..images.image_files import file_suffix
from ..windows import Window
from .array_writer import put, reserved_array
from .format_writer import FormatWriter, WriterOptions


class VolumeWriter(FormatWriter):
    """Writes a NIfTI volume; one that is to be compressed is compressed as a whole at the end."""

    def __init__(self, path: Path, shape: tuple[int, ...], options: WriterOptions) -> None:
        import nibabel

        bands, dtype, frame = options.bands, np.dtype(options.dtype), options.frame
        self._path, self._bands = path, bands
        self._raw = path.with_name(f"{path.name}.raw") if file_suffix(path) == ".nii.gz" else path
        self._shape = (*shape, *(1,) * (3 - len(shape)), *((bands,) if bands > 1 else ()))
        kind = nibabel.Nifti1Image if max(self._shape) < 2**15 else nibabel.Nifti2Image
        image = kind(
            np.broadcast_to(np.zeros((), dtype), self._shape),
            np.eye(4) if frame.affine is None else frame.affine,
            frame.header,
            dtype=dtype,
        )
        header = image.header
        if frame.affine is None or not frame.has_place:  # else readers take it to lie where arrays begin
            header.set_sform(None, 0)
            header["qform_code"] = 0
        header.extensions.clear()
        header["cal_min"] = header["cal_max"] = 0
        header.set_slope_inter(1, 0)
        offset = len(header.binaryblock) + 4
        header.set_data_offset(offset)
        with open(self._raw, "wb") as file:
            file.write(header.binaryblock + bytes(4))
        self._values = reserved_array(self._raw, header.get_data_dtype(), offset, self._shape, "F")

    def write(self, window: Window, array: np.ndarray, band: int | None = None) -> None:
        """Writes a window: see `FormatWriter`."""
        put(self._values, window, array, band, self._bands)

    def finish(self) -> None:
        """Writes what is left, and compresses the file."""
        self._values.flush()
        del self._values
        if self._raw != self._path:
            # Without a name and a time in its header, equal volumes are equal files.
            with (
                open(self._raw, "rb") as raw,
                open(self._path, "wb") as plain,
                gzip.GzipFile("", "wb", 5, plain, mtime=0) as file,
            ):
                shutil.copyfileobj(raw, file, 1 << 20)

    def abandon(self) -> None:
        """Closes the file as it is."""
        del self._values
