"""Image files on disk: the formats that are read, by suffix, and what tells one content from another."""

from __future__ import annotations

import os
import re
from pathlib import Path

RASTER_SUFFIXES = (".tif", ".tiff", ".svs", ".png", ".jpg", ".jpeg", ".jp2", ".webp", ".bmp", ".gif")
VOLUME_SUFFIXES = (".nii", ".nii.gz")
DICOM_SUFFIXES = (".dcm", ".ima")
SCAN_SUFFIXES = (".mhd", ".mha", ".nrrd", ".nhdr", *DICOM_SUFFIXES)
ARRAY_SUFFIXES = (".npy",)
# Headers of voxels in other files.
HEADER_SUFFIXES = (".mhd", ".nhdr")
SUFFIXES = RASTER_SUFFIXES + VOLUME_SUFFIXES + SCAN_SUFFIXES + ARRAY_SUFFIXES

# Path, latest change in nanoseconds, size in bytes.
FileVersion = tuple[str, int, int]


def is_image(path: str | os.PathLike[str]) -> bool:
    """Says whether a path looks like an image by its suffix, or is DICOM: a file of any name, or a folder of slices.

    Names that begin with a dot are none: some systems leave such files beside images, `._a.tif` beside `a.tif`.
    """
    return not is_hidden(path) and (holds_slices(path) or file_suffix(path) in SUFFIXES or is_dicom_file(path))


def is_hidden(path: str | os.PathLike[str]) -> bool:
    """Says whether a name begins with a dot."""
    return Path(path).name.startswith(".")


def file_suffix(path: str | os.PathLike[str]) -> str:
    """Returns the suffix of a path in lower case, `.nii.gz` in one piece; a folder of slices has none.

    The last number of a name such as `1.2.840.113`, as many DICOM files have, is no suffix.
    """
    name = Path(path).name.lower()
    suffix = ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix
    if suffix in SUFFIXES:
        return "" if holds_slices(path) else suffix
    return "" if suffix[1:].isdigit() or holds_slices(path) else suffix


def file_stem(path: str | os.PathLike[str]) -> str:
    """Returns the name of a path without its suffix, `.nii.gz` taken off in one piece."""
    name = Path(path).name
    return name[: len(name) - len(file_suffix(path))]


def holds_slices(path: str | os.PathLike[str]) -> bool:
    """Says whether a path is a folder of DICOM files, which is one volume."""
    return Path(path).is_dir() and any(map(is_dicom_file, Path(path).iterdir()))


def slices_in(folder: str | os.PathLike[str]) -> list[Path]:
    """Returns the DICOM files in a folder by name; results and notes may lie beside them."""
    return sorted(file for file in Path(folder).iterdir() if is_dicom_file(file))


def is_dicom_file(path: str | os.PathLike[str]) -> bool:
    """Says whether a file is DICOM: by its suffix, or by its start if it has none, or a number for one."""
    path = Path(path)
    suffix = path.suffix.lower()
    if is_hidden(path) or path.name.upper() == "DICOMDIR":
        return False
    if suffix in DICOM_SUFFIXES:
        return not path.is_dir()
    if suffix and not suffix[1:].isdigit():
        return False
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def parts_of_file(path: str | os.PathLike[str]) -> list[Path]:
    """Returns an image file or a folder of slices, and the files of its pixels: slices, or what a header names.

    Args:
        path: The image; nothing of its pixels is read.
    """
    path = Path(path)
    if path.is_dir():
        return [path, *slices_in(path)]
    if file_suffix(path) not in HEADER_SUFFIXES or not path.is_file():
        return [path]
    with open(path, "rb") as file:
        text = file.read(1 << 20).decode("utf-8", "replace").replace("\0", "")
    names = {part.strip() for line in text.splitlines() for part in (line, *line.split(), *re.split("[=:]", line)[1:])}
    return [path, *(path.parent / name for name in sorted(names) if len(name) < 256 and (path.parent / name).is_file())]


def file_version(path: str | os.PathLike[str]) -> FileVersion:
    """Identifies the content of a file, or of a folder of slices, well enough to notice that it was replaced."""
    files = slices_in(path) or list(os.scandir(path)) if os.path.isdir(path) else [Path(path)]
    states = [file.stat() for file in files]
    return str(path), max(state.st_mtime_ns for state in states), sum(state.st_size for state in states)


def ends_of_file(path: str | os.PathLike[str], most: int = 1 << 20) -> bytes:
    """Returns what nearly identifies the content of a file of any size, or of a folder of slices.

    Args:
        path: A file, or a folder, whose files are taken in the order of their names.
        most: Bytes to take from the start of a file; 64 kilobytes of its end and its length follow.
    """
    if os.path.isdir(path):
        return b"".join(ends_of_file(file, 1 << 12) for file in slices_in(path))
    with open(path, "rb") as file:
        first = file.read(most)
        length = file.seek(0, 2)
        file.seek(max(most, length - (1 << 16)))
        return first + file.read() + length.to_bytes(8, "big")
