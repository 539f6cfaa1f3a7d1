"""Where in the images each class is: a coarse map made once, kept in a cache, from which windows are aimed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from math import prod
from pathlib import Path

import numpy as np

from .windows import Window, per_axis, window_grid

CACHED_FROM_PIXELS = 1 << 26


class ClassIndex:
    """The cells of a coarse grid over every image in which each class occurs.

    Args:
        cases: List of `Case`.
        cell: Size of a cell, one number or one per axis.
        cache: Folder for the index of large data sets; by default `$MASKZOO_CACHE` or `~/.cache/maskzoo`.
    """

    def __init__(self, cases, cell, cache=None):
        self._cases = cases
        self._cell = per_axis("cell", cell, len(cases[0].image.shape))
        self.class_names = cases[0].read_label.scheme.class_names
        pixels = sum(prod(case.image.shape) for case in cases)
        presence = cached(cases, self._cell, cache) if pixels >= CACHED_FROM_PIXELS else presence_of(cases, self._cell)
        # Per class the images that show it and, for each, the flat numbers of its cells.
        self._found = [
            [
                (number, np.flatnonzero(cells[..., kind]))
                for number, cells in enumerate(presence)
                if cells[..., kind].any()
            ]
            for kind in range(len(self.class_names))
        ]
        self._grids = [cells.shape[:-1] for cells in presence]

    def has(self, kind):
        """Says whether a class, given by its number, occurs at all."""
        return bool(self._found[kind])

    def draw(self, kind, rng):
        """Returns a case and a pixel of it that shows a class: of any image that does, any cell, any pixel there."""
        number, cells = self._found[kind][rng.integers(len(self._found[kind]))]
        case = self._cases[number]
        position = np.unravel_index(cells[rng.integers(len(cells))], self._grids[number])
        offset = np.multiply(position, self._cell)
        window = Window(offset, np.minimum(self._cell, np.subtract(case.image.shape, offset)))
        inside = case.read_label.scheme.masks(case.read_label(window))[..., kind]
        pixels = np.argwhere(inside)
        return case, pixels[rng.integers(len(pixels))] + offset


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
    folder = Path(folder or os.environ.get("MASKZOO_CACHE") or Path.home() / ".cache" / "maskzoo")
    path = folder / f"classes-{digest.hexdigest()[:32]}.npz"
    try:
        with np.load(path) as file:
            return [
                np.unpackbits(file[f"{n}"], axis=-1, count=int(file["classes"])).astype(bool) for n in range(len(cases))
            ]
    except (OSError, KeyError, ValueError):
        presence = presence_of(cases, cell)
    packed = {f"{number}": np.packbits(cells, axis=-1) for number, cells in enumerate(presence)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(temporary, classes=presence[0].shape[-1], **packed)
        os.replace(temporary, path)
    except OSError:
        # A cache that cannot be written costs time only.
        with contextlib.suppress(OSError):
            temporary.unlink()
    return presence
