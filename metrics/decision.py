"""From logits to probabilities and labels, in numpy."""

import numpy as np


def probabilities(logits, task):
    """Returns the probabilities `(..., classes)` of logits: sigmoid, or softmax in a multiclass task."""
    logits = np.asarray(logits, np.float32)
    if task == "multiclass":
        raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return raised / raised.sum(axis=-1, keepdims=True)
    # Of the two exponentials the one that cannot overflow.
    decayed = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1, decayed) / (1 + decayed)


def predicted_labels(logits, task, thresholds=0.5):
    """Decides each pixel's labels.

    Args:
        logits: `(..., classes)`.
        task: `"binary"`, `"multilabel"` or `"multiclass"`.
        thresholds: Probability from which a class is present, one or one per class; not used in a multiclass task.

    Returns:
        Class ids `(...)` uint8 of a multiclass task; otherwise `(..., classes)` uint8 in {0, 1}.
    """
    if task == "multiclass":
        return np.argmax(logits, axis=-1).astype(np.uint8)
    thresholds = np.clip(np.asarray(thresholds, np.float64), 1e-7, 1 - 1e-7)
    # Compared as logits: cheaper than a sigmoid of every pixel.
    return (logits >= np.log(thresholds / (1 - thresholds))).astype(np.uint8)
