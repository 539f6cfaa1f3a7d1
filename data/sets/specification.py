"""The data set specification: where images and labels are and what they mean, from a folder or a small YAML file."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..augmentation.stain import METHODS as STAINS
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
from ..labels.scheme import TASKS
from .folds import SPLITS
from .normalization import NORMALIZATIONS, unknown

SYNTHETIC = "synthetic"
LABEL_FOLDERS = ("masks", "labels")
POLYGON_SUFFIXES = (".geojson", ".json")
RLE_OPTIONS = ("relative", "one_based", "column_major")


@dataclass(frozen=True)
class DataSpec:
    """Describes a labelled data set; a YAML file has these fields as its keys.

    Args:
        path: `synthetic`, or a folder with `images/` and `masks/` or `labels/`, whose files have the same names; in a
            YAML file relative to it. With `sets`, that file.
        task: `binary`, `multilabel` or `multiclass`; read off the labels by default: see `labels.find_scheme`.
        classes: Class names: a list, or a mapping from name to label value or values: see `labels.find_scheme`.
        ignore: Label values of pixels that do not count.
        normalization: `dataset`, `image`, `percentile` or `none`: see `statistics.Normalizer`.
        stain: `macenko`, `reinhard` or `vahadane`: images of stained tissue are brought to one appearance before.
        validation: Share of the images that is held out, between 0 and 1.
        split: `random`, or `block`: the last of the sorted names, for sections or frames that resemble each other.
        images: Folder of the images within `path`; `images` by default.
        labels: Folder of the label images within `path`, or a run-length `.csv`, or a `.geojson` or a folder of those,
            or a mapping from class name to the folder of its masks; `masks` or `labels` by default.
        rle: Dialect of a run-length CSV: options of `decode_rle`.
        class_property: Property of GeoJSON features that says their class; `classes` then lists those.
        group: Regular expression that finds in a name what belongs together, such as the patient; never split.
        folds: JSON file of `folds.write_folds`; then the images of one fold are held out.
        fold: Number of that fold.
        repeat: Which of the distributions in that file, 0 the first.
        level: Level of the images to read, 0 the finest: see `open_source`. Labels are made to fit.
        resolution: Size of a pixel to read at: see `open_source`. Labels are made to fit.
        instances: Label images hold a number per object: every value above 0 is the class, and `Case.read_instances`
            tells the objects apart.
        sets: Mapping from data sets (folders or YAML files, in a YAML file relative to it) to weights: their cases are
            joined, and each set is seen in training in proportion to its weight. Says all but
            `normalization` and `stain` itself.

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
    images: str | None = None
    labels: str | dict[str, str] | None = None
    rle: dict[str, bool] | None = None
    class_property: str | None = None
    group: str | None = None
    folds: str | None = None
    fold: int = 0
    repeat: int = 0
    stain: str | None = None
    level: int | None = None
    resolution: float | None = None
    instances: bool = False
    sets: dict[str, float] | None = None

    def __post_init__(self):
        choices = {"normalization": NORMALIZATIONS, "split": SPLITS, "task": (*TASKS, None), "stain": (*STAINS, None)}
        for name, known in choices.items():
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
        for name in self.rle or ():
            if name not in RLE_OPTIONS:
                raise ValueError(unknown("rle", name, RLE_OPTIONS))
        if self.level is not None and (type(self.level) is not int or self.level < 0):
            raise ValueError(f"level: expected a whole number from 0 on; received {self.level}")
        if self.resolution is not None and not (is_number(self.resolution) and self.resolution > 0):
            raise ValueError(f"resolution: expected the size of a pixel, above 0; received {self.resolution}")
        if self.level is not None and self.resolution is not None:
            raise ValueError("level: expected either level or resolution; received both")
        if self.instances and (self.task not in (None, "binary") or self.ignore or isinstance(self.classes, dict)):
            raise ValueError(
                "instances: expected a binary task without `ignore` and label values of classes; received others"
            )
        if self.sets is not None and (
            not isinstance(self.sets, dict) or not self.sets or not all(map(is_weight, self.sets.values()))
        ):
            raise ValueError(f"sets: expected a mapping from data sets to weights above 0; received {self.sets}")


