"""The data set specification: where images and labels are and what they mean, from a folder or a small YAML file."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .labels import TASKS
from .sources import RASTER_SUFFIXES, SUFFIXES, VOLUME_SUFFIXES, file_stem, file_suffix
from .statistics import NORMALIZATIONS, unknown

SYNTHETIC = "synthetic"
LABEL_FOLDERS = ("masks", "labels")
SPLITS = ("random", "block")


@dataclass(frozen=True)
class DataSpec:
    """Describes a labelled data set; a YAML file has these fields as its keys.

    Args:
        path: `synthetic`, or a folder with `images/` and `masks/` or `labels/`, whose files have the same names; in a
            YAML file relative to it.
        task: `binary`, `multilabel` or `multiclass`; read off the labels by default: see `labels.find_scheme`.
        classes: Class names: a list, or a mapping from name to label value or values: see `labels.find_scheme`.
        ignore: Label values of pixels that do not count.
        normalization: `dataset`, `image`, `percentile` or `none`: see `statistics.Normalizer`.
        validation: Share of the images that is held out, between 0 and 1.
        split: `random`, or `block`: the last of the sorted names, for sections or frames that resemble each other.

    Raises:
        ValueError: Where a value is none of these.
    """

    path: str = SYNTHETIC
    task: str | None = None
    classes: dict[str, Any] | list[str] | None = None
    ignore: list[int] | tuple[int, ...] = ()
    normalization: str = "dataset"
    validation: float = 0.2
    split: str = "random"

    def __post_init__(self):
        for name, known in (("normalization", NORMALIZATIONS), ("split", SPLITS), ("task", (*TASKS, None))):
            if getattr(self, name) not in known:
                raise ValueError(unknown(name, getattr(self, name), [k for k in known if k]))
        if not isinstance(self.validation, int | float) or not 0 < self.validation < 1:
            raise ValueError(f"validation: expected a share between 0 and 1; received {self.validation}")
        if not isinstance(self.classes, dict | list | tuple | None):
            raise ValueError(f"classes: expected a list of names or a mapping to label values; received {self.classes}")
        names = list(self.classes or ["any"])
        if any(not isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ValueError(f"classes: expected names, each once; received {self.classes}")
        if not isinstance(self.ignore, list | tuple) or any(not isinstance(value, int) for value in self.ignore):
            raise ValueError(f"ignore: expected a list of label values; received {self.ignore}")


def check_path(path):
    """Refuses a data set that is not there, without reading it.

    Raises:
        FileNotFoundError: Where there is neither a folder nor a YAML file.
        ValueError: Where it is another kind of file.
    """
    path = Path(path)
    if str(path) == SYNTHETIC:
        return
    if not path.exists():
        raise FileNotFoundError(
            f"data: expected `synthetic`, a folder with images/ and masks/, or a YAML file; received {path}, which is "
            f"not there"
        )
    if not path.is_dir() and path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"data: expected a folder with images/ and masks/, or a .yaml file; received the file {path}")


def read_spec(path, **options) -> DataSpec:
    """Reads a data set specification.

    Args:
        path: `synthetic`, a folder, or a YAML file with the fields of `DataSpec` as keys.
        **options: Fields of `DataSpec` that win over those of the file.

    Raises:
        FileNotFoundError: Where the path does not exist.
        ValueError: Where a key or value is unknown, or the folder is not a data set.
    """
    check_path(path)
    path = Path(path)
    keys = {}
    if path.suffix in (".yaml", ".yml") and path.is_file():
        keys = read_yaml(path)
        if str(keys.get("path", SYNTHETIC)) != SYNTHETIC:
            keys["path"] = str(path.parent / keys["path"])
            check_path(keys["path"])
            if not Path(keys["path"]).is_dir():
                raise ValueError(f"{path}: expected `path` to be a folder; received {keys['path']}")
        try:
            DataSpec(**keys)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    else:
        keys["path"] = str(path)
    spec = DataSpec(**{**keys, **options})
    if spec.path != SYNTHETIC:
        find_folders(spec.path)
    return spec


def read_yaml(path):
    """Reads the keys of a specification file and refuses those that are unknown."""
    import yaml

    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a YAML file; received {' '.join(str(error).split())}") from None
    known = [field.name for field in fields(DataSpec)]
    if not isinstance(keys, dict):
        raise ValueError(f"{path}: expected a mapping with keys such as {', '.join(known)}; received {keys!r:.60}")
    for key in keys:
        if key not in known:
            raise ValueError(unknown(f"{path}: unknown key", key, known))
    return keys


def find_folders(path):
    """Returns the folders of images and of labels.

    Raises:
        FileNotFoundError: Where one of them is missing.
    """
    path = Path(path)
    images = path / "images"
    labels = [path / name for name in LABEL_FOLDERS if (path / name).is_dir()]
    if not images.is_dir() or not labels:
        missing = "images/" if not images.is_dir() else "masks/ or labels/"
        raise FileNotFoundError(f"{path}: expected a folder with images/ and masks/ or labels/; received no {missing}")
    if len(labels) > 1:
        raise ValueError(f"{path}: expected either masks/ or labels/; received both")
    return images, labels[0]


def find_pairs(path):
    """Returns `(name, image path, label path)` of every labelled image of a folder, sorted by name.

    Raises:
        FileNotFoundError: Where there are no images, or one has no counterpart.
        ValueError: Where two files have the same stem.
    """
    images, labels = (files_by_stem(folder) for folder in find_folders(path))
    for stem in sorted(images.keys() ^ labels.keys()):
        have, want = (images, find_folders(path)[1]) if stem in images else (labels, Path(path) / "images")
        raise FileNotFoundError(f"{have[stem]}: expected a file of the same name in {want}; received none")
    return [(stem, images[stem], labels[stem]) for stem in sorted(images)]


def files_by_stem(folder):
    """Returns the readable files of a folder by their names without suffix."""
    files = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file_suffix(file) not in SUFFIXES:
            continue
        if other := files.get(file_stem(file)):
            raise ValueError(f"{file}: expected one file of this name; received {other.name} as well")
        files[file_stem(file)] = file
    if not files:
        raise FileNotFoundError(f"{folder}: expected files of type {' '.join(SUFFIXES)}; received a folder without any")
    return files


def rank_of(spec) -> int | None:
    """Returns the number of spatial axes that a data set's file format implies; None where it leaves that open."""
    if spec.path == SYNTHETIC:
        return None
    suffixes = {file_suffix(file) for file in files_by_stem(find_folders(spec.path)[0]).values()}
    ranks = {2 if suffix in RASTER_SUFFIXES else 3 if suffix in VOLUME_SUFFIXES else None for suffix in suffixes}
    return ranks.pop() if len(ranks) == 1 else None


def absolute(spec):
    """Returns a specification that means the same from any working folder."""
    return spec if spec.path == SYNTHETIC else replace(spec, path=str(Path(spec.path).resolve()))
