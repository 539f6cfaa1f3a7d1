"""The descriptions in a run folder: what it was trained on (`data.json`), what was chosen (`decision.json`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from maskzoo.errors import MaskzooError, MissingFile, RunError, readable
from maskzoo.files import JSON, read_json, write_json

from .. import data
from .run_folders import DATA_FILE, DECISION_FILE, files_of_run, run_folder, split_epoch

# The number that this version writes; files of earlier versions have none, and are read as number 0.
DATA_FORMAT, DECISION_FORMAT = 1, 1


@dataclass(frozen=True)
class RunData:
    """What a run was trained on, as prediction and evaluation need to know it: the content of `data.json`.

    Attributes:
        task: `binary`, `multilabel` or `multiclass`.
        class_names: One name per output channel of the model.
        channels: Channels of every image.
        spatial_dims: Number of spatial axes; `rank` in the file.
        normalization: How images are normalised, for `data.Normalizer.from_dict`.
        patch: Window size that the model was trained on, one number per spatial axis.
        ignore_index: Label of pixels that do not count, `None` where all do.
        labels: What label values mean, for `data.LabelScheme.from_dict`.
        spec: The data set, as the fields of `data.DataSpec`.
        seed: Seed of the split.
        train: Names of the images that the run was trained on.
        validation: Names of the images that it held out.
        fingerprint: Hash of names and contents of the data set.
        images: What each of these images is, by its name: `data.ImageIdentity.as_mapping`. Empty in older runs.
        seen_before: Images that had a part in the run by way of other runs: those that made its labels, or whose
            weights it began with; as values of `images`.
        pixel_values: Types and range of the pixels of the training images, for `data.ValueRange.from_dict`; `None` of
            runs of versions that did not note them.
        regions: Those of the images above that are parts of one that was split, by name: `data.Region.as_mapping`.
        roi_classes: Options of `models.two_stage`, for a run of two networks; `fine` in the file.
        format: Number of the file's format.
    """

    task: str
    class_names: tuple[str, ...]
    channels: int
    spatial_dims: int
    # Values that JSON holds, read by the classes of `data` that are named above.
    normalization: Mapping[str, JSON]
    patch: tuple[int, ...]
    ignore_index: int | None = None
    labels: Mapping[str, JSON] = field(default_factory=dict)
    spec: Mapping[str, JSON] = field(default_factory=dict)
    seed: int = 0
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    fingerprint: str = ""
    images: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    seen_before: tuple[Mapping[str, JSON], ...] = ()
    pixel_values: Mapping[str, JSON] | None = None
    regions: Mapping[str, Mapping[str, JSON]] = field(default_factory=dict)
    roi_classes: Mapping[str, JSON] | None = None
    format: int = field(default=DATA_FORMAT, compare=False)

    @property
    def num_classes(self) -> int:
        """Number of output channels of the model, 1 for a binary task."""
        return len(self.class_names)

    @property
    def reading(self) -> dict[str, JSON]:
        """Which bands of an image are read and what transparency is, as keywords of `data.open_source`."""
        return {"bands": self.spec.get("bands"), "alpha": self.spec.get("alpha") or False}

    @property
    def scale(self) -> dict[str, JSON]:
        """The scale that images are read at, as fields of a specification."""
        return data.scale_as_trained(self.spec).as_dict()

    @classmethod
    def from_mapping(cls, values: Mapping[str, JSON], path: object = DATA_FILE) -> RunData:
        """Reads the content of a `data.json`.

        Args:
            values: The JSON object; entries that are not known are left out.
            path: The file, for messages.

        Raises:
            RunError: If it was written by a newer version, or something in it is missing.
        """
        values = {JSON_NAMES.get(name, name): value for name, value in values.items()}
        values["format"] = checked_format(values, DATA_FORMAT, path)
        known = {entry.name: values[entry.name] for entry in fields(cls) if entry.name in values}
        if isinstance(known.get("patch"), int):
            known["patch"] = (known["patch"],) * known.get("spatial_dims", 0)
        for name, (kind, words) in KINDS.items():
            if name in known and not isinstance(known[name], kind):
                raise RunError(path, f"{words} as {FILE_NAMES.get(name, name)}", repr(known[name]))
            if name in known and kind == (list, tuple):
                known[name] = tuple(known[name])
        if missing := [FILE_NAMES.get(name, name) for name in REQUIRED if name not in known]:
            raise RunError(path, "the description of a trained run", f"one without {', '.join(missing)}")
        return cls(**known)

    def as_mapping(self) -> dict[str, JSON]:
        """Returns the content of the file, with the names that `data.labelled_cases` takes too."""
        values = {entry.name: plain(getattr(self, entry.name)) for entry in fields(self)}
        values = {FILE_NAMES.get(name, name): value for name, value in values.items()} | {
            "num_classes": self.num_classes,
            "format": DATA_FORMAT,
        }
        optional = (self.roi_classes, self.images, self.seen_before, self.pixel_values, self.regions)
        for name, value in zip(("fine", "images", "seen_before", "pixel_values", "regions"), optional, strict=True):
            if not value:
                del values[name]
        return values

    def write(self, run: Path) -> None:
        """Writes the file into a run folder."""
        write_json(run / DATA_FILE, self.as_mapping())


# Names in the file, where they differ from those in Python; versions before this one read them.
JSON_NAMES = {"rank": "spatial_dims", "fine": "roi_classes"}
FILE_NAMES = {name: key for key, name in JSON_NAMES.items()}
# What the values in the file are, and how that is said.
KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("class_names", "patch", "train", "validation", "seen_before"), ((list, tuple), "a list")),
    **dict.fromkeys(("channels", "spatial_dims"), (int, "a whole number")),
    **dict.fromkeys(("normalization", "labels", "images", "regions"), (Mapping, "a JSON object")),
}
REQUIRED = ("task", "class_names", "channels", "spatial_dims", "normalization", "patch")


@dataclass(frozen=True)
class ThresholdGroups:
    """Thresholds of their own for groups of images.

    Attributes:
        pattern: Regular expression whose match in an image's name is its group.
        thresholds: For every group a threshold per class.
    """

    pattern: str
    thresholds: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Decision:
    """What was chosen for a run, or for an ensemble of runs: the content of `decision.json`.

    `None` stands for what nobody has chosen.

    Attributes:
        thresholds: Probability from which a class counts as present, one per class; empty where nothing was chosen.
        groups: Thresholds of their own for groups of images.
        holes: For each class, the number of pixels up to which holes are filled.
        minimum_area: For each class, the least number of pixels of an object.
        gate: For each class, the least probability of its image-level label.
        members: Names of the runs of an ensemble.
        weights: Their weights.
        models: What the models are that it was chosen for, one for each member: `model_identity.model_identity`.
        folds: For each member the number of the set of images that it held out.
        metric: What the choice was made by.
        score: Its value with all that was chosen.
        score_at_half: Its value at a threshold of 0.5.
        gain: The difference of the two.
        gain_of_thresholds_left_out: The gain on images that had no part in the choice of their thresholds.
        chosen_on: The number of `images`, the names of the `runs` and the `tta` that the choice was made with.
        ensemble: What was chosen for this run together with others.
        last: What was chosen for the model of this run's last epoch.
        format: Number of the file's format.
    """

    thresholds: tuple[float, ...] = ()
    groups: ThresholdGroups | None = None
    holes: tuple[float, ...] | None = None
    minimum_area: tuple[int, ...] | None = None
    gate: tuple[float, ...] | None = None
    members: tuple[str, ...] | None = None
    weights: tuple[float, ...] | None = None
    models: tuple[str | None, ...] | None = None
    folds: tuple[int, ...] | None = None
    metric: str | None = None
    score: float | None = None
    score_at_half: float | None = None
    gain: float | None = None
    gain_of_thresholds_left_out: float | None = None
    chosen_on: Mapping[str, JSON] | None = None
    ensemble: Decision | None = None
    last: Decision | None = None
    format: int = field(default=DECISION_FORMAT, compare=False)

    @classmethod
    def from_mapping(cls, values: Mapping[str, JSON], path: object = DECISION_FILE) -> Decision:
        """Reads the content of a `decision.json`.

        Args:
            values: The JSON object; entries that are not known are left out.
            path: The file, for messages.

        Raises:
            RunError: If it was written by a newer version.
        """
        known = {entry.name: values[entry.name] for entry in fields(cls) if entry.name in values}
        known["format"] = checked_format(values, DECISION_FORMAT, path)
        for name in ("thresholds", "holes", "minimum_area", "gate", "members", "weights", "models", "folds"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        if known.get("thresholds", ()) is None:
            del known["thresholds"]
        if known.get("groups") is not None:
            groups = known["groups"]
            thresholds = {group: tuple(values) for group, values in groups["thresholds"].items()}
            known["groups"] = ThresholdGroups(groups["pattern"], thresholds)
        for name in ("ensemble", "last"):
            if known.get(name) is not None:
                known[name] = cls.from_mapping(known[name], path)
        return cls(**known)

    def as_mapping(self) -> dict[str, JSON]:
        """Returns the content of the file: what was chosen, without what was not."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "format"}
        found = {name: plain(value) for name, value in values.items() if value is not None}
        if self.groups is not None:
            found["groups"] = {"pattern": self.groups.pattern, "thresholds": plain(self.groups.thresholds)}
        for name, part in (("ensemble", self.ensemble), ("last", self.last)):
            if part is not None:
                found[name] = {key: value for key, value in part.as_mapping().items() if key != "format"}
        return found | {"format": DECISION_FORMAT}

    @property
    def has_models(self) -> bool:
        """Whether it says for which model it was chosen, of the best or of the last epoch."""
        return self.models is not None or (self.last is not None and self.last.models is not None)

    def agreed_with(self, others: Sequence[Decision]) -> Decision:
        """Returns the part that was chosen alike in all of several decisions, each for one run."""
        different = {
            entry.name: entry.default
            for entry in fields(self)
            if any(getattr(other, entry.name) != getattr(self, entry.name) for other in others)
        }
        return replace(self, **different | {"ensemble": None, "models": None, "last": None})

    def write(self, run: Path) -> None:
        """Writes the file into a run folder."""
        write_json(run / DECISION_FILE, self.as_mapping())


