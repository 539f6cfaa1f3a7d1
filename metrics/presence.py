"""Scores of whether an image has foreground at all, judged by the number of its predicted pixels."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from maskzoo.errors import OptionError


def presence_scores(truth_pixels: ArrayLike, predicted_pixels: ArrayLike, minimum: float = 1) -> dict[str, float]:
    """Scores the presence of foreground per image, from sums of pixels.

    Args:
        truth_pixels: `(images,)`: number of foreground pixels of each truth; present above 0.
        predicted_pixels: `(images,)`: number of predicted foreground pixels, or the sum of their probabilities.
        minimum: Presence is predicted from this sum on.

    Returns:
        A dict: `auc` (area under the ROC curve of the sum as a score; NaN when all images are of one kind), `precision`
        and `recall` at `minimum`. Without a prediction, or without foreground, they are 1 if that is right, else 0.

    Raises:
        OptionError: The lengths differ, there is no image, or a sum is not finite.
    """
    truth, score = np.asarray(truth_pixels) > 0, np.asarray(predicted_pixels, float)
    if truth.shape != score.shape or truth.ndim != 1 or truth.size == 0 or not np.isfinite(score).all():
        shapes = f"shapes {truth.shape} and {score.shape}"
        raise OptionError("predicted_pixels", "a finite sum per image, as `truth_pixels` has", shapes)
    predicted = score >= minimum
    found, guessed, there = (truth & predicted).sum(), predicted.sum(), truth.sum()
    wrong = (truth != predicted).any()
    return {
        "auc": float(roc_auc_score(truth, score)) if 0 < there < truth.size else float("nan"),
        "precision": float(found / guessed) if guessed else float(not wrong),
        "recall": float(found / there) if there else float(not wrong),
    }
