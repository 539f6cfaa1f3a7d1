"""The folders and files of a data set: which are its images and labels, by name."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from maskzoo.errors import DataError, MissingFile
from maskzoo.names import counted

from ..images.image_files import (
    DICOM_SUFFIXES,
    RASTER_SUFFIXES,
    SUFFIXES,
    VOLUME_SUFFIXES,
    file_stem,
    file_suffix,
    holds_slices,
    is_dicom_file,
    is_hidden,
    is_image,
)
from ..images.rasterio_source import needs_tifffile
from .channels import are_endings, cases_of, found_channels
from .specification import DataSpec

LABEL_FOLDERS = ("masks", "labels")
# Formats of images that are not read.
UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".jxl", ".pgm", ".ppm", ".exr", ".npz", ".mat", ".h5", ".hdf5")
UNREAD_SUFFIXES += (".czi", ".nd2", ".lif", ".vsi", ".ndpi", ".scn", ".mrxs", ".vrt", ".img", ".mgz")
# Folders that a message lists.
SHOWN_FOLDERS = 5
# One folder or file of labels, or a folder for each class.
LabelPlace = Path | dict[str, Path]
T = TypeVar("T")


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
    if spec.channels is not None and not are_endings(spec.channels):
        for place in spec.channels.values():
            if not (path / place).is_dir():
                raise MissingFile(path, f"a folder {place}/ in it, as `channels` says", f"no {place}/")
        images = path / next(iter(spec.channels.values()))
    if not images.is_dir():
        expected = f"a folder {images.name}/ in it, or a YAML file whose `images` names another"
        raise MissingFile(path, expected, f"no {images.name}/{beside(path)}")
    if isinstance(spec.labels, dict):
        return images, {name: existing(path, part) for name, part in spec.labels.items()}
    if spec.labels is not None:
        return images, existing(path, spec.labels)
    labels = [path / name for name in LABEL_FOLDERS if (path / name).is_dir()]
    if not labels:
        expected = "a folder masks/ or labels/ in it, or a YAML file whose `labels` names another"
        raise MissingFile(path, expected, f"no masks/ or labels/{beside(path)}")
    if len(labels) > 1:
        raise DataError(path, "either masks/ or labels/", "both")
    return images, labels[0]


def beside(path: Path) -> str:
    """Returns the first folders of a folder in words, such as ` beside annotations, images`; nothing without any."""
    folders = [part.name for part in sorted(path.iterdir()) if part.is_dir() and not is_hidden(part)]
    return f" beside {', '.join(folders[:SHOWN_FOLDERS])}" if folders else ""


def left_out(spec: DataSpec) -> list[str]:
    """Returns what lies among the images and labels of a data set and is not read, one line each.

    Folders with images are, and files of formats of images that are not read.
    """
    images, labels = find_folders(spec)
    used = {place.resolve() for place in (images, *(labels.values() if isinstance(labels, dict) else [labels]))}
    if spec.channels is not None and not are_endings(spec.channels):
        used |= {(Path(spec.path) / place).resolve() for place in spec.channels.values()}
    found = []
    for place in sorted(used):
        if not place.is_dir():
            continue
        # Where there are folders alone they are what is read: a file for each object in that of each image.
        inner = inner_folders(place) if any(map(is_image, place.iterdir())) else []
        found += unread(place, [folder for folder in inner if folder.resolve() not in used])
    return found


def unread(place: Path, inner: Iterable[Path]) -> list[str]:
    """Returns what lies in a folder of images and is not read, one line each: inner folders, files by their type."""
    types = Counter(file.suffix.lower() for file in place.iterdir() if file.suffix.lower() in UNREAD_SUFFIXES)
    lines = [f"{counted(number, 'file')} of type {suffix} in {place}" for suffix, number in types.items()]
    return [*(f"the images in the folder {folder}" for folder in inner), *lines]


def inner_folders(place: Path) -> list[Path]:
    """Returns the folders with images within a folder; those of DICOM slices are images themselves."""
    return [
        folder
        for folder in sorted(place.iterdir())
        if folder.is_dir() and not is_hidden(folder) and not holds_slices(folder)
        if any(file_suffix(file) in SUFFIXES and not is_hidden(file) for file in folder.iterdir())
    ]


def image_files(spec: DataSpec) -> dict[str, Path]:
    """Returns the images of a data set by name: those of its folder that are no labels.

    Raises:
        MissingFile: If there are none.
        DataError: If two files have the same name.
    """
    folder, labels = find_folders(spec)
    files = files_by_stem(folder)
    if (channels := with_channels(spec).channels) is not None:
        return cases_of(files, channels)
    suffix = spec.label_suffix
    if suffix is None or isinstance(labels, dict) or folder.resolve() != labels.resolve():
        return files
    images = {stem: file for stem, file in files.items() if not bare(stem).endswith(suffix)}
    if not images:
        raise MissingFile(folder, f"images, whose names do not end in {suffix}", "none")
    return images


def with_channels(spec: DataSpec) -> DataSpec:
    """Returns a specification with the channels that the names of its files show, if it names none itself.

    Raises:
        DataError: If a case lacks a channel.
        MissingFile: If there are no images, or a channel has a file that the first lacks.
    """
    if spec.channels is not None:
        if not are_endings(spec.channels):
            require_same_files(Path(spec.path), list(spec.channels.values()))
        return spec
    folder, labels = find_folders(spec)
    places = [place for place in (labels.values() if isinstance(labels, dict) else [labels]) if place.is_dir()]
    stems = {file_stem(file) for place in places for file in place.iterdir()}
    names = {stem.removesuffix(spec.label_suffix or "") for stem in stems}
    channels = found_channels(files_by_stem(folder), names)
    return spec if channels is None else replace(spec, channels=channels)


def require_same_files(root: Path, places: Sequence[str]) -> None:
    """Refuses a folder of a channel that has an image which that of the first lacks."""
    first = files_by_stem(root / places[0])
    for place in places[1:]:
        if others := sorted(files_by_stem(root / place).keys() ^ first.keys()):
            where = place if others[0] in first else places[0]
            raise MissingFile(root / where, f"a file {others[0]}, as for the other channels", "none")


def matched(images: Mapping[str, Path], labels: Mapping[str, T], suffix: str | None = None) -> dict[str, T]:
    """Returns labels by the names of the images that they belong to.

    Args:
        images: Files of the images by name.
        labels: Labels by their own names, where `.ome` at the end and the form of
            accents make no difference.
        suffix: What the names of labels have behind those of the images; labels without it are left out.

    Raises:
        DataError: If two labels belong to one image.
    """
    by_bare = {bare(name): name for name in images}
    found: dict[str, T] = {}
    for own, label in labels.items():
        stem = own
        if suffix is not None:
            if not bare(own).endswith(suffix):
                continue
            stem = bare(own).removesuffix(suffix)
        name = stem if stem in images else by_bare.get(bare(stem), stem)
        if name in found:
            raise DataError(images.get(name, name), "one label", f"{found[name]} and {label}")
        found[name] = label
    return found


def bare(stem: str) -> str:
    """Returns the name of a file without suffix, of `a.ome.tif` too, its accents in one form: file systems differ."""
    return unicodedata.normalize("NFC", stem[:-4] if stem.lower().endswith(".ome") else stem)


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
        is_dicom = DICOM_SUFFIXES[0] in suffixes and (holds_slices(file) or is_dicom_file(file))
        if is_hidden(file) or (file_suffix(file) not in suffixes and not is_dicom):
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