def is_number(value):
    """Says whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_weight(value):
    """Says whether a value is a finite number above 0."""
    return is_number(value) and value > 0


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
        if isinstance(keys.get("sets"), dict):
            if others := sorted(keys.keys() - {"sets", "normalization", "stain"}):
                raise ValueError(
                    f"{path}: expected `sets` with no other key than normalization or stain; received {others[0]}"
                )
            sets = {str(path.parent / name): weight for name, weight in keys["sets"].items()}
            if len(sets) < len(keys["sets"]):
                raise ValueError(f"{path}: expected different sets; received {', '.join(map(str, keys['sets']))}")
            keys["sets"] = sets
            keys["path"] = path.name
        if keys.get("sets") is None and str(keys.get("path", SYNTHETIC)) != SYNTHETIC:
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
    if "folds" in keys:
        keys["folds"] = str(path.parent / keys["folds"])
    if keys.get("sets") is not None:
        keys["path"] = str(path)
    spec = DataSpec(**{**keys, **options})
    if spec.sets is not None:
        for part in spec.sets:
            if Path(part).is_file() and "sets" in read_yaml(Path(part)):
                raise ValueError(
                    f"{path}: expected sets that are data sets; received {part}, which has sets of its own"
                )
            read_spec(part)
    elif spec.path != SYNTHETIC:
        find_folders(spec)
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


def find_folders(spec):
    """Returns the folder of the images and the folder or file of the labels, or a folder for each class.

    Raises:
        FileNotFoundError: Where one of them is missing.
        ValueError: Where it is not clear which it is.
    """
    path = Path(spec.path)
    if spec.sets is not None:
        raise ValueError(f"{path}: expected one data set; received {len(spec.sets)}, to be looked at one by one")
    images = path / (spec.images or "images")
    if not images.is_dir():
        raise FileNotFoundError(f"{path}: expected a folder {images.name}/ in it; received no {images.name}/")
    if spec.labels is not None:
        labels = spec.labels if isinstance(spec.labels, dict) else {"": spec.labels}
        found = {name: path / part for name, part in labels.items()}
        if missing := [place for place in found.values() if not place.exists()]:
            raise FileNotFoundError(f"labels: expected a file or folder in {path}; received {missing[0].name}")
        return images, found if isinstance(spec.labels, dict) else found[""]
    labels = [path / name for name in LABEL_FOLDERS if (path / name).is_dir()]
    if not labels:
        raise FileNotFoundError(f"{path}: expected a folder masks/ or labels/ in it; received no masks/ or labels/")
    if len(labels) > 1:
        raise ValueError(f"{path}: expected either masks/ or labels/; received both")
    return images, labels[0]


def files_by_stem(folder, suffixes=SUFFIXES):
    """Returns the files of a folder that can be read, by their names without suffix.

    Raises:
        FileNotFoundError: Where there are none.
        ValueError: Where two files have the same name.
    """
    files = {}
    for file in sorted(folder.iterdir()):
        slices = SCAN_SUFFIXES[-1] in suffixes and holds_slices(file)
        if file.name.startswith(".") or (file_suffix(file) not in suffixes and not slices):
            continue
        if other := files.get(file_stem(file)):
            raise ValueError(f"{file}: expected one file of this name; received {other.name} as well")
        files[file_stem(file)] = file
    if not files:
        raise FileNotFoundError(f"{folder}: expected files of type {' '.join(suffixes)}; received a folder without any")
    return files


def spatial_dims_of(spec) -> int | None:
    """Returns the number of spatial axes that a data set's file format implies; None where it leaves that open."""
    if spec.path == SYNTHETIC:
        return None
    if spec.sets is not None:
        spatial_dims = {spatial_dims_of(read_spec(part)) for part in spec.sets}
    else:
        spatial_dims = {spatial_dims_of_file(file) for file in files_by_stem(find_folders(spec)[0]).values()}
    return spatial_dims.pop() if len(spatial_dims) == 1 else None


def spatial_dims_of_file(file) -> int | None:
    """Returns the number of spatial axes that a file's format implies; None where it leaves that open."""
    suffix = file_suffix(file)
    if suffix in (".tif", ".tiff"):
        # A stack of pages is a volume, an image is none.
        return None if needs_tifffile(file) else 2
    if holds_slices(file) or suffix in VOLUME_SUFFIXES:
        return 3
    return 2 if suffix in RASTER_SUFFIXES else None


def absolute(spec):
    """Returns a specification that means the same from any working folder."""
    folds = spec.folds and str(Path(spec.folds).resolve())
    sets = spec.sets and {part if part == SYNTHETIC else str(Path(part).resolve()): w for part, w in spec.sets.items()}
    path = spec.path if spec.path == SYNTHETIC else str(Path(spec.path).resolve())
    return replace(spec, folds=folds, sets=sets, path=path)
