"""The search for the weights of an ensemble."""

import math
from collections.abc import Sequence

import numpy as np

from .. import metrics
from .held_out import HeldOutImage, rows_of_array
from .search_space import TIE, SearchSpace
from .thresholds import best_thresholds, histograms, label_counts, threshold_counts

# Pixels of all images together on which weights are compared.
SAMPLED_PIXELS = 1 << 20
MOVES = (0.3, 0.1, 0.05, 0.02)

# Evenly spread pixels of an image: probabilities `(members, pixels, classes)` and labels `(pixels, ...)`.
Sample = tuple[np.ndarray, np.ndarray]


def search_weights(space: SearchSpace, members: Sequence[Sequence[HeldOutImage]]) -> list[float]:
    """Returns the weights whose mean of probabilities scores best, each at its own best threshold; they sum to 1.

    From the best of the single members and their plain mean, weight is moved to one member or taken from it, in ever
    smaller steps, as long as it helps. Large images are represented by evenly spread pixels.

    Args:
        space: What is searched.
        members: For every member the same images as it predicts them.
    """
    pixels = sum(math.prod(image.shape) for image in members[0])
    step = -(-pixels // SAMPLED_PIXELS)
    samples = [sample_pixels(space, images, step) for images in zip(*members, strict=True)]
    number = len(members)
    corners = list(np.eye(number))
    known: dict[tuple[float, ...], float] = {}

    def score(weights: np.ndarray) -> float:
        key = tuple(np.round(weights, 4).tolist())
        if key not in known:
            known[key] = weighted_score(space, samples, key)
        return known[key]

    best = max([np.full(number, 1 / number), *corners], key=score)
    for move in MOVES:
        better = True
        while better:
            better = False
            for index in range(number):
                for weights in neighbours(best, corners[index], move):
                    if score(weights) > score(best) + TIE:
                        best, better = weights, True
    rounded = np.round(best, 3)
    return (rounded / rounded.sum()).round(6).tolist()


def neighbours(weights: np.ndarray, corner: np.ndarray, move: float) -> list[np.ndarray]:
    """Weights with some more, and with some less, for the member whose weight is 1 in a corner."""
    own = weights @ corner
    less = weights * np.where(corner > 0, max(0.0, 1 - move / max(own, move)), 1)
    return [(1 - move) * weights + move * corner, less / less.sum() if less.sum() else weights]


def sample_pixels(space: SearchSpace, images: Sequence[HeldOutImage], step: int) -> Sample:
    """Every `step`-th pixel of an image, as each member predicts it."""
    probabilities, labels = [], []
    for first, last in images[0].strips(images[0].truth).borders:
        truth = images[0].truth(first, last)
        truth = truth.reshape(-1, *([] if space.task == "multiclass" else [truth.shape[-1]]))
        labels.append(truth[::step])
        parts = []
        for image in images:
            logits = image.logits(first, last)
            parts.append(metrics.probabilities(logits.reshape(-1, logits.shape[-1])[::step], space.task))
        probabilities.append(np.stack(parts))
    return np.concatenate(probabilities, axis=1), np.concatenate(labels)


def weighted_score(space: SearchSpace, samples: Sequence[Sample], weights: Sequence[float]) -> float:
    """The mean over classes of the metric of a weighted mean, at the best thresholds."""
    images = []
    for probabilities, labels in samples:
        mean = np.tensordot(np.asarray(weights, np.float32), probabilities, 1)
        logits = metrics.logits_from(mean, space.task)
        images.append(HeldOutImage("", (len(mean),), rows_of_array(labels), rows_of_array(logits)))
    if space.task == "multiclass":
        counts = np.stack([label_counts(space, image) for image in images])
        return float(space.score(counts[:, space.scored]).mean())
    curves = space.score(np.stack([threshold_counts(histograms(space, image)) for image in images]))
    return float(np.take_along_axis(curves, best_thresholds(space, curves)[:, None], 1).mean())
