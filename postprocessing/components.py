"""The connected parts of a mask, joined over the borders of strips, and the choice of some of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from maskzoo.errors import OptionError

from .strips import ReadRows, Strips, rows_of


@dataclass(frozen=True)
class Components:
    """The connected parts of a mask, numbered from 1 in the order in which their first pixels come.

    Attributes:
        areas: Pixels of each; entry 0 is that of the background.
        inside: Whether none of its pixels lies on the mask's border, for each; entry 0 says nothing.
        sums: One more sum over the pixels of each, where it was asked for.
        pieces: For every strip the number of the component that each of its labels belongs to.
    """

    areas: np.ndarray
    inside: np.ndarray
    sums: list[np.ndarray]
    pieces: list[np.ndarray]

    @property
    def count(self) -> int:
        """Number of components."""
        return len(self.areas) - 1


def neighbours(spatial_dims: int, connectivity: int) -> np.ndarray:
    """The pixels that touch a pixel: those across a face for connectivity 1, across an edge too for 2, and so on.

    Raises:
        OptionError: If the connectivity is not between 1 and the number of axes.
    """
    if not 1 <= connectivity <= spatial_dims:
        raise OptionError("connectivity", f"1 to {spatial_dims}", connectivity)
    return ndimage.generate_binary_structure(spatial_dims, connectivity)


def find_components(strips: Strips, connectivity: int = 1, values: Sequence[ReadRows] = ()) -> Components:
    """Finds the connected parts of a mask.

    Args:
        strips: The mask.
        connectivity: See `neighbours`.
        values: Functions like `Strips.read`, to arrays that are summed over each component.
    """
    structure = neighbours(len(strips.shape), connectivity)
    # Provisional numbers: those of a strip continue behind those of the strip before.
    areas, inside, links = [np.zeros(1, np.int64)], [np.ones(1, bool)], []
    sums: list[list[np.ndarray]] = [[np.zeros(1)] for _ in values]
    counts, above, total = [], None, 0
    for first, last in strips.borders:
        labels, count = label(strips.read(first, last), structure)
        areas.append(np.bincount(labels.ravel(), minlength=count + 1)[1:])
        for read, parts in zip(values, sums, strict=True):
            weights = np.asarray(read(first, last)).ravel()
            parts.append(np.bincount(labels.ravel(), weights, minlength=count + 1)[1:])
        inside.append(inside_of(labels, count, first == 0, last == strips.shape[0]))
        if above is not None:
            links.append(linked(above, labels[0], total - counts[-1], total, structure))
        counts.append(count)
        total += count
        above = labels[-1]
    roots, count = united(links, total)
    joined = np.bincount(roots, np.concatenate(areas), minlength=count + 1).astype(np.int64)
    joined[0] = math.prod(strips.shape) - joined[1:].sum()
    together = np.ones(count + 1, bool)
    np.logical_and.at(together, roots, np.concatenate(inside))
    ends = np.cumsum(counts)
    pieces = [np.concatenate([[0], roots[1 + end - n : 1 + end]]) for n, end in zip(counts, ends, strict=True)]
    totals = [np.bincount(roots, np.concatenate(parts), minlength=count + 1) for parts in sums]
    return Components(joined, together, totals, pieces)


def label(mask: np.ndarray, structure: np.ndarray) -> tuple[np.ndarray, int]:
    """The number of the connected part of each pixel, from 1, and how many there are."""
    labels = np.empty(mask.shape, np.int32)
    count = ndimage.label(mask, structure, output=labels)
    return labels, int(count)  # pyright: ignore[reportArgumentType] (a number where the output is given)


def inside_of(labels: np.ndarray, count: int, is_first: bool, is_last: bool) -> np.ndarray:
    """Whether each label of a strip keeps away from the border of the mask."""
    inside = np.ones(count + 1, bool)
    for axis in range(labels.ndim):
        if axis or is_first:
            inside[np.take(labels, 0, axis).ravel()] = False
        if axis or is_last:
            inside[np.take(labels, -1, axis).ravel()] = False
    return inside[1:]


def linked(above: np.ndarray, below: np.ndarray, base_above: int, base_below: int, structure: np.ndarray) -> np.ndarray:
    """Pairs of provisional numbers that touch across the border of two strips: `(2, pairs)`."""
    numbers = np.stack([np.where(above, above + base_above, 0), np.where(below, below + base_below, 0)])
    joint, _ = label(numbers > 0, structure)
    limit = numbers.max() + 1
    joint, number = np.divmod(np.unique(joint.astype(np.int64)[joint > 0] * limit + numbers[joint > 0]), limit)
    # Neighbours in this order belong to one part wherever their joint label is the same.
    same = joint[1:] == joint[:-1]
    return np.stack([number[:-1][same], number[1:][same]])


def united(links: Sequence[np.ndarray], total: int) -> tuple[np.ndarray, int]:
    """The final number of each provisional one, in the order of first appearance, and how many there are."""
    first, second = np.concatenate([np.zeros((2, 0), np.int64), *links], axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(total + 1, total + 1))
    _, groups = connected_components(graph, directed=False)
    _, start, inverse = np.unique(groups, return_index=True, return_inverse=True)
    # Number 0 is alone in its group, and the first of all.
    order = np.empty(len(start), np.int64)
    order[np.argsort(start)] = np.arange(len(start))
    return order[inverse], len(start) - 1


def chosen(strips: Strips, connectivity: int, components: Components, keep: np.ndarray) -> ReadRows:
    """Returns a reader of the components for which `keep`, one truth per number, holds."""
    structure = neighbours(len(strips.shape), connectivity)

    def read_strip(number: int) -> np.ndarray:
        labels, _ = label(strips.read(*strips.borders[number]), structure)
        return keep[components.pieces[number]][labels]

    return lambda first, last: rows_of(strips, read_strip, first, last)


def remove_small(strips: Strips, minimum: int, connectivity: int = 1) -> Strips:
    """Removes the objects with fewer than `minimum` pixels."""
    if minimum <= 1:
        return strips
    components = find_components(strips, connectivity)
    keep = components.areas >= minimum
    keep[0] = False
    return replace(strips, read=chosen(strips, connectivity, components, keep))


def keep_largest(strips: Strips, connectivity: int = 1) -> Strips:
    """Keeps the object with the most pixels; of several the first."""
    components = find_components(strips, connectivity)
    keep = np.zeros(components.count + 1, bool)
    if components.count:
        keep[1 + np.argmax(components.areas[1:])] = True
    return replace(strips, read=chosen(strips, connectivity, components, keep))
