"""What `decide` searches, and how a choice is scored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from maskzoo.errors import OptionError
from maskzoo.names import one_of

from .. import metrics

METRICS = ("mean_dice", "dice", "mean_iou", "iou")
# Differences of scores below this are rounding.
TIE = 1e-12


@dataclass(frozen=True)
class SearchSpace:
    """What is searched, and how a choice is scored.

    Attributes:
        task: `binary`, `multilabel` or `multiclass`.
        class_names: Names of the classes.
        ignore_index: Label of pixels that do not count.
        metric: One of `METRICS`; `mean_` is the mean over images, the others pool the pixels of all images.
        shared: One threshold for all classes instead of one for each.
        groups: Regular expression whose match in an image's name is its group, which gets thresholds of its own.
        areas: Whether holes and minimum areas are searched too.

    Raises:
        OptionError: The metric is unknown, or thresholds of a multiclass task are asked for, which has none.
    """

    task: str
    class_names: Sequence[str]
    ignore_index: int | None = None
    metric: str = METRICS[0]
    shared: bool = False
    groups: str | None = None
    areas: bool = True

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise OptionError("metric", one_of(self.metric, METRICS), repr(self.metric))
        for name, value in (("shared", self.shared), ("groups", self.groups)):
            if value and self.task == "multiclass":
                raise OptionError(name, "a task with thresholds", "multiclass, which has none")

    @property
    def scored(self) -> range:
        """Numbers of the classes that are scored: without the background of a multiclass task."""
        return range(1 if self.task == "multiclass" else 0, len(self.class_names))

    def truth_of(self, labels: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns where a class is, and where the label counts, both bool `(*size)`.

        Args:
            labels: `(*size)` of a multiclass task, else `(*size, classes)`.
            number: The class.
        """
        if self.task != "multiclass":
            labels = labels[..., number]
        valid = np.ones(labels.shape, bool) if self.ignore_index is None else labels != self.ignore_index
        return (labels == (number if self.task == "multiclass" else 1)) & valid, valid

    def measure(self, counts: np.ndarray) -> np.ndarray:
        """Returns Dice or IoU of counts `(..., 3)`: tp, fp, fn; NaN where they are, since nothing is known."""
        of_counts = metrics.dice_from_counts if self.metric.endswith("dice") else metrics.iou_from_counts
        return np.where(np.isnan(counts).any(axis=-1), np.nan, of_counts(np.nan_to_num(counts)))

    def score(self, counts: np.ndarray) -> np.ndarray:
        """Returns the metric of the counts of several images, `(images, ..., 3)`, of those where they are known."""
        if not self.metric.startswith("mean_"):
            return self.measure(np.nansum(counts, axis=0))
        values = self.measure(counts)
        known = np.isfinite(values).sum(axis=0)
        # A class that is known in no image is as good as one that is in none.
        return np.where(known > 0, np.nansum(values, axis=0) / np.maximum(known, 1), 1.0)

    def knows(self, labels: Iterable[np.ndarray], number: int) -> bool:
        """Says whether any pixel of an image counts for a class.

        Args:
            labels: Strips of its labels; they are read until one counts.
            number: The class.
        """
        return any(self.truth_of(some, number)[1].any() for some in labels)
