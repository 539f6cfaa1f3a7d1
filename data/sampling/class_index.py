"""Where in the images each class is: a coarse map made once, kept in a cache, from which windows are aimed."""

from __future__ import annotations

import hashlib
import json
from math import prod
from pathlib import Path

import numpy as np

from ..images.measurement_cache import cache_folder, read_arrays, write_arrays
from ..windows import Window, per_axis, window_grid

CACHED_FROM_PIXELS = 1 << 26


class ClassIndex:
    """The cells of a coarse grid over every image in which each class occurs.

    Args:
        cases: List of `Case`.
        cell: Size of a cell, one number or one per axis.
        cache: Folder for the index of large data sets; by default that of `cache.cache_folder`.
    """

    def __init__(self, cases, cell, cache=None):
        self._cases = cases
        self._cell = per_axis("cell", cell, len(cases[0].image.shape))
        self._scheme = cases[0].read_label.scheme
        pixels = sum(prod(case.image.shape) for case in cases)
        presence = cached(cases, self._cell, cache) if pixels >= CACHED_FROM_PIXELS else presence_of(cases, self._cell)
        self._grids = [cells.shape[:-1] for cells in presence]
        # Per class, and at last for any but the background, the images that show it, each with the flat numbers of its
        # cells, and how often each image is drawn.
        kinds = [[kind] for kind in range(self._scheme.num_classes)] + [self._foreground]
        self._found = [
            [(n, np.flatnonzero(cells[..., kind].any(axis=-1))) for n, cells in enumerate(presence)] for kind in kinds
        ]
        self._found = [[(n, cells) for n, cells in found if len(cells)] for found in self._found]
        self._shares = [case_shares([cases[n] for n, _ in found]) for found in self._found]

    @property
    def _foreground(self):
        return list(range(int(self._scheme.task == "multiclass"), self._scheme.num_classes))

    def has(self, kind=-1):
        """Says whether a class, given by its number, occurs at all; without a number, any but the background."""
        return bool(self._found[kind])

    def draw(self, kind, rng):
        """Returns a case and a pixel of it that shows a class: of any image that does, any cell, any pixel there.

        Args:
            kind: Number of the class; -1 for any but the background.
            rng: `numpy.random.Generator`.
        """
        number, cells = self._found[kind][draw_case(self._shares[kind], len(self._found[kind]), rng)]
        case = self._cases[number]
        position = np.unravel_index(cells[rng.integers(len(cells))], self._grids[number])
        offset = np.multiply(position, self._cell)
        window = Window(offset, np.minimum(self._cell, np.subtract(case.image.shape, offset)))
        masks = self._scheme.masks(case.read_label(window))
        pixels = np.argwhere(masks[..., self._foreground if kind == -1 else [kind]].any(axis=-1))
        return case, pixels[rng.integers(len(pixels))] + offset


def case_shares(cases):
    """Returns how often each case is drawn, by its weight; None where all are drawn alike.

    Raises:
        ValueError: Where a weight is negative or all are 0.
    """
    weights = np.array([getattr(case, "weight", 1.0) for case in cases], float)
    if not len(weights) or ((weights == weights[0]).all() and weights[0] > 0):
        return None
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0):
        raise ValueError(f"weight: expected weights of 0 or more, some above 0; received {weights.tolist()[:8]}")
    return weights / weights.sum()


def draw_case(shares, number, rng):
    """Returns the number of a case, drawn by what `case_shares` returned."""
    return rng.integers(number) if shares is None else rng.choice(number, p=shares)


def presence_of(cases, cell):
    """Returns for every case a boolean array `(*cells, classes)`: which classes a cell shows."""
    presence = []
    for case in cases:
        shape, scheme = case.image.shape, case.read_label.scheme
        grid = tuple(-(-length // extent) for length, extent in zip(shape, cell, strict=True))
        cells = np.zeros((*grid, scheme.num_classes), bool)
        # Several cells at a time, about a million pixels.
        several = max(1, round((1 << 20) ** (1 / len(shape)) / max(cell)))
        for window in window_grid(shape, [several * extent for extent in cell]):
            masks = scheme.masks(case.read_label(window))
            for axis, extent in enumerate(cell):
                masks = np.logical_or.reduceat(masks, range(0, masks.shape[axis], extent), axis=axis)
            first = [start // extent for start, extent in zip(window.offset, cell, strict=True)]
            cells[tuple(slice(start, start + n) for start, n in zip(first, masks.shape[:-1], strict=True))] = masks
        presence.append(cells)
    return presence


def cached(cases, cell, folder=None):
    """Returns what `presence_of` does, from a file that an earlier call wrote if the labels are still the same."""
    digest = hashlib.sha256(json.dumps([cell, cases[0].read_label.scheme.as_dict()]).encode())
    for case in cases:
        digest.update(case.read_label.version().encode())
    path = Path(folder or cache_folder()) / f"classes-{digest.hexdigest()[:32]}.npz"
    if (found := read_arrays(path)) is not None:
        return [
            np.unpackbits(found[f"{n}"], axis=-1, count=int(found["classes"])).astype(bool) for n in range(len(cases))
        ]
    presence = presence_of(cases, cell)
    packed = {f"{number}": np.packbits(cells, axis=-1) for number, cells in enumerate(presence)}
    write_arrays(path, {"classes": presence[0].shape[-1], **packed})
    return presence
