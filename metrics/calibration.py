"""Whether probabilities mean what they say."""

import numpy as np


def calibration_counts(truth, probabilities, task="binary", ignore_index=None, bins=15):
    """Sorts pixels into bins of equal width by their probability.

    Args:
        truth: binary and multilabel: 0 and 1, the shape of `probabilities`; multiclass: class numbers, without its last
            axis.
        probabilities: `(..., classes)`. binary and multilabel: each is held against how often the class is there;
            multiclass: the largest one is held against how often it is right.
        task: `binary`, `multilabel` or `multiclass`.
        ignore_index: Value in `truth` of pixels that do not count.
        bins: Number of bins between 0 and 1; a probability on the border of two belongs to the lower.

    Returns:
        float64 `(bins, 3)`: number of pixels, sum of their probabilities, number of events. Counts of images add up.

    Raises:
        ValueError: when the shapes do not fit or a number is not a probability.
    """
    truth, probabilities = np.asarray(truth), np.asarray(probabilities, float)
    expected = probabilities.shape[:-1] if task == "multiclass" else probabilities.shape
    if truth.shape != expected:
        raise ValueError(f"truth: expected shape {expected} for {task} probabilities; received {truth.shape}")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities: expected numbers from 0 to 1; received others")
    if task == "multiclass":
        confidence, event = probabilities.max(-1), probabilities.argmax(-1) == truth
    else:
        confidence, event = probabilities, truth == 1
    if ignore_index is not None:
        confidence, event = confidence[truth != ignore_index], event[truth != ignore_index]
    confidence, event = confidence.ravel(), event.ravel()
    index = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    columns = (np.bincount(index, weights, minlength=bins) for weights in (None, confidence, event))
    return np.stack([column.astype(float) for column in columns], axis=1)


def expected_calibration_error(counts):
    """Returns the mean distance between probability and frequency over bins, weighted by pixels; 0 without pixels.

    Args:
        counts: `(bins, 3)` of `calibration_counts`.

    Source: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015;
    Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 5.
    """
    number, confidence, events = np.asarray(counts, float).T
    return float(np.abs(confidence - events).sum() / number.sum()) if number.sum() else 0.0
