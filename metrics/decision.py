"""From logits to probabilities and labels, in numpy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

# Keeps logits finite where a probability is 0 or 1.
SMALLEST_PROBABILITY = 1e-7


def probabilities(logits: ArrayLike, task: str) -> np.ndarray:
    """Returns the probabilities of logits `(..., classes)`: sigmoid, or softmax in a multiclass task."""
    logits = np.asarray(logits, np.float32)
    if task == "multiclass":
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return exponentials / exponentials.sum(axis=-1, keepdims=True)
    # The one of the two exponentials that cannot overflow.
    exponential = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, exponential) / (1 + exponential)


def predicted_labels(logits: np.ndarray, task: str, thresholds: float | Sequence[float] = 0.5) -> np.ndarray:
    """Decides the labels of each pixel.

    Args:
        logits: `(..., classes)`.
        task: `"binary"`, `"multilabel"` or `"multiclass"`.
        thresholds: Probability from which a class is present, one for all or one per class; a multiclass task
            has none.

    Returns:
        Class ids `(...)` uint8 of a multiclass task; otherwise `(..., classes)` uint8 in {0, 1}.
    """
    if task == "multiclass":
        return np.argmax(logits, axis=-1).astype(np.uint8)
    limits = np.clip(np.asarray(thresholds, np.float64), 1e-7, 1 - 1e-7)
    # Compared as logits: cheaper than a sigmoid of every pixel.
    return (logits >= np.log(limits / (1 - limits))).astype(np.uint8)


def logits_from(scores: np.ndarray, task: str) -> np.ndarray:
    """Returns logits `(..., classes)` that have these probabilities, which is the inverse of `probabilities`."""
    if task == "multiclass":
        return np.log(np.maximum(scores, SMALLEST_PROBABILITY))
    clipped = np.clip(scores, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.log(clipped) - np.log1p(-clipped)