def read_run_data(folder: Path) -> RunData:
    """Reads the `data.json` of a run folder, whichever of its models is meant.

    Raises:
        MissingFile: If there is none.
        RunError: If it is damaged, or was written by a newer version.
    """
    path = split_epoch(folder)[0] / DATA_FILE
    with readable(path, "the description of a trained run", RunError):
        return RunData.from_mapping(read_object(path), path)


def read_decision(folder: Path) -> Decision:
    """Reads the `decision.json` of a run folder; raises as `read_run_data`."""
    path = folder / DECISION_FILE
    with readable(path, "what was chosen for a run", RunError):
        return Decision.from_mapping(read_object(path), path)


def read_object(path: Path) -> dict[str, JSON]:
    """Reads a JSON object."""
    if not path.exists():
        raise MissingFile(path, "a file of a trained run", "none")
    values = read_json(path, RunError)
    if not isinstance(values, dict):
        raise RunError(path, "a JSON object", "a list" if isinstance(values, list) else values)
    return values


def checked_format(values: Mapping[str, JSON], newest: int, path: object) -> int:
    """Returns the format number of a file; refuses one that this version does not know."""
    number = values.get("format", 0)
    if not isinstance(number, int) or number > newest:
        newer = f"{number}, which a newer version of maskzoo wrote" if isinstance(number, int) else repr(number)
        raise RunError(path, f"format {newest} or older", newer)
    return number


def plain(value: JSON) -> JSON:
    """A value as JSON gives it back: lists for tuples, dictionaries for mappings."""
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    return value


def files_of_data(path: str | os.PathLike[str]) -> list[Path]:
    """Returns the images and labels that a run was trained on, as far as they are still there."""
    try:
        return data.files_of_spec(data.DataSpec(**read_run_data(run_folder(path)).spec))
    except (MaskzooError, OSError, TypeError):
        return []


def files_behind_runs(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Returns the files of runs, and those that they were trained on."""
    return [file for path in paths for file in (*files_of_run(path), *files_of_data(path))]


def run_spatial_dims(path: str | os.PathLike[str]) -> int:
    """The number of spatial axes of a run's images; answers without importing Keras."""
    return read_run_data(split_epoch(path)[0]).spatial_dims
