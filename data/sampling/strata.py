"""Which windows of a grid stand for all of them: some of every image and of every class, with weights to match."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..windows import Window
from .class_index import presence_in_cells
from .places import index_cell

if TYPE_CHECKING:
    from ..sets.cases import Case

# Steps of this length, taken modulo 1, spread evenly however many there are.
GOLDEN = 0.6180339887498949


def chosen_windows(
    cases: Sequence[Case], windows: Sequence[Sequence[Window]], number: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses windows at random, so that every image, its places and the classes it shows take part.

    Each image gets windows in proportion to its size, and at least one as long as there are as many as images. Those of
    an image are divided equally among its strata: the windows whose rarest class is this or that one, and those of
    background alone. In a stratum they are spread over the image. Each chosen window weighs as many as it stands for,
    so that weighted sums of counts expect those of the whole grid.

    Args:
        cases: The cases.
        windows: For each case the windows of its grid, of one size.
        number: How many windows to choose, at most.
        seed: What the choice follows from; nothing else does.

    Returns:
        Numbers of windows, counted through all cases, ascending, and their weights, 1 on average: `(number,)` each.
    """
    sizes = np.array([len(grid) for grid in windows])
    ends = np.cumsum(sizes)
    total = int(ends[-1])
    if number >= total:
        return np.arange(total), np.ones(total, np.float32)
    rng = np.random.default_rng([seed, total, number])
    strata = strata_of(cases, windows)
    firsts = ends - sizes
    images = np.arange(len(ends))
    if number < len(images):
        # In the order of what they show, so that the chosen ones differ in it.
        rarest = np.minimum.reduceat(strata, firsts)
        order = np.lexsort((rng.random(len(images)), rarest))
        images = np.sort(order[spread(len(images), number, rng.random())])
    quotas = shares(sizes[images], number)
    start = rng.random()
    chosen: list[int] = []
    weights: list[float] = []
    for turn, (image, quota) in enumerate(zip(images, quotas, strict=True)):
        found = strata[firsts[image] : ends[image]]
        groups = [firsts[image] + np.flatnonzero(found == kind) for kind in np.unique(found)]
        times = max(1.0, len(groups) / quota)
        if quota < len(groups):
            groups = [groups[n] for n in spread(len(groups), quota, (start + turn * GOLDEN) % 1)]
        for group, count in zip(groups, equal_shares([len(group) for group in groups], quota), strict=True):
            for part in np.array_split(group, count):
                chosen.append(int(rng.choice(part)))
                weights.append(len(part) * times)
    order = np.argsort(chosen)
    return np.array(chosen)[order], (np.array(weights)[order] / np.mean(weights)).astype(np.float32)


def strata_of(cases: Sequence[Case], windows: Sequence[Sequence[Window]]) -> np.ndarray:
    """Returns what each window shows, `(windows,)`: 0 for the rarest class, ..., the number of classes for none.

    Large images are looked at in coarse cells: a window may count for a class that lies just beside it.
    """
    scheme = cases[0].read_label.scheme
    cell = index_cell(windows[0][0].size)
    first = int(scheme.task == "multiclass")
    shown: np.ndarray = np.concatenate(
        [
            np.array([np.atleast_1d(cells[covered(window, cell)].any(axis=axes))[first:] for window in grid])
            for cells, grid in zip(presence_in_cells(cases, cell), windows, strict=True)
            for axes in [tuple(range(cells.ndim - 1))]
        ]
    )
    order = np.argsort(shown.sum(axis=0), kind="stable")
    ranked: np.ndarray = np.concatenate([shown[:, order], np.ones((len(shown), 1), bool)], axis=1)
    return ranked.argmax(axis=1)


def covered(window: Window, cell: tuple[int, ...]) -> tuple[slice, ...]:
    """Returns the cells that a window touches, per axis; it may begin before the image or end after it."""
    return tuple(
        slice(max(start, 0) // extent, max(1, -(-(start + size) // extent)))
        for start, size, extent in zip(window.offset, window.size, cell, strict=True)
    )


def spread(total: int, number: int, start: float) -> np.ndarray:
    """Returns numbers below a total at equal distances; for a random start in [0, 1) all are equally likely."""
    return np.floor((np.arange(number) + start) * total / number).astype(int)


def shares(sizes: Sequence[int] | np.ndarray, total: int) -> np.ndarray:
    """Divides a total, not above the sum of some sizes, in proportion to these; each gets from 1 to its size.

    Args:
        sizes: Positive sizes; there are no more than the total.
        total: What is divided.
    """
    sizes = np.asarray(sizes)
    left = total - len(sizes)
    exact = left * (sizes - 1) / max(1, (sizes - 1).sum())
    parts = np.floor(exact + 1e-9).astype(int)
    parts[np.argsort(parts - exact, kind="stable")[: left - parts.sum()]] += 1
    return parts + 1


def equal_shares(sizes: Sequence[int], total: int) -> list[int]:
    """Divides a total as equally as the sizes allow, none of which is exceeded; what is left over goes to the first."""
    parts = [0] * len(sizes)
    left = min(total, sum(sizes))
    while left:
        for number, size in enumerate(sizes):
            if parts[number] < size and left:
                parts[number] += 1
                left -= 1
    return parts
