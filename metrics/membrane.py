"""Scores of a segmentation whose segments are separated by membranes, as in electron microscopy."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from skimage.segmentation import watershed

from .objects import paired_labels


def segments_from_membrane(membrane: ArrayLike, thin: bool = True) -> np.ndarray:
    """Labels the regions that membranes enclose.

    Args:
        membrane: Mask, not 0 on membranes. Regions are connected along the axes.
        thin: Whether regions grow over the membranes until they meet, so that a membrane's thickness does not count.

    Returns:
        int32 labels from 1; 0 on membranes unless they are thinned. All 0 if everything is membrane.
    """
    mask = np.asarray(membrane).astype(bool)
    labels = np.empty(mask.shape, np.int32)
    if ndimage.label(~mask, output=labels) and thin:
        labels = watershed(ndimage.distance_transform_edt(mask), labels)
    return labels.astype(np.int32)


def segment_scores(truth: ArrayLike, prediction: ArrayLike) -> dict[str, float]:
    """Scores segments against the true ones, foreground-restricted: pixels where the truth is 0 do not count.

    Args:
        truth: Whole-number labels; 0 is membrane or unknown.
        prediction: Labels of the same shape; each element with label 0 is a segment of its own.

    Returns:
        A dict of numbers from 0 to 1, higher is better: `rand` and `information`; `rand_split` and
        `information_split`, which fall when segments are split; `rand_merge` and `information_merge`, which fall when
        they are merged. All are 1 if the truth has no foreground.

    Raises:
        OptionError: The shapes differ, or labels are not whole numbers from 0.

    Source: Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics",
    Frontiers in Neuroanatomy 2015, equations 1 to 6 with alpha 0.5.
    """
    truth, prediction = paired_labels(truth, prediction)
    prediction, truth = prediction[truth > 0], truth[truth > 0]
    total = truth.size
    if total == 0:
        keys = ("rand", "rand_split", "rand_merge", "information", "information_split", "information_merge")
        return dict.fromkeys(keys, 1.0)
    kept = prediction > 0
    singles = int(total - kept.sum())
    _, both = np.unique(np.stack([truth[kept], prediction[kept]]).astype(np.int64), axis=1, return_counts=True)
    _, predicted = np.unique(prediction[kept], return_counts=True)
    _, true = np.unique(truth, return_counts=True)

    def moments(counts: np.ndarray, singles: int) -> tuple[float, float]:
        fractions = counts / total
        squares = (fractions**2).sum() + singles / total**2
        entropy = -(fractions * np.log(fractions)).sum() + singles / total * np.log(total)
        return squares, entropy

    pairs, joint = moments(both, singles)
    guesses, guess_entropy = moments(predicted, singles)
    truths, true_entropy = moments(true, 0)
    mutual = true_entropy + guess_entropy - joint
    return {
        "rand": float(2 * pairs / (guesses + truths)),
        "rand_split": float(pairs / truths),
        "rand_merge": float(pairs / guesses),
        "information": _ratio(2 * mutual, guess_entropy + true_entropy),
        "information_split": _ratio(mutual, guess_entropy),
        "information_merge": _ratio(mutual, true_entropy),
    }


def _ratio(part: float, whole: float) -> float:
    # A single segment has no entropy: nothing to lose.
    return float(min(max(part / whole, 0), 1)) if whole > 1e-12 else 1.0
