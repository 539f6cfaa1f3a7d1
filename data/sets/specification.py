"""The specification of a data set: where its images and labels are, what they mean and which are held out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any, TypedDict

from maskzoo.errors import OptionError
from maskzoo.names import one_of

from ..augmentation.stain import METHODS as STAINS
from ..images.pixel_meaning import ALPHAS, check_bands
from ..images.scale import AXES, STORED, Scale
from ..labels.colors import IGNORED_COLOR, ColorTable
from ..labels.run_lengths import Dialect
from ..labels.scheme import TASKS
from ..labels.values import UNKNOWN_CLASS
from .normalization import NORMALIZATIONS

SYNTHETIC = "synthetic"
SPLITS = ("random", "block")
MISSING = ("ignore", "empty")
MEDIAN = "median"
DIALECT = tuple(field.name for field in fields_of(Dialect))


class ImageReading(TypedDict):
    """What a data set says about the reading of its images, as keywords of `open_source`."""

    level: int | None
    resolution: float | None
    bands: Sequence[int] | None
    band_names: Sequence[str] | None
    alpha: bool | str


@dataclass(frozen=True)
class DataSpec:
    """Describes a labelled data set; a YAML file has these fields as its keys.

    Args:
        path: `synthetic`, or a folder with `images/` and `masks/` or `labels/`, whose files have the same names; in a
            YAML file relative to it. With `sets`, that file.
        task: `binary`, `multilabel` or `multiclass`; by default read off the labels: see `labels.finding.find_scheme`.
        classes: Class names: a list, or a mapping from name to label value or values: see `find_scheme`.
        ignore: Label values of pixels that do not count; with `colors` their colours.
        normalization: `dataset`, `image`, `percentile` or `none`: see `normalization.Normalizer`.
        validation: Fraction of the images that is held out, below 1; 0: all are for training.
        split: `random`, or `block`: the last of the sorted names, for sections or frames that resemble each other.
        images: Folder of the images within `path`; `images` by default.
        channels: Mapping from the names of channels, in their order, to their folders within `path`, or to what the
            names of their files end in, such as `_0000`. By default nnU-Net's `case_0000`, `case_0001` beside a label
            `case` are channels of one image.
        labels: Folder of the label images within `path`, or a run-length `.csv`, or a `.geojson` or a folder of those,
            or a mapping from class name to the folder of its masks; `masks` or `labels` by default.
        rle: Dialect of a run-length CSV: options of `decode_rle`.
        label_suffix: What the names of label files have behind those of the images, such as `_mask`.
        missing: What a class whose file is missing for an image is, where `labels` has a folder per class: `ignore`:
            not known, left out of loss and metrics; `empty`: nowhere in it. With a run-length CSV, `empty`: images
            without a row show nothing. By default what is missing is refused.
        colors: Mapping from class name to the colour of its pixels in colour-coded masks or in palettes, such as
            `[255, 0, 0]`, `"#ff0000"`, or several of these. Black is the background unless it is listed.
        class_property: Property of GeoJSON features that says their class; `classes` then lists those.
        crs: Coordinate system of GeoJSON labels, such as `EPSG:32633`; `image` for that of the image, `pixels` for
            pixels of its full resolution. By default what the file says, see `labels.polygons.PolygonSource`.
        width: How wide lines in GeoJSON labels are, in units of the image's coordinate system, without one in pixels of
            its full resolution; a property `width` of a line wins. By default lines are left out.
        group: Regular expression that finds in a name what belongs together, such as the patient; never split.
        folds: JSON file of `folds.write_folds`; then the images of one fold are held out.
        fold: Number of that fold.
        repeat: Which of the distributions in that file, 0 the first.
        stain: `macenko`, `reinhard` or `vahadane`: images of stained tissue are brought to one appearance first.
        level: Level of the images to read, 0 the finest: see `open_source`. Labels are made to fit.
        resolution: Size of a pixel to read at: see `open_source`. Labels are made to fit. A number per axis means the
            same as `spacing`.
        spacing: Size of a voxel that images are interpolated to, a number for each axis or one for all, or `median`:
            that of the images. Along an axis more than three times as thick as another no slice is made up between two.
        orientation: Where the axes of volumes lead, as far as their files say it: `RAS` (right, front, up) or other
            letters, such as `LPS`; or `stored`: as they lie.
        resize: Pixels per axis that every image is resized to, such as `512` or `384x576`, or a fraction such as `0.5`.
        bands: Numbers of the bands to read of images, counted from 1, in the order of the channels; all by default.
        band_names: Names of the channels, as files describe their bands: those that have them in another order are read
            in this one. By default the order of most files.
        alpha: `data` or `mask`: what a band is that is tagged as transparency: see `open_source`.
        rescale: Bring images of different types to one range: 8 and 16 bits to 16, or to 0 to 1 where some are of
            floating point values. Without, sets that mix them are refused.
        instances: Label images hold a number per object: every value above 0 is the class, and `Case.read_instances`
            tells the objects apart.
        sets: Mapping from data sets (folders or YAML files, in a YAML file relative to it) to weights. Their cases are
            joined, and each set is seen in training in proportion to its weight. Each set says everything itself but
            `normalization` and `stain`.

    Raises:
        OptionError: If a value is none of these.
    """

    path: str = SYNTHETIC
    task: str | None = None
    classes: dict[str, int | list[int]] | list[str] | None = None
    ignore: Sequence[int | str | Sequence[int]] = ()
    normalization: str = "dataset"
    validation: float = 0.2
    split: str = "random"
    images: str | None = None
    channels: dict[str, str] | None = None
    labels: str | dict[str, str] | None = None
    rle: dict[str, bool] | None = None
    label_suffix: str | None = None
    missing: str | None = None
    colors: dict[str, Any] | None = None  # colours of each class, which `ColorTable.of` checks
    class_property: str | None = None
    crs: str | None = None
    width: float | None = None
    group: str | None = None
    folds: str | None = None
    fold: int = 0
    repeat: int = 0
    stain: str | None = None
    level: int | None = None
    resolution: float | None = None
    bands: Sequence[int] | None = None
    band_names: Sequence[str] | None = None
    alpha: str | None = None
    rescale: bool = False
    spacing: float | Sequence[float] | str | None = None
    orientation: str = "RAS"
    resize: int | float | Sequence[int] | None = None
    instances: bool = False
    sets: dict[str, float] | None = None

    def __post_init__(self) -> None:
        for name, value, known, optional in (
            ("normalization", self.normalization, NORMALIZATIONS, False),
            ("split", self.split, SPLITS, False),
            ("task", self.task, TASKS, True),
            ("stain", self.stain, STAINS, True),
            ("alpha", self.alpha, ALPHAS, True),
            ("missing", self.missing, MISSING, True),
        ):
            if value not in known and not (optional and value is None):
                raise OptionError(name, one_of(str(value), known), value)
        if not is_number(self.validation) or not 0 <= self.validation < 1:
            raise OptionError("validation", "a fraction from 0 to below 1", self.validation)
        if not isinstance(self.classes, dict | list | tuple | None):
            raise OptionError("classes", "a list of names or a mapping to label values", self.classes)
        names = list(self.classes or ["any"])
        if any(not isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise OptionError("classes", "names, each once", ", ".join(map(str, names)))
        if not isinstance(self.ignore, list | tuple) or (
            self.colors is None and any(not isinstance(value, int) for value in self.ignore)
        ):
            raise OptionError("ignore", "a list of label values", self.ignore)
        places = list(self.labels.values()) if isinstance(self.labels, dict) else [self.labels or ""]
        if not places or self.labels == [] or not all(isinstance(place, str) for place in places):
            raise OptionError("labels", "a file or folder, or a mapping from class names to folders", self.labels)
        for name, value, expected in (
            ("images", self.images, "a folder"),
            ("group", self.group, "a regular expression, such as ^(patient[0-9]+)"),
        ):
            if not isinstance(value, str | None):
                raise OptionError(name, expected, value)
        rle = {} if self.rle is None else self.rle
        if not isinstance(rle, dict) or not all(isinstance(value, bool | None) for value in rle.values()):
            raise OptionError("rle", f"a mapping from {', '.join(DIALECT)} to true or false", self.rle)
        for name in rle:
            if name not in DIALECT:
                raise OptionError("rle", one_of(str(name), DIALECT), name)
        if self.bands is not None:
            check_bands(self.bands)
        if self.band_names is not None:
            self._check_band_names(self.band_names)
        if not isinstance(self.rescale, bool):
            raise OptionError("rescale", "true or false", self.rescale)
        self._check_scale()
        if self.channels is not None and (
            not isinstance(self.channels, dict)
            or not self.channels
            or not all(isinstance(place, str) and place for place in self.channels.values())
        ):
            raise OptionError("channels", "a mapping from names to folders or ends of file names", self.channels)
        is_table = isinstance(self.labels, str) and self.labels.lower().endswith(".csv")
        if self.missing and not isinstance(self.labels, dict) and not (is_table and self.missing == "empty"):
            expected = "`labels` with a folder for each class, or `missing: empty` with a run-length CSV"
            raise OptionError("missing", expected, "others")
        if self.colors is not None:
            self._check_colors(self.colors)
        if self.width is not None and not is_weight(self.width):
            raise OptionError("width", "how wide lines are, above 0", self.width)
        if self.label_suffix is not None and (not isinstance(self.label_suffix, str) or not self.label_suffix):
            raise OptionError("label_suffix", "the end of the names of label files, such as _mask", self.label_suffix)
        if self.crs is not None and not isinstance(self.crs, str):
            raise OptionError("crs", "a coordinate system such as EPSG:32633, `image` or `pixels`", self.crs)
        if self.instances and (self.task not in (None, "binary") or self.ignore or isinstance(self.classes, dict)):
            raise OptionError(
                "instances", "a binary task without `ignore` and without label values of classes", "others"
            )
        if self.sets is not None and (
            not isinstance(self.sets, dict) or not self.sets or not all(map(is_weight, self.sets.values()))
        ):
            raise OptionError("sets", "a mapping from data sets to weights above 0", self.sets)

    def _check_scale(self) -> None:
        if isinstance(self.resolution, list | tuple):
            if self.spacing is not None:
                raise OptionError("spacing", "either `spacing` or `resolution`", "both")
            object.__setattr__(self, "spacing", self.resolution)
            object.__setattr__(self, "resolution", None)
        object.__setattr__(self, "resize", size_from_text(self.resize))
        if isinstance(self.spacing, str) and self.spacing != MEDIAN:
            try:
                object.__setattr__(self, "spacing", float(self.spacing))
            except ValueError:
                raise OptionError("spacing", "a size above 0, one for each axis, or median", self.spacing) from None
        if self.level is not None and (type(self.level) is not int or self.level < 0):
            raise OptionError("level", "a whole number, at least 0", self.level)
        if self.resolution is not None and not is_weight(self.resolution):
            raise OptionError("resolution", "the size of a pixel, above 0", self.resolution)
        sizes = self.spacing if isinstance(self.spacing, list | tuple) else [self.spacing]
        if self.spacing not in (None, MEDIAN) and not (sizes and all(map(is_weight, sizes))):
            raise OptionError("spacing", "a size above 0, one for each axis, or median", self.spacing)
        if self.orientation != STORED and sorted(map(axis_of, str(self.orientation))) != [0, 1, 2]:
            raise OptionError(
                "orientation", "letters such as RAS, one of R L, A P and S I each, or stored", self.orientation
            )
        given = [name for name in ("level", "resolution", "spacing") if getattr(self, name) is not None]
        if len(given) > 1:
            raise OptionError(given[0], f"either `{given[0]}` or `{given[1]}`", "both")
        if self.resize is not None and self.spacing is not None:
            raise OptionError("resize", "either `resize` or `spacing`", "both")

    def _check_band_names(self, names: object) -> None:  # what a YAML file says
        texts = [name for name in names if isinstance(name, str) and name] if isinstance(names, list | tuple) else []
        if not texts or not isinstance(names, list | tuple) or len(set(texts)) < len(names):
            raise OptionError("band_names", "names of bands, each once, such as [B2, B3, B4, B8]", names)
        if self.bands is not None:
            raise OptionError("band_names", "either `bands` or `band_names`", "both")

    @property
    def scale(self) -> Scale:
        """At which scale images are read; the median spacing must be settled first."""
        spacing = None if isinstance(self.spacing, str) else self.spacing
        return Scale(self.level, self.resolution, spacing, self.orientation, self.resize)

    def _check_colors(self, colors: Any) -> None:  # what a YAML file says
        if not isinstance(colors, dict) or not colors or any(not isinstance(name, str) for name in colors):
            raise OptionError("colors", "a mapping from class names to colours such as [255, 0, 0]", colors)
        if self.instances or isinstance(self.labels, dict) or isinstance(self.classes, dict):
            others = "`labels` in one folder, without `instances` and without label values of classes"
            raise OptionError("colors", others, "others")
        if self.classes is not None and set(self.classes) != set(colors):
            raise OptionError("classes", f"the names of `colors`, {', '.join(colors)}", ", ".join(self.classes))
        ColorTable.of(colors, self.ignored_colors)

    @property
    def color_table(self) -> ColorTable | None:
        """What the colours of labels stand for, in the order of `classes`; `None` if they say nothing."""
        if self.colors is None:
            return None
        return ColorTable.of({name: self.colors[name] for name in self.classes or self.colors}, self.ignored_colors)

    @property
    def ignored_colors(self) -> list[str | Sequence[int]]:
        """Colours of pixels that do not count."""
        return [value for value in self.ignore if not isinstance(value, int)]

    @property
    def ignored_values(self) -> tuple[int, ...]:
        """Label values, as they are read, of pixels that do not count."""
        values = [value for value in self.ignore if isinstance(value, int)]
        values += [IGNORED_COLOR] if self.ignored_colors else []
        return tuple([*values, UNKNOWN_CLASS] if self.missing == "ignore" else values)

    @property
    def reading(self) -> ImageReading:
        """How the images are read, as keywords of `open_source`."""
        return {
            "level": self.level,
            "resolution": self.resolution,
            "bands": self.bands,
            "band_names": self.band_names,
            "alpha": self.alpha or False,
        }

    @property
    def dialect(self) -> Dialect:
        """How the runs of a run-length CSV are written."""
        return Dialect(**(self.rle or {}))


def axis_of(letter: str) -> int:
    """Returns the axis of the body that a letter names a direction of; -1 for none."""
    return next((number for number, pair in enumerate(AXES) if letter in pair), -1)


def size_from_text(size: object) -> int | float | list[int] | None:
    """Returns a size to resize to, which may be given as text such as `384x576`.

    Raises:
        OptionError: If it is none.
    """
    given = size
    if isinstance(size, str):
        parts = size.lower().replace(" ", "").split("x")
        try:
            size = [int(part) for part in parts] if len(parts) > 1 else float(parts[0])
        except ValueError:
            size = -1
    if isinstance(size, list | tuple) and size and all(type(part) is int and part >= 1 for part in size):
        return list(size)
    if size is None:
        return None
    if is_weight(size) and isinstance(size, int | float) and (size < 1 or size == int(size)):
        return int(size) if size >= 1 else float(size)
    raise OptionError("resize", "pixels such as 512 or 384x576, or a fraction below 1", given)


def is_number(value: object) -> bool:
    """Says whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_weight(value: object) -> bool:
    """Says whether a value is a finite number above 0."""
    return isinstance(value, int | float) and is_number(value) and value > 0


def absolute(spec: DataSpec) -> DataSpec:
    """Returns a specification that means the same from any working folder."""

    def resolved(path: str) -> str:
        return path if path == SYNTHETIC else str(Path(path).resolve())

    return replace(
        spec,
        path=resolved(spec.path),
        folds=spec.folds and str(Path(spec.folds).resolve()),
        sets=spec.sets and {resolved(part): weight for part, weight in spec.sets.items()},
    )
