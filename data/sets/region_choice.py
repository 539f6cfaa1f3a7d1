"""Which boxes of an image are held out: so that every class is in both parts, and much is left to train on."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from maskzoo.errors import OptionError

from ..images.cropped_source import whole
from ..labels.scheme import LabelScheme
from ..sampling.class_index import presence_in_cells
from ..windows import Window
from .cases import make_cases
from .normalization import Normalizer
from .pairs import Pair
from .regions import THINNEST, Region, guard_band, region_names

logger = logging.getLogger(__name__)

# Cells per axis in which classes are looked for, by number of axes.
CELLS = {2: 64, 3: 24}
# Choices that are worse by no more than this are as good; which of them is taken, the seed says.
AS_GOOD = 0.02


def regions_for_validation(pair: Pair, scheme: LabelScheme, fraction: float, seed: int) -> dict[str, Region]:
    """Chooses the region of an image to hold out.

    Args:
        pair: The image and its label.
        scheme: What its label values mean.
        fraction: About how much of the image is held out.
        seed: Which of several choices that are as good is taken.

    Returns:
        The region by its name.

    Raises:
        OptionError: If the image is too small.
    """
    cells, cell = presence_of(pair, scheme)
    choices = [[box] for box in boxes_of_fraction(cells.shape[:-1], fraction)]
    return chosen(pair, cells, cell, choices, fraction, seed)


def regions_for_folds(pair: Pair, scheme: LabelScheme, folds: int, seed: int) -> dict[str, Region]:
    """Divides an image into regions, each of which is held out once: see `regions_for_validation`."""
    cells, cell = presence_of(pair, scheme)
    return chosen(pair, cells, cell, list(divisions(cells, folds)), 1 / folds, seed)


def presence_of(pair: Pair, scheme: LabelScheme) -> tuple[np.ndarray, tuple[int, ...]]:
    """Returns which classes the cells of a grid over an image show, `(*cells, classes)`, and the size of a cell."""
    shape = pair.image.shape
    cell = tuple(max(1, -(-length // CELLS[len(shape)])) for length in shape)
    (case,) = make_cases([pair], scheme, Normalizer("none", whole(pair.image).channels))
    return presence_in_cells([case], cell)[0], cell


def chosen(
    pair: Pair,
    cells: np.ndarray,
    cell: tuple[int, ...],
    choices: Sequence[Sequence[Window]],
    fraction: float,
    seed: int,
) -> dict[str, Region]:
    """Returns the best of several choices of boxes, by name.

    Best is what has the most classes in both parts, then what divides them most evenly and leaves most to train on.
    """
    shape = pair.image.shape
    fitting = [boxes for boxes in choices if all(is_thick(box, cell, shape) for box in boxes)]
    if not fitting:
        expected = "an image large enough to be split into regions"
        raise OptionError("data", expected, f"{pair.name} of {' x '.join(map(str, shape))} pixels")
    judged = [judge(boxes, cells, fraction) for boxes in fitting]
    most = max(classes for classes, _ in judged)
    least = min(cost for classes, cost in judged if classes == most)
    good = [n for n, (classes, cost) in enumerate(judged) if classes == most and cost <= least + AS_GOOD]
    boxes = fitting[int(np.random.default_rng([seed, *shape]).choice(good))]
    shown = int(cells.any(axis=tuple(range(len(shape)))).sum())
    if most < shown * len(boxes):
        logger.warning("regions    no regions of %s have every class both held out and left to train on", pair.name)
    found = {}
    for name, box in zip(region_names(pair.name, len(boxes)), boxes, strict=True):
        start = tuple(first * extent for first, extent in zip(box.offset, cell, strict=True))
        stop = (min(last * extent, length) for last, extent, length in zip(box.stop, cell, shape, strict=True))
        size = tuple(last - first for first, last in zip(start, stop, strict=True))
        found[name] = Region(pair.name, shape, start, size)
    return found


def is_thick(box: Window, cell: Sequence[int], shape: Sequence[int]) -> bool:
    """Says whether a box of cells is at least `THINNEST` pixels thick wherever it does not span the image."""
    return all(
        size * extent >= THINNEST or size * extent >= length
        for size, extent, length in zip(box.size, cell, shape, strict=True)
    )


def judge(boxes: Sequence[Window], cells: np.ndarray, fraction: float) -> tuple[int, float]:
    """Returns in how many cases a class is both in a box and in what is trained on, and what the choice costs.

    Args:
        boxes: Boxes of cells, each of which is held out once.
        cells: Which classes the cells show, `(*cells, classes)`.
        fraction: About how much of the image a box should be.
    """
    axes = tuple(range(cells.ndim - 1))
    total = np.maximum(cells.sum(axis=axes), 1)
    shown = cells.any(axis=axes)
    classes, costs = 0, []
    for box in boxes:
        trained = np.ones(cells.shape[:-1], bool)
        trained[box.padded(guard_band(box, trained.shape, None)).within(trained.shape).slices] = False
        inside = cells[box.slices].sum(axis=axes)
        left = cells[trained].any(axis=0)
        classes += int((left & (inside > 0)).sum())
        uneven = np.abs(inside / total - fraction)[shown].mean() if shown.any() else 0.0
        lost = 1 - trained.mean() - prod(box.size) / prod(trained.shape)
        costs.append(uneven + lost + (1.0 if not trained.any() else 0.0))
    return classes, float(np.mean(costs))


def boxes_of_fraction(shape: Sequence[int], fraction: float) -> list[Window]:
    """Returns boxes of about a fraction of an image: strips and blocks, at places spread over it."""
    boxes = []
    for number in range(1, len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), number):
            sides = [max(1, round(n * fraction ** (1 / number))) if a in axes else n for a, n in enumerate(shape)]
            if any(sides[axis] >= shape[axis] for axis in axes):
                continue
            places = [
                sorted({round((length - side) * place / 4) for place in range(5)})
                for side, length in zip(sides, shape, strict=True)
            ]
            boxes += [Window(start, tuple(sides)) for start in itertools.product(*places)]
    return boxes


def divisions(cells: np.ndarray, number: int) -> Iterator[list[Window]]:
    """Yields ways to divide an image into boxes: strips and blocks of equal size, or of equal shares of the classes."""
    shape = cells.shape[:-1]
    axes = tuple(range(len(shape)))
    equal = np.ones(shape)
    share = cells / np.maximum(cells.sum(axis=axes), 1)
    by_class = share.mean(axis=-1) * prod(shape) + 1
    for factors in factorizations(number, len(shape)):
        order = [axis for axis in axes if factors[axis] > 1]
        for steps in itertools.permutations(order):
            for mass in (equal, by_class):
                boxes = divided(Window((0,) * len(shape), shape), [(axis, factors[axis]) for axis in steps], mass)
                if len(boxes) == number:
                    yield boxes


def factorizations(number: int, axes: int) -> list[tuple[int, ...]]:
    """Returns the ways to write a number as a product of factors, one for each axis."""
    if axes == 1:
        return [(number,)]
    return [
        (factor, *rest)
        for factor in range(1, number + 1)
        if number % factor == 0
        for rest in factorizations(number // factor, axes - 1)
    ]


def divided(box: Window, steps: Sequence[tuple[int, int]], mass: np.ndarray) -> list[Window]:
    """Returns the parts of a box, divided along one axis after the other into parts of equal mass; some may be lost.

    Args:
        box: The box, inside the array.
        steps: Axes, each with the number of parts.
        mass: Array of the mass of each cell.
    """
    if not steps:
        return [box]
    (axis, parts), *rest = steps
    others = tuple(n for n in range(box.ndim) if n != axis)
    profile = mass[box.slices].sum(axis=others)
    ends = np.cumsum(profile)
    # The cut lies where the mass so far is nearest to the share.
    cuts = [0, *(int(np.abs(ends - ends[-1] * n / parts).argmin()) + 1 for n in range(1, parts)), box.size[axis]]
    found = []
    for start, stop in itertools.pairwise(cuts):
        if stop <= start:
            return []
        offset, size = [*box.offset], [*box.size]
        offset[axis], size[axis] = box.offset[axis] + start, stop - start
        found += divided(Window(tuple(offset), tuple(size)), rest, mass)
    return found
