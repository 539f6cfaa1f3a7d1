"""Overlap of masks from counts of pixels, which add up over windows and images."""

import numpy as np
from numpy.typing import ArrayLike

from maskzoo.errors import OptionError


def confusion_counts(
    truth: ArrayLike,
    prediction: ArrayLike,
    num_classes: int = 1,
    ignore_index: int | None = None,
    *,
    task: str | None = None,
) -> np.ndarray:
    """Counts true positives, false positives and false negatives per class.

    Args:
        truth: binary: 0 and 1, any shape; multiclass: class numbers, any shape; multilabel: 0 and 1,
            `(..., num_classes)`.
        prediction: The predicted mask, same shape as `truth`.
        num_classes: Number of classes; 1 for binary.
        ignore_index: Value in `truth` of pixels that do not count.
        task: `binary`, `multilabel` or `multiclass`. Default: binary for one class, else multiclass.

    Returns:
        int64 `(num_classes, 3)`: tp, fp, fn. Counts of several windows or images may be added.

    Raises:
        OptionError: The shapes differ, values are not classes, or the last axis has one entry per class and `task` does
            not say whether that is by chance.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    pairs: list[tuple[np.ndarray, np.ndarray]]
    if task is None and num_classes > 1 and truth.shape[-1:] == (num_classes,):
        raise OptionError("task", f"multilabel or multiclass for labels of shape {truth.shape}", "none")
    task = task or ("binary" if num_classes == 1 else "multiclass")
    if truth.shape != prediction.shape:
        raise OptionError("prediction", f"the shape of the truth, {truth.shape}", prediction.shape)
    if task not in ("binary", "multilabel", "multiclass"):
        raise OptionError("task", "binary, multilabel or multiclass", repr(task))
    if task == "multilabel" and truth.shape[-1:] != (num_classes,):
        raise OptionError("truth", f"a last axis of {num_classes} classes", f"shape {truth.shape}")
    valid = np.ones(truth.shape, bool) if ignore_index is None else truth != ignore_index
    highest = num_classes - 1 if task == "multiclass" else 1
    if task == "multilabel":
        columns = zip(*(np.moveaxis(a, -1, 0) for a in (truth, prediction, valid)), strict=True)
        pairs = [(t[v], p[v]) for t, p, v in columns]
    else:
        pairs = [(truth[valid], prediction[valid])]
    tables = [_table(t, p, highest) for t, p in pairs]
    if task == "multiclass":
        tp = np.diag(tables[0])
        return np.stack([tp, tables[0].sum(0) - tp, tables[0].sum(1) - tp], axis=1)
    return np.array([[table[1, 1], table[0, 1], table[1, 0]] for table in tables])


def _table(truth: np.ndarray, prediction: np.ndarray, highest: int) -> np.ndarray:
    """Returns the contingency table `(truth, prediction)` of class numbers 0..highest."""
    for name, values in (("truth", truth), ("prediction", prediction)):
        # Also catches fractions and NaN, which a cast would hide.
        if values.size and not (values.min() >= 0 and values.max() <= highest and (values == np.trunc(values)).all()):
            received = f"values from {values.min()} to {values.max()}"
            raise OptionError(name, f"whole numbers from 0 to {highest}", received)
    size = highest + 1
    codes = truth.astype(np.int64) * size + prediction.astype(np.int64)
    return np.bincount(codes, minlength=size * size).reshape(size, size)


def dice_from_counts(counts: ArrayLike) -> np.ndarray:
    """Returns `2 tp / (2 tp + fp + fn)` for counts `(..., 3)`; 1 where truth and prediction are both empty."""
    tp, fp, fn = _columns(counts)
    return _ratio(2 * tp, 2 * tp + fp + fn, fp + fn)


def iou_from_counts(counts: ArrayLike) -> np.ndarray:
    """Returns `tp / (tp + fp + fn)` for counts `(..., 3)`; 1 where truth and prediction are both empty."""
    tp, fp, fn = _columns(counts)
    return _ratio(tp, tp + fp + fn, fp + fn)


def precision_from_counts(counts: ArrayLike) -> np.ndarray:
    """Returns `tp / (tp + fp)` for counts `(..., 3)`; without a prediction 1 if the truth is empty too, else 0."""
    tp, fp, fn = _columns(counts)
    return _ratio(tp, tp + fp, fp + fn)


def recall_from_counts(counts: ArrayLike) -> np.ndarray:
    """Returns `tp / (tp + fn)` for counts `(..., 3)`; without truth 1 if the prediction is empty too, else 0."""
    tp, fp, fn = _columns(counts)
    return _ratio(tp, tp + fn, fp + fn)


def competition_dice(counts: ArrayLike) -> float:
    """Returns the mean Dice over images and classes; an empty prediction of an empty truth counts 1.

    Args:
        counts: `(images, classes, 3)`. Their sum over images gives the pooled Dice instead, by `dice_from_counts`.

    Source: the evaluation rule of Kaggle's "Understanding Clouds" and "SIIM-ACR Pneumothorax Segmentation", 2019.
    """
    return float(dice_from_counts(counts).mean())


def _columns(counts: ArrayLike) -> np.ndarray:
    return np.moveaxis(np.asarray(counts, float), -1, 0)


def _ratio(part: np.ndarray, whole: np.ndarray, errors: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.array(errors == 0, float), where=whole > 0)
