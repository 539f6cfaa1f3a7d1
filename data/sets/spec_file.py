"""Reading the specification of a data set from a folder or a YAML file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from maskzoo import files
from maskzoo.errors import DataError, MissingFile, OptionError
from maskzoo.names import one_of

from ..images.image_files import holds_slices, parts_of_file
from ..images.scale import STORED
from .channels import are_endings
from .folders import find_folders, image_files, spatial_dims_of_file
from .specification import SYNTHETIC, DataSpec

YAML_SUFFIXES = (".yaml", ".yml")
# Keys that name folders, in that of the file unless it says another.
FOLDERS = ("images", "labels", "channels")
# What is said of joined sets together; everything else each set says itself.
JOINED_KEYS = ("normalization", "stain", "rescale", "folds", "fold", "repeat")


def check_path(path: str | os.PathLike[str]) -> None:
    """Refuses a data set that does not exist, without reading it.

    Raises:
        MissingFile: If there is neither a folder nor a YAML file.
        DataError: If it is another kind of file.
    """
    path = Path(path)
    if str(path) == SYNTHETIC:
        return
    if not path.exists():
        raise MissingFile(path, "a folder with images/ and masks/, a YAML file, or the word synthetic", "nothing there")
    if not path.is_dir() and path.suffix not in YAML_SUFFIXES:
        raise DataError(path, "a folder with images/ and masks/, or a .yaml file", "a file of another kind")


def read_spec(
    path: str | os.PathLike[str],
    changes: Mapping[str, Any] | None = None,  # values of the fields of `DataSpec`, which checks them
) -> DataSpec:
    """Reads the specification of a data set.

    Args:
        path: `synthetic`, a folder, or a YAML file with the fields of `DataSpec` as keys.
        changes: Fields of `DataSpec` that win over those of the file.

    Raises:
        MissingFile: If the path does not exist.
        OptionError: If a key or value is unknown.
        DataError: If the folder is not a data set.
    """
    check_path(path)
    path = Path(path)
    keys: dict[str, Any] = {"path": str(path)}
    if path.suffix in YAML_SUFFIXES and path.is_file():
        keys = keys_of_file(path)
    spec = DataSpec(**keys | dict(changes or {}))
    if spec.sets is not None:
        check_joined_keys(changes or {})
        for part in spec.sets:
            if Path(part).is_file() and "sets" in read_yaml(Path(part)):
                raise DataError(path, "sets that are data sets", f"{part}, which has sets of its own")
            read_spec(part)
    elif spec.path != SYNTHETIC:
        find_folders(spec)
    return spec


def resumed_spec(
    spec: DataSpec,
    path: str | os.PathLike[str],
    trained: Mapping[str, Any],  # JSON values
) -> DataSpec:
    """Returns the specification of a run that is resumed, with volumes as the version that began it read them.

    Args:
        spec: What `read_spec` returned.
        path: What it was read from.
        trained: The specification in the `data.json` of the run.
    """
    # Versions that said nothing of it read volumes as they are stored.
    is_told = "orientation" in trained or says_orientation(path)
    return spec if is_told else replace(spec, orientation=STORED)


def says_orientation(path: str | os.PathLike[str]) -> bool:
    """Says whether the specification of a data set says where the axes of volumes lead."""
    path = Path(path)
    return path.suffix in YAML_SUFFIXES and path.is_file() and "orientation" in read_yaml(path)


def read_part(joined: DataSpec, place: str) -> DataSpec:
    """Reads the specification of one of the sets that another joins, whose volumes may be read as they are stored."""
    spec = read_spec(place)
    is_stored = joined.orientation == STORED and not says_orientation(place)
    return replace(spec, orientation=STORED) if is_stored else spec


def check_joined_keys(
    changes: Mapping[str, Any],  # values of the fields of `DataSpec`, which checks them
) -> None:
    """Refuses options that joined sets would not heed.

    Raises:
        OptionError: If there is one.
    """
    for name, value in changes.items():
        if name == "validation" and value != 0:
            raise OptionError(name, "0, or no fraction, with `sets`, each of which says its own", value)
        if name not in (*JOINED_KEYS, "validation"):
            raise OptionError(name, "none with `sets`, each of which says its own", value)


def prefixes(places: Sequence[str]) -> list[str]:
    """Returns what the names of each set begin with: its own name, behind that of its folder if others have it too."""
    paths = [Path(place) for place in places]
    stems = [path.stem for path in paths]
    return [path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}-{path.stem}" for path in paths]


def keys_of_file(path: Path) -> dict[str, Any]:  # values that `DataSpec` has checked
    """Returns the fields of `DataSpec` that a YAML file sets, with the paths in it as seen from the working folder."""
    keys = read_yaml(path)
    sets = keys.get("sets")
    if isinstance(sets, dict):
        if others := sorted(keys.keys() - {"sets", *JOINED_KEYS}):
            raise DataError(path, f"`sets` with no other keys than {', '.join(JOINED_KEYS)}", others[0])
        keys["sets"] = {str(path.parent / name): weight for name, weight in sets.items()}
        if len(keys["sets"]) < len(sets):
            raise DataError(path, "different sets", ", ".join(map(str, sets)))
    if sets is None and "path" not in keys and any(keys.get(name) is not None for name in FOLDERS):
        keys["path"] = "."  # whoever names folders does not ask for synthetic images
    if sets is not None:
        keys["path"] = str(path)
    elif str(keys.get("path", SYNTHETIC)) != SYNTHETIC:
        keys["path"] = str(path.parent / str(keys["path"]))
        check_path(keys["path"])
        if not Path(keys["path"]).is_dir():
            raise DataError(path, "`path` to be a folder", keys["path"])
    if keys.get("folds") is not None:
        keys["folds"] = str(path.parent / str(keys["folds"]))
    try:
        DataSpec(**keys)
    except OptionError as error:
        raise OptionError(f"{path}: {error.name}", error.expected, error.received) from None
    return keys


def read_yaml(path: Path) -> dict[str, Any]:  # values that `DataSpec` checks
    """Reads the keys of a specification file and refuses those that are unknown."""
    keys = files.read_yaml(path)
    known = [field.name for field in fields(DataSpec)]
    if not isinstance(keys, dict):
        raise DataError(path, f"a mapping with keys such as {', '.join(known)}", f"{keys!r:.60}")
    for key in keys:
        if key not in known:
            raise OptionError(f"{path}: unknown key", one_of(key, known), key)
    return keys


def files_of(path: str | os.PathLike[str], *, with_folds: bool = True) -> list[Path]:
    """Returns the files and folders of a data set: images, labels, what lies beside them, and what describes them.

    Args:
        path: What `read_spec` takes.
        with_folds: Also the file of its folds.

    Raises:
        MissingFile: If the path does not exist.
        OptionError: If a key or value is unknown.
        DataError: If the folder is not a data set.
    """
    spec = read_spec(path)
    found = [] if str(path) == SYNTHETIC else [Path(path)]
    return found + files_of_spec(spec, with_folds=with_folds)


def files_of_images(path: str | os.PathLike[str]) -> list[Path]:
    """Returns the files of a data set, or those of a folder that has images alone, in itself or in `images/`."""
    try:
        return files_of(path)
    except MissingFile:
        places = [place for place in (Path(path), Path(path) / "images") if place.is_dir()]
        return [Path(path), *(file for place in places for file in place.iterdir())]


def files_of_spec(spec: DataSpec, *, with_folds: bool = True) -> list[Path]:
    """Returns the files and folders that the specification of a data set names: see `files_of`."""
    if spec.sets is not None:
        return [file for part in spec.sets for file in files_of(part, with_folds=with_folds)]
    if spec.path == SYNTHETIC:
        return []
    images, labels = find_folders(spec)
    places = [images, *(labels.values() if isinstance(labels, dict) else [labels])]
    if spec.channels is not None and not are_endings(spec.channels):
        places += [Path(spec.path) / place for place in spec.channels.values()]
    entries = [entry for place in places if place.is_dir() for entry in place.iterdir()]
    files = [part for entry in entries for part in (parts_of_file(entry) if holds_slices(entry) else [entry])]
    files += [file for entry in entries if entry.is_dir() and not holds_slices(entry) for file in entry.iterdir()]
    return [Path(spec.path), *places, *files, *([Path(spec.folds)] if spec.folds and with_folds else [])]


def spatial_dims_of(spec: DataSpec) -> int | None:
    """Returns the number of spatial axes that a data set's file format implies; `None` if it leaves that open."""
    if spec.path == SYNTHETIC:
        return None
    if spec.sets is not None:
        found = {spatial_dims_of(read_spec(part)) for part in spec.sets}
    else:
        found = {spatial_dims_of_file(file) for file in image_files(spec).values()}
    return found.pop() if len(found) == 1 else None
