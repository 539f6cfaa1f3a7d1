"""Whether an image has foreground at all, told from the pixels that a mask model finds in it."""

import numpy as np
from scipy.stats import rankdata


def presence_scores(truth_pixels, predicted_pixels, minimum=1):
    """Scores the presence of foreground per image, from sums of pixels.

    Args:
        truth_pixels: `(images,)`: number of foreground pixels of each truth; present above 0.
        predicted_pixels: `(images,)`: number of predicted foreground pixels, or the sum of their probabilities.
        minimum: Presence is predicted from this sum on.

    Returns:
        A dict: `auc` (area under the ROC curve of the sum as a score; NaN when all images are of one kind), `precision`
        and `recall` at `minimum`. Where nothing is predicted, or nothing present, they are 1 if that is right, else 0.

    Raises:
        ValueError: when the lengths differ, there is no image, or a sum is not finite.
    """
    truth, score = np.asarray(truth_pixels) > 0, np.asarray(predicted_pixels, float)
    if truth.shape != score.shape or truth.ndim != 1 or truth.size == 0 or not np.isfinite(score).all():
        raise ValueError(
            f"presence: expected a finite sum per image, twice; received shapes {truth.shape} and {score.shape}"
        )
    predicted = score >= minimum
    found, guessed, there = (truth & predicted).sum(), predicted.sum(), truth.sum()
    wrong = (truth != predicted).any()
    absent = truth.size - there
    # Mann-Whitney: the share of (present, absent) pairs in the right order, ties half.
    spatial_dims = rankdata(score)[truth].sum() - there * (there + 1) / 2
    return {
        "auc": float(spatial_dims / (there * absent)) if there and absent else float("nan"),
        "precision": float(found / guessed) if guessed else float(not wrong),
        "recall": float(found / there) if there else float(not wrong),
    }
