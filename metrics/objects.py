"""Scores of instances: objects are matched by the overlap of their labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from maskzoo.errors import OptionError

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def paired_labels(truth: ArrayLike, prediction: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns both as arrays.

    Raises:
        OptionError: The shapes differ, or labels are not whole numbers from 0.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape:
        raise OptionError("prediction", f"the shape of the truth, {truth.shape}", prediction.shape)
    for name, labels in (("truth", truth), ("prediction", prediction)):
        if labels.dtype.kind not in "biu" or labels.min(initial=0) < 0:
            received = f"{labels.dtype} from {labels.min(initial=0)}"
            raise OptionError(name, "whole numbers from 0 as labels", received)
    return truth, prediction


def match_objects(
    truth: ArrayLike, prediction: ArrayLike, ignore_index: int | None = None
) -> tuple[np.ndarray, int, int]:
    """Measures the overlap of each true object with each predicted one.

    Args:
        truth: Whole-number labels, 0 is background.
        prediction: Labels of the same shape.
        ignore_index: Label in `truth` of elements that do not count; they are background in both.

    Returns:
        `(ious, true_count, predicted_count)`: the intersection over union of every pair that overlaps, and how many
        objects there are.

    Raises:
        OptionError: The shapes differ, or labels are not whole numbers from 0.
    """
    truth, prediction = paired_labels(truth, prediction)
    if ignore_index is not None:
        prediction = np.where(truth == ignore_index, 0, prediction)
        truth = np.where(truth == ignore_index, 0, truth)
    true_ids, true_sizes = np.unique(truth[truth > 0], return_counts=True)
    predicted_ids, predicted_sizes = np.unique(prediction[prediction > 0], return_counts=True)
    overlap = (truth > 0) & (prediction > 0)
    rows, columns = np.searchsorted(true_ids, truth[overlap]), np.searchsorted(predicted_ids, prediction[overlap])
    pairs, intersections = np.unique(rows * max(predicted_ids.size, 1) + columns, return_counts=True)
    rows, columns = np.divmod(pairs, max(predicted_ids.size, 1))
    ious = intersections / (true_sizes[rows] + predicted_sizes[columns] - intersections)
    return ious, true_ids.size, predicted_ids.size


def object_counts(
    truth: ArrayLike,
    prediction: ArrayLike,
    thresholds: float | Sequence[float] = THRESHOLDS,
    ignore_index: int | None = None,
) -> np.ndarray:
    """Counts true positive, false positive and false negative objects at thresholds of intersection over union.

    Args:
        truth, prediction, ignore_index: As in `match_objects`.
        thresholds: From 0.5 to below 1; a pair matches above the threshold, so that a match is unique.

    Returns:
        int64 `(thresholds, 3)`: tp, fp, fn; counts of several images may be added. F1 is `dice_from_counts` of them,
        and the score of the 2018 Data Science Bowl the mean of `iou_from_counts`.

    Raises:
        OptionError: As in `match_objects`, or a threshold is outside its range.
    """
    limits = np.atleast_1d(np.asarray(thresholds, float))
    if not ((limits >= 0.5) & (limits < 1)).all():
        raise OptionError("thresholds", "numbers from 0.5 to below 1", limits.tolist())
    ious, true_count, predicted_count = match_objects(truth, prediction, ignore_index)
    tp = (ious[None] > limits[:, None]).sum(1)
    return np.stack([tp, predicted_count - tp, true_count - tp], axis=1)


def panoptic_counts(truth: ArrayLike, prediction: ArrayLike, ignore_index: int | None = None) -> np.ndarray:
    """Counts what panoptic quality is computed from; counts of several images may be added.

    Args:
        truth, prediction, ignore_index: As in `match_objects`. Call it once per class.

    Returns:
        float64 `[sum of IoU, tp, fp, fn]`; objects match above an intersection over union of 0.5.
    """
    ious, true_count, predicted_count = match_objects(truth, prediction, ignore_index)
    matched = ious[ious > 0.5]
    return np.array([matched.sum(), matched.size, predicted_count - matched.size, true_count - matched.size])


def panoptic_quality(counts: ArrayLike) -> dict[str, float]:
    """Computes panoptic quality from `panoptic_counts`.

    Returns:
        A dict: `panoptic_quality`, the product of `segmentation_quality` (mean IoU of the matched) and
        `recognition_quality` (F1 of the objects). All are 1 if there is no object on either side.

    Source: Kirillov, He, Girshick, Rother, Dollar, "Panoptic Segmentation", CVPR 2019, equations 1 and 2.
    """
    overlap, tp, fp, fn = np.asarray(counts, float)
    empty = float(fp + fn == 0)
    segmentation = overlap / tp if tp else empty
    recognition = tp / (tp + (fp + fn) / 2) if tp else empty
    return {
        "panoptic_quality": float(segmentation * recognition),
        "segmentation_quality": float(segmentation),
        "recognition_quality": float(recognition),
    }
