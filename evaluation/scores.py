"""The scores of a run on labelled images, as `scores.json` holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from maskzoo.errors import RunError, readable
from maskzoo.files import write_json

from ..inference.run_files import checked_format, read_object

SCORES_FILE = "scores.json"
# The number that this version writes; files of earlier versions have none, and are read as number 0.
SCORES_FORMAT = 1

WHOLE_MAP = ("surface", "membrane", "objects")
MEASURES = ("overlap", "presence", "calibration", *WHOLE_MAP)

# Numbers of one measure by name, most of them one per class; also the unit that distances have.
MeasureScores = Mapping[str, float | str | Sequence[float]]


@dataclass(frozen=True)
class ImageScores:
    """The scores of one image, with a number per class.

    Attributes:
        name: Name of the image.
        dice, iou, precision, recall: Overlap.
        measures: The scores of every further measure, by its name in `MEASURES`.
    """

    name: str
    dice: list[float]
    iou: list[float]
    precision: list[float]
    recall: list[float]
    measures: Mapping[str, MeasureScores] = field(default_factory=dict)

    # The values are those of JSON.
    def as_mapping(self) -> dict[str, Any]:
        """Returns the scores as the file holds them: those of further measures under their names."""
        return flat(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> ImageScores:  # JSON values
        """Reads the scores of one image."""
        return cls(**split_measures(values, cls))


@dataclass(frozen=True)
class Scores:
    """The scores of a run, with a number per class; without the background of a multiclass task.

    Attributes:
        classes: Names of the classes.
        dice, iou, precision, recall: Overlap over the pixels of all images.
        mean_dice, mean_iou, mean_precision, mean_recall: Means over images.
        competition_dice: Mean of Dice over images and classes.
        images: The scores of each image.
        measures: The scores of every further measure, by its name in `MEASURES`: see docs/metrics.md.
        chosen: Which epoch is scored, why, and on how many pixels it was chosen: see docs/training.md. Empty where no
            training wrote it.
        format: Number of the file's format.
    """

    classes: list[str] = field(default_factory=list)
    dice: list[float] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    precision: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)
    mean_dice: list[float] = field(default_factory=list)
    mean_iou: list[float] = field(default_factory=list)
    mean_precision: list[float] = field(default_factory=list)
    mean_recall: list[float] = field(default_factory=list)
    competition_dice: float = math.nan
    images: list[ImageScores] = field(default_factory=list)
    measures: Mapping[str, MeasureScores] = field(default_factory=dict)
    chosen: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    format: int = field(default=SCORES_FORMAT, compare=False)

    # The values are those of JSON.
    def as_mapping(self) -> dict[str, Any]:
        """Returns the content of the file; distances may be infinite, which JSON has no number for: see `write`."""
        values = flat(self) | {"images": [image.as_mapping() for image in self.images], "format": SCORES_FORMAT}
        return values if self.chosen else {name: value for name, value in values.items() if name != "chosen"}

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], path: object = SCORES_FILE) -> Scores:  # JSON values
        """Reads the content of a `scores.json`.

        Args:
            values: The JSON object; entries that are not known are left out, and those of older versions may be fewer.
            path: The file, for messages.

        Raises:
            RunError: It was written by a newer version.
        """
        known = split_measures(values, cls)
        known["format"] = checked_format(values, SCORES_FORMAT, path)
        known["images"] = [ImageScores.from_mapping(image) for image in known.get("images", ())]
        return cls(**known)

    def write(self, path: Path) -> None:
        """Writes the file; what is infinite or undefined becomes `null`."""
        write_json(path, finite(self.as_mapping()))


def read_scores(path: Path) -> Scores:
    """Reads a `scores.json`.

    Raises:
        MissingFile: There is none.
        RunError: It is damaged, or was written by a newer version.
    """
    with readable(path, "the scores of a run", RunError):
        return Scores.from_mapping(read_object(path), path)


def flat(scores: Scores | ImageScores) -> dict[str, Any]:  # JSON values
    """The fields of scores by name, those of further measures among them."""
    values = {entry.name: getattr(scores, entry.name) for entry in fields(scores) if entry.name != "measures"}
    return values | dict(scores.measures)


# JSON values in, and fields of whatever types they have out.
def split_measures(values: Mapping[str, Any], kind: type[Scores] | type[ImageScores]) -> dict[str, Any]:
    """The fields of scores from what `flat` returned."""
    known = {entry.name: values[entry.name] for entry in fields(kind) if entry.name in values}
    return known | {"measures": {name: values[name] for name in MEASURES if name in values}}


# JSON values in, JSON values out.
def finite(value: Any) -> Any:
    """The same with `None` for infinity and NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
