"""Whether probabilities mean what they say."""

import numpy as np
from numpy.typing import ArrayLike

from maskzoo.errors import OptionError


def calibration_counts(
    truth: ArrayLike,
    probabilities: ArrayLike,
    task: str = "binary",
    ignore_index: int | None = None,
    bins: int = 15,
) -> np.ndarray:
    """Sorts pixels into bins of equal width by their probability.

    Args:
        truth: binary and multilabel: 0 and 1, the shape of `probabilities`; multiclass: class numbers, without its last
            axis.
        probabilities: `(..., classes)`. binary and multilabel: each is compared with how often the class is there;
            multiclass: the largest one is compared with how often it is right.
        task: `binary`, `multilabel` or `multiclass`.
        ignore_index: Value in `truth` of pixels that do not count.
        bins: Number of bins between 0 and 1; a probability on the border of two belongs to the lower.

    Returns:
        float64 `(bins, 3)`: number of pixels, sum of their probabilities, number of events. Counts of images add up.

    Raises:
        OptionError: The shapes do not fit, or a number is not a probability.
    """
    truth, probabilities = np.asarray(truth), np.asarray(probabilities, float)
    expected = probabilities.shape[:-1] if task == "multiclass" else probabilities.shape
    if truth.shape != expected:
        raise OptionError("truth", f"shape {expected} for {task} probabilities", truth.shape)
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        outside = probabilities[~((probabilities >= 0) & (probabilities <= 1))]
        raise OptionError("probabilities", "numbers from 0 to 1", outside[0])
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


def expected_calibration_error(counts: ArrayLike) -> float:
    """Returns the mean distance between probability and frequency over bins, weighted by pixels; 0 without pixels.

    Args:
        counts: `(bins, 3)` of `calibration_counts`.

    Source: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015;
    Guo, Pleiss, Sun, Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, equation 5.
    """
    number, confidence, events = np.asarray(counts, float).T
    return float(np.abs(confidence - events).sum() / number.sum()) if number.sum() else 0.0
