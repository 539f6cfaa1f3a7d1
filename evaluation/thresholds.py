"""The search for thresholds, and the counts of pixels that it needs.

A threshold's score follows from how many pixels of each class have each probability, so one pass over the predictions
scores all thresholds, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .. import data, metrics
from ..inference.run_files import ThresholdGroups
from ..postprocessing.cleaning import Cleaning, clean_labels
from .held_out import HeldOutImage
from .search_space import TIE, SearchSpace

# Thresholds are multiples of 1 / STEPS.
STEPS = 1024


@dataclass(frozen=True)
class ChosenThresholds:
    """The best thresholds for some images.

    Attributes:
        thresholds: For every class; for images of no known group where there are groups.
        groups: Thresholds for groups of images, if they were asked for.
        by_image: For every image a threshold per class.
        curves: For each group the score of each scored class at every threshold `k / STEPS`: `(classes, STEPS - 1)`.
        at_half: Score of each scored class at a threshold of 0.5.
        at_best: Score of each scored class at the chosen thresholds.
        left_out: Score of each scored class if every image has the thresholds that all other images would choose;
            `None` where a group has a single image, or there are no thresholds.
    """

    thresholds: tuple[float, ...]
    by_image: dict[str, tuple[float, ...]]
    at_half: np.ndarray
    at_best: np.ndarray
    left_out: np.ndarray | None = None
    groups: ThresholdGroups | None = None
    curves: dict[str, np.ndarray] = field(default_factory=dict)


def search_thresholds(space: SearchSpace, images: Sequence[HeldOutImage]) -> ChosenThresholds:
    """Finds the best thresholds of a binary or multilabel task; of a multiclass task only what it scores without."""
    names = [image.name for image in images]
    if space.task == "multiclass":
        half = (0.5,) * len(space.class_names)
        scores = space.score(np.stack([label_counts(space, image) for image in images])[:, space.scored])
        return ChosenThresholds(half, dict.fromkeys(names, half), scores, scores)
    counts = threshold_counts(np.stack([histograms(space, image) for image in images]))
    group_of = dict.fromkeys(names, "") | (data.groups_by_pattern(names, space.groups) if space.groups else {})
    curves, by_group, at_half, at_best, left_out = {}, {}, [], [], []
    for group in dict.fromkeys(group_of.values()):
        inside = counts[[group_of[name] == group for name in names]]
        curves[group] = space.score(inside)
        best = best_thresholds(space, curves[group])
        by_group[group] = tuple((index + 1) / STEPS for index in best.tolist())
        at_half.append(inside[:, :, STEPS // 2 - 1])
        at_best.append(np.take_along_axis(inside, best[None, :, None, None], 2)[:, :, 0])
        if len(inside) > 1:
            left_out.append(counts_at_choice_of_others(space, inside))
    thresholds, groups = by_group.get("", ()), None
    if space.groups:
        # An image of no known group has the thresholds of all images together.
        overall = best_thresholds(space, space.score(counts))
        thresholds = tuple((index + 1) / STEPS for index in overall.tolist())
        groups = ThresholdGroups(space.groups, by_group)
    return ChosenThresholds(
        thresholds,
        {name: by_group[group_of[name]] for name in names},
        space.score(np.concatenate(at_half)),
        space.score(np.concatenate(at_best)),
        space.score(np.concatenate(left_out)) if len(left_out) == len(by_group) else None,
        groups,
        curves,
    )


def counts_at_choice_of_others(space: SearchSpace, counts: np.ndarray) -> np.ndarray:
    """The counts of each image at the thresholds that all other images choose.

    Args:
        space: What is searched.
        counts: `(images, classes, STEPS - 1, 3)`.

    Returns:
        `(images, classes, 3)`.
    """
    if space.metric.startswith("mean_"):
        scores = space.measure(counts)
        known = np.isfinite(scores)
        number = known.sum(axis=0) - known
        others = (np.nansum(scores, axis=0) - np.nan_to_num(scores)) / np.maximum(number, 1)
    else:
        others = (space.measure(part) for part in np.nansum(counts, axis=0) - np.nan_to_num(counts))
    best = np.stack([best_thresholds(space, curves) for curves in others])
    return np.take_along_axis(counts, best[:, :, None, None], 2)[:, :, 0]


def best_thresholds(space: SearchSpace, curves: np.ndarray) -> np.ndarray:
    """Indices of the best thresholds of each class, from scores `(classes, STEPS - 1)`."""
    if space.shared:
        curves = np.broadcast_to(curves.mean(axis=0), curves.shape)
    away = np.abs(np.arange(1, STEPS) / STEPS - 0.5)
    # Of equal ones the nearest to 0.5.
    return np.array([min(np.flatnonzero(curve >= curve.max() - TIE), key=lambda k: away[k]) for curve in curves])


def histograms(space: SearchSpace, image: HeldOutImage) -> np.ndarray:
    """Pixels of an image by probability and truth: `(classes, STEPS, 2)`, NaN for a class of which none counts.

    Entry `k` counts the pixels that are present at threshold `k / STEPS` and no more at the next one, decided as
    `metrics.predicted_labels` does.
    """
    thresholds = np.arange(1, STEPS) / STEPS
    edges = np.log(thresholds / (1 - thresholds))
    found = np.zeros((len(space.class_names), STEPS, 2))
    for labels, logits in image.rows():
        for number in space.scored:
            truth, valid = space.truth_of(labels, number)
            steps = np.searchsorted(edges, logits[..., number][valid], side="right")
            found[number] += np.bincount(2 * steps + truth[valid], minlength=2 * STEPS).reshape(STEPS, 2)
    unknown = [number for number in space.scored if not found[number].any()]
    found[unknown] = np.nan
    return found


def threshold_counts(histogram: np.ndarray) -> np.ndarray:
    """Counts `(..., STEPS - 1, 3)` of tp, fp, fn at every threshold, from histograms `(..., STEPS, 2)`."""
    above = np.flip(np.flip(histogram, -2).cumsum(axis=-2), -2)
    fp, tp = above[..., 1:, 0], above[..., 1:, 1]
    return np.stack([tp, fp, above[..., :1, 1] - tp], axis=-1)


def label_counts(space: SearchSpace, image: HeldOutImage, cleaning: Cleaning | None = None) -> np.ndarray:
    """Counts `(classes, 3)` of tp, fp, fn of a multiclass task's likeliest classes, with post-processing if given.

    They are NaN for an image of which no pixel counts.
    """

    def read(first: int, last: int) -> np.ndarray:
        return metrics.predicted_labels(image.logits(first, last), space.task)

    labels_of = clean_labels(read, image.shape, cleaning, space.task) if cleaning else read
    counts = np.zeros((len(space.class_names), 3))
    for rows in image.strips(labels_of).borders:
        truth, labels = image.truth(*rows), labels_of(*rows)
        counts += metrics.confusion_counts(truth, labels, len(counts), space.ignore_index, task=space.task)
    if not counts.any():
        counts[:] = np.nan
    return counts
