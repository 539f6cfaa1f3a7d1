"""How well numbers separate a class from the rest of an image: fitted on one half of it, measured on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.stats import rankdata

# Of fewer elements any features separate a class by chance.
LEAST_ELEMENTS = 8
# Blocks per axis that an image is divided into; the two halves consist of whole blocks, since neighbours are alike.
BLOCKS = 8
# Most pixels inside and outside a class that are ranked.
RANKED = 50_000


def halves(inside: np.ndarray, least: Sequence[int], seed: int = 0) -> np.ndarray:
    """Divides an image into two halves of whole blocks, each with about as much of a class.

    Args:
        inside: Where the class is, bool `(*size,)`.
        least: Least size of a block, per axis.
        seed: The same seed makes the same halves.

    Returns:
        Which pixels lie in the first half, bool `(*size,)`.
    """
    counts = [max(1, min(BLOCKS, length // step)) for length, step in zip(inside.shape, least, strict=True)]
    grids = np.indices(inside.shape, sparse=True)
    places = [grid * count // length for grid, count, length in zip(grids, counts, inside.shape, strict=True)]
    block = np.ravel_multi_index(np.broadcast_arrays(*places), counts)
    amounts = np.bincount(block.ravel(), inside.ravel(), np.prod(counts))
    rng = np.random.default_rng(seed)
    # Of every two blocks with neighbouring amounts of the class one goes to each half.
    order = np.lexsort([rng.random(len(amounts)), amounts])
    first = np.zeros(len(amounts), bool)
    for pair in np.split(order, range(2, len(order), 2)):
        first[rng.permutation(pair)[0]] = len(pair) == 2 or rng.random() < 0.5
    return first[block]


def fit_direction(features: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray | None:
    """Returns the direction in which features of a class differ from the rest: the difference of their means.

    Args:
        features: Standardised, `(elements, channels)`.
        inside: Which elements are of the class, bool.
        outside: Which are not.

    Returns:
        A vector of length 1; `None` if there are fewer than eight elements of either.
    """
    if min(inside.sum(), outside.sum()) < LEAST_ELEMENTS:
        return None
    direction = features[inside].mean(0) - features[outside].mean(0)
    return direction / max(float(np.linalg.norm(direction)), 1e-9)


def fit_sum(values: np.ndarray, inside: np.ndarray) -> np.ndarray | None:
    """Returns the weights of numbers whose sum separates a class best (Fisher's discriminant); `None` if it is absent.

    Args:
        values: `(pixels, numbers)`.
        inside: Which pixels are of the class, bool.
    """
    if min(inside.sum(), (~inside).sum()) < LEAST_ELEMENTS:
        return None
    spread = np.cov(values[inside].T) + np.cov(values[~inside].T)
    difference = values[inside].mean(0) - values[~inside].mean(0)
    return np.linalg.solve(spread + 1e-9 * np.eye(len(spread)), difference)


def separation(answers: np.ndarray, inside: np.ndarray) -> float:
    """Returns the probability that a pixel of a class answers more strongly than another one; NaN if either is missing.

    Args:
        answers: One number per pixel.
        inside: Which pixels are of the class, bool.
    """
    count = int(inside.sum())
    if min(count, len(inside) - count) < LEAST_ELEMENTS:
        return float("nan")
    return float((rankdata(answers)[inside].mean() - (count + 1) / 2) / (len(inside) - count))


def sampled_pixels(inside: np.ndarray, known: np.ndarray, seed: int = 0) -> np.ndarray:
    """Returns the places of at most fifty thousand pixels of a class and as many others, `(pixels, axes)`.

    Args:
        inside: Where the class is, bool `(*size,)`.
        known: Where it is known what a pixel is.
        seed: The same seed draws the same pixels.
    """
    rng = np.random.default_rng(seed)
    drawn: list[np.ndarray] = []
    for chosen in (inside & known, ~inside & known):
        indices = np.flatnonzero(chosen)
        drawn.append(indices if len(indices) <= RANKED else rng.choice(indices, RANKED, replace=False))
    return np.stack(np.unravel_index(np.concatenate(drawn), inside.shape), axis=-1)


def values_at(field: np.ndarray, pixels: np.ndarray, stride: Sequence[float], start: Sequence[float]) -> np.ndarray:
    """Returns the values of a coarser map at pixels, linearly interpolated.

    Args:
        field: The map, `(*size,)`.
        pixels: Places of pixels, `(pixels, axes)`.
        stride: Pixels per element, per axis.
        start: The pixel at which the first element begins, per axis.
    """
    coordinates = [(pixels[:, axis] + 0.5 - start[axis]) / stride[axis] - 0.5 for axis in range(field.ndim)]
    return map_coordinates(field, coordinates, order=1, mode="nearest")
