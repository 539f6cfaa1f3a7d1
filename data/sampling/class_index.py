"""Where in the images each class is: a coarse map made once and cached, at which training windows are aimed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..images.measurement_cache import cache_folder, read_arrays, write_arrays
from ..sets.identity import content_version, label_version
from ..windows import Window, per_axis, window_grid
from .case_sampler import CaseSampler

if TYPE_CHECKING:
    from ..sets.cases import Case

CACHED_FROM_PIXELS = 1 << 26
# In place of a class: any but the background.
FOREGROUND = -1


class ClassIndex:
    """The cells of a coarse grid over every image in which each class occurs.

    Args:
        cases: The cases, drawn in proportion to their weights.
        cell: Size of a cell, one number or one per axis.
        cache: Folder for the index of large data sets; by default that of `measurement_cache.cache_folder`.
    """

    def __init__(self, cases: Sequence[Case], cell: int | Sequence[int], cache: Path | None = None) -> None:
        self._cases = cases
        self._cell = per_axis("cell", cell, len(cases[0].image.shape))
        self._scheme = cases[0].read_label.scheme
        presence = presence_in_cells(cases, self._cell, cache)
        self._grids = [cells.shape[:-1] for cells in presence]
        # Per class, and last for any but the background: the images that show it, each with the flat numbers of its
        # cells.
        groups = [[number] for number in range(self._scheme.num_classes)] + [self._foreground]
        found = [
            [(n, np.flatnonzero(cells[..., group].any(axis=-1))) for n, cells in enumerate(presence)]
            for group in groups
        ]
        self._found = [[(n, cells) for n, cells in images if len(cells)] for images in found]
        self._samplers = [CaseSampler([cases[n] for n, _ in images]) for images in self._found]

    @property
    def _foreground(self) -> list[int]:
        return list(range(int(self._scheme.task == "multiclass"), self._scheme.num_classes))

    def has(self, number: int) -> bool:
        """Says whether a class, given by its number or as `FOREGROUND`, occurs at all."""
        return bool(self._found[number])

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Case, np.ndarray]:
        """Returns a case and a pixel `(spatial,)` that shows a class: any image that does, any cell of it, any pixel.

        Args:
            number: Number of the class, or `FOREGROUND`.
            rng: Generator that the choice follows from.
        """
        image, cells = self._found[number][self._samplers[number].draw(rng)]
        case = self._cases[image]
        position = np.unravel_index(cells[rng.integers(len(cells))], self._grids[image])
        offset = np.multiply(position, self._cell)
        size = np.minimum(self._cell, np.subtract(case.image.shape, offset))
        window = Window(tuple(offset.tolist()), tuple(size.tolist()))
        masks = self._scheme.masks(case.read_label(window))
        pixels = np.argwhere(masks[..., self._foreground if number == FOREGROUND else [number]].any(axis=-1))
        return case, pixels[rng.integers(len(pixels))] + offset


def presence_in_cells(cases: Sequence[Case], cell: tuple[int, ...], cache: Path | None = None) -> list[np.ndarray]:
    """Returns what `class_presence` does, for large data sets from a cache."""
    if sum(prod(case.image.shape) for case in cases) >= CACHED_FROM_PIXELS:
        return cached_presence(cases, cell, cache)
    return class_presence(cases, cell)


def class_presence(cases: Sequence[Case], cell: tuple[int, ...]) -> list[np.ndarray]:
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


def cached_presence(cases: Sequence[Case], cell: tuple[int, ...], folder: Path | None = None) -> list[np.ndarray]:
    """Returns what `class_presence` does, from a file that an earlier call wrote if the labels are still the same."""
    digest = hashlib.sha256(json.dumps([list(cell), cases[0].read_label.scheme.as_dict()]).encode())
    for case in cases:
        digest.update(label_version(case.read_label.source).encode())
        if case.read_label.image is not None:
            digest.update(content_version(case.read_label.image).encode())
    path = Path(folder or cache_folder()) / f"classes-{digest.hexdigest()[:32]}.npz"
    if (found := read_arrays(path)) is not None:
        return [
            np.unpackbits(found[f"{n}"], axis=-1, count=int(found["classes"])).astype(bool) for n in range(len(cases))
        ]
    presence = class_presence(cases, cell)
    packed = {f"{number}": np.packbits(cells, axis=-1) for number, cells in enumerate(presence)}
    write_arrays(path, {"classes": presence[0].shape[-1], **packed})
    return presence
