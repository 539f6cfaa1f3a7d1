"""How the features of one level answer to one class: as a map, and at pixels on which nothing was fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..models import analysis
from .separation import LEAST_ELEMENTS, fit_direction, fit_sum, separation, values_at

# Share of an element's pixels from which on it belongs to a class; without any pixel it lies outside.
INSIDE = 0.5


@dataclass(frozen=True, eq=False)
class Sample:
    """Pixels at which answers to a class are measured.

    Attributes:
        pixels: Their places, `(pixels, axes)`.
        inside: Which are of the class, bool.
        half: Which pixels of the image lie in the first half, bool `(*size,)`.
        odds: The mask's own answers; `None` if the mask itself says where the class is.
    """

    pixels: np.ndarray
    inside: np.ndarray
    half: np.ndarray
    odds: np.ndarray | None

    @property
    def first(self) -> np.ndarray:
        """Which of the pixels lie in the first half, bool."""
        return self.half[tuple(self.pixels.T)]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the elements of a level lie.

    Attributes:
        place: Their place in the model's input.
        first: The pixel of the input at which the mask begins, per axis.
        shape: Number of the level's elements per axis.
    """

    place: analysis.Place
    first: Sequence[int]
    shape: tuple[int, ...]

    def at(self, answers: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Returns the answers of the level at pixels of the mask, linearly interpolated."""
        start = [float(round(start) - first) for start, first in zip(self.place.start, self.first, strict=True)]
        return values_at(answers, pixels, [float(stride) for stride in self.place.stride], start)


def shares_of(truth: np.ndarray, grid: Grid) -> np.ndarray:
    """Returns the share of a class in the pixels of each element of a level; NaN where the mask shows none of them.

    Args:
        truth: Where the class is, bool `(*size,)`.
        grid: Where the level's elements lie.
    """
    shares = truth.astype(np.float64)
    for axis, count in enumerate(grid.shape):
        stride, start = grid.place.stride[axis], round(grid.place.start[axis])
        edges = [math.floor(start + stride * index) - grid.first[axis] for index in range(count + 1)]
        sums = np.concatenate([np.zeros_like(shares.take([0], axis)), np.cumsum(shares, axis)], axis)
        low, high = (
            np.clip(ends, 0, shares.shape[axis]) for ends in (edges[:-1], np.maximum(edges[1:], np.add(edges[:-1], 1)))
        )
        lengths = (high - low).reshape([-1 if each == axis else 1 for each in range(shares.ndim)])
        with np.errstate(invalid="ignore"):
            shares = np.where(
                lengths > 0, (sums.take(high, axis) - sums.take(low, axis)) / np.maximum(lengths, 1), np.nan
            )
    return shares


def response_to(
    features: np.ndarray, grid: Grid, sample: Sample, inside: np.ndarray, known: np.ndarray
) -> tuple[tuple[float, float, float, float, float, int], np.ndarray]:
    """Returns how the features of a level answer to a class: the numbers of `Response`, and a map.

    Args:
        features: `(*size of the level, channels)`.
        grid: Where the level's elements lie.
        sample: The pixels at which answers are measured.
        inside: Where the class is, bool `(*size,)`.
        known: Where that is known.
    """
    weights = shares_of(known, grid)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(weights > 0, shares_of(inside & known, grid) / weights, np.nan).ravel()
        side = shares_of(sample.half, grid).ravel()
    of_class = shares >= INSIDE
    if of_class.sum() < LEAST_ELEMENTS:
        of_class = shares > 0  # no element of a coarse level is filled by a small object
    others = shares == 0
    count = int(of_class.sum())
    flat = standardised(features.reshape(-1, features.shape[-1]), ~np.isnan(shares))

    def answers_of(chosen: np.ndarray) -> np.ndarray | None:
        direction = fit_direction(flat, of_class & chosen, others & chosen)
        if direction is None:
            return None
        return standardised(flat @ direction, ~np.isnan(shares)).reshape(features.shape[:-1])

    whole = answers_of(np.ones(len(flat), bool))
    parts = [answers_of(side > 1 - 1e-9), answers_of(side < 1e-9)]
    if whole is None:
        return (math.nan, math.nan, math.nan, math.nan, math.nan, count), np.zeros(features.shape[:-1])
    fitted = separation(grid.at(whole, sample.pixels), sample.inside)
    if parts[0] is None or parts[1] is None:
        return (math.nan, math.nan, math.nan, fitted, math.nan, count), whole
    by_first, by_second = (grid.at(part, sample.pixels) for part in (parts[0], parts[1]))
    held_out = np.where(sample.first, by_second, by_first)
    together = math.nan
    if sample.odds is not None:
        pairs = [np.stack([sample.odds, answers], axis=-1) for answers in (by_first, by_second)]
        # Fitted on the second half by answers that the first gave, and measured on the first by those of the second.
        fits = [
            fit_sum(pairs[0][~sample.first], sample.inside[~sample.first]),
            fit_sum(pairs[1][sample.first], sample.inside[sample.first]),
        ]
        if fits[0] is not None and fits[1] is not None:
            together = mean_separation(pairs[1] @ fits[0], pairs[0] @ fits[1], sample)
    return (
        float(held_out[sample.inside].mean()),
        float(held_out[~sample.inside].mean()),
        mean_separation(by_second, by_first, sample),
        fitted,
        together,
        count,
    ), whole


def mean_separation(in_first: np.ndarray, in_second: np.ndarray, sample: Sample) -> float:
    """Returns the mean of the separations in two halves of an image, of that alone which has both kinds of pixels.

    Args:
        in_first: What the pixels answer that lie in the first half.
        in_second: What the others answer.
        sample: The pixels.
    """
    found = [
        separation(answers[chosen], sample.inside[chosen])
        for answers, chosen in ((in_first, sample.first), (in_second, ~sample.first))
    ]
    known = [value for value in found if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def standardised(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns values less their mean, over their standard deviation, both along the first axes of what is known."""
    seen = values[known]
    if not len(seen):
        return np.zeros_like(values)
    return (values - seen.mean(0)) / np.maximum(seen.std(0), 1e-9)
