"""The folders and files of a data set: which are its images and labels, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskzoo.errors import DataError, MissingFile

from ..images.image_files import (
    RASTER_SUFFIXES,
    SCAN_SUFFIXES,
    SUFFIXES,
    VOLUME_SUFFIXES,
    file_stem,
    file_suffix,
    holds_slices,
)
from ..images.rasterio_source import needs_tifffile
from .specification import DataSpec

LABEL_FOLDERS = ("masks", "labels")
# One folder or file of labels, or a folder for each class.
LabelPlace = Path | dict[str, Path]


def find_folders(spec: DataSpec) -> tuple[Path, LabelPlace]:
    """Returns the folder of the images and the folder or file of the labels, or a folder for each class.

    Raises:
        MissingFile: If one of them is missing.
        DataError: If it is not clear which it is.
    """
    path = Path(spec.path)
    if spec.sets is not None:
        raise DataError(path, "one data set", f"{len(spec.sets)}, which must be looked at one by one")
    images = path / (spec.images or "images")
    if not images.is_dir():
        raise MissingFile(path, f"a folder {images.name}/ in it", f"no {images.name}/")
    if isinstance(spec.labels, dict):
        return images, {name: existing(path, part) for name, part in spec.labels.items()}
    if spec.labels is not None:
        return images, existing(path, spec.labels)
    labels = [path / name for name in LABEL_FOLDERS if (path / name).is_dir()]
    if not labels:
        raise MissingFile(path, "a folder masks/ or labels/ in it", "no masks/ or labels/")
    if len(labels) > 1:
        raise DataError(path, "either masks/ or labels/", "both")
    return images, labels[0]


def existing(folder: Path, part: str) -> Path:
    """Returns the path of a file or folder of labels; refuses one that does not exist."""
    if not (folder / part).exists():
        raise MissingFile(folder, f"{part} in it, as `labels` says", f"no {part}")
    return folder / part


def files_by_stem(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> dict[str, Path]:
    """Returns the files of a folder that can be read, by their names without suffix.

    Raises:
        MissingFile: If there are none.
        DataError: If two files have the same name.
    """
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        slices = SCAN_SUFFIXES[-1] in suffixes and holds_slices(file)
        if file.name.startswith(".") or (file_suffix(file) not in suffixes and not slices):
            continue
        if other := files.get(file_stem(file)):
            raise DataError(file, "one file of this name", f"{other.name} as well")
        files[file_stem(file)] = file
    if not files:
        raise MissingFile(folder, f"files of type {' '.join(suffixes)}", "a folder without any")
    return files


def spatial_dims_of_file(file: Path) -> int | None:
    """Returns the number of spatial axes that a file's format implies; `None` if it leaves that open."""
    suffix = file_suffix(file)
    if suffix in (".tif", ".tiff"):
        # A stack of pages may be a volume; an image is none.
        return None if needs_tifffile(file) else 2
    if holds_slices(file) or suffix in VOLUME_SUFFIXES:
        return 3
    return 2 if suffix in RASTER_SUFFIXES else None
