"""Outlines of the objects in a mask of any size: polygons, traced block by block and joined across the seams."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..windows import Window, window_grid

# Corners `(x, y)` between pixels, an integer array `(corners, 2)`, the last equal to the first.
Ring = np.ndarray
# An axis, and a position along it between two pixels.
Seam = tuple[int, int]
Corner = tuple[int, int]


def trace_outlines(
    read: Callable[[Window], np.ndarray], shape: Sequence[int], *, block: int = 2048
) -> Iterator[tuple[int, int, list[Ring]]]:
    """Yields the polygons around the areas of equal class of a mask, in no particular order.

    An area is made of pixels of one class that touch at their sides, across any number of blocks. Only areas that may
    continue in the next blocks are held, as outlines.

    Args:
        read: Function from a `Window` to a `uint8` array of its size; class 0 is left out.
        shape: Rows and columns of the mask.
        block: Rows and columns that are traced at a time.

    Returns:
        Iterator of `(class, pixels, rings)`: the outer ring first, then the holes, each an `int64` array `(n, 2)` of
        corners `(x, y)` between pixels. The last corner equals the first. Outer rings run clockwise on the screen
        (y points down), holes the other way.
    """
    open_areas = OpenAreas()
    for window in window_grid(shape, block):
        seams = [
            (axis, place)
            for axis, edges in enumerate(zip(window.offset, window.stop, shape, strict=True))
            for place, inner in ((edges[0], edges[0] > 0), (edges[1], edges[1] < edges[2]))
            if inner
        ]
        for label, rings in block_outlines(read(window), window):
            touching = [seam for seam in seams if any(lies_on(ring, seam) for ring in rings)]
            if touching:
                open_areas.add(label, rings, touching)
            else:
                yield label, area_of(rings), rings
        last_of_row = window.stop[1] == shape[1]
        if last_of_row:
            yield from open_areas.closed(below=window.stop[0] if window.stop[0] < shape[0] else None)


def block_outlines(values: np.ndarray, window: Window) -> Iterator[tuple[int, list[Ring]]]:
    """Yields `(class, rings)` of the areas in one block of a mask, in the coordinates of the whole mask."""
    from affine import Affine
    from rasterio.features import shapes

    values = np.ascontiguousarray(values, np.uint8)
    # One pixel beside the origin: rasterio takes the identity for a missing transform.
    shift = Affine.translation(1, 1)
    corner = np.array([window.offset[1] - 1, window.offset[0] - 1])
    for geometry, label in shapes(values, mask=values != 0, connectivity=4, transform=shift):
        rings = [np.rint(ring).astype(np.int64) + corner for ring in geometry["coordinates"]]
        yield int(label), [directed(ring, clockwise=number == 0) for number, ring in enumerate(rings)]


def lies_on(ring: Ring, seam: Seam) -> bool:
    """Whether a side of a ring lies on a seam."""
    axis, place = seam
    on = ring[:, 1 - axis] == place
    return bool((on[:-1] & on[1:]).any())


class OpenAreas:
    """The areas of single blocks that reach a seam, in groups that touch each other."""

    def __init__(self) -> None:
        # By the number of an area: its rings at seams, its other rings, its last row, its class.
        self._rings: dict[int, list[Ring]] = {}
        self._closed_rings: dict[int, list[Ring]] = {}
        self._lowest: dict[int, int] = {}
        self._labels: dict[int, int] = {}
        self._parents: list[int] = []
        # By seam: the area that has a class at a position along the seam, until its neighbour comes.
        self._waiting: defaultdict[Seam, dict[tuple[int, int], int]] = defaultdict(dict)

    def add(self, label: int, rings: Sequence[Ring], seams: Sequence[Seam]) -> None:
        """Adds an area, and joins it with those that share sides of pixels with it."""
        number = len(self._parents)
        self._parents.append(number)
        at_seams = [any(lies_on(ring, seam) for seam in seams) for ring in rings]
        self._closed_rings[number] = [ring for ring, at_seam in zip(rings, at_seams, strict=True) if not at_seam]
        rings = [ring for ring, at_seam in zip(rings, at_seams, strict=True) if at_seam]
        self._rings[number], self._labels[number] = rings, label
        self._lowest[number] = max(int(ring[:, 1].max()) for ring in rings)
        for axis, place in seams:
            waiting = self._waiting[axis, place]
            for ring in rings:
                for unit in units_on(ring, axis, place):
                    # The neighbour's side runs the other way; each side of a pixel has one neighbour.
                    other = waiting.pop((label, unit), None)
                    if other is None:
                        waiting[label, unit] = number
                    else:
                        self._join(other, number)

    def closed(self, below: int | None) -> Iterator[tuple[int, int, list[Ring]]]:
        """Yields and forgets the areas that do not reach the seam at row `below`; all of them if that is `None`."""
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for number in self._rings:
            groups[self._root(number)].append(number)
        for members in groups.values():
            if below is None or max(self._lowest[number] for number in members) < below:
                rings = [ring for number in members for ring in self._rings[number]]
                if len(members) > 1:
                    rings = joined_rings(rings)
                # Only the outer ring of a connected area runs clockwise; it need not be one of those at a seam.
                rings = [*rings, *(ring for number in members for ring in self._closed_rings[number])]
                rings.sort(key=signed_area, reverse=True)
                yield self._labels[members[0]], area_of(rings), rings
                for number in members:
                    del self._rings[number], self._closed_rings[number], self._lowest[number], self._labels[number]
        for seam in [seam for seam in self._waiting if seam != (0, below)]:
            del self._waiting[seam]

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = number = self._parents[self._parents[number]]
        return number

    def _join(self, one: int, other: int) -> None:
        self._parents[self._root(one)] = self._root(other)


def units_on(ring: Ring, axis: int, place: int) -> Iterator[int]:
    """The positions along a seam of the sides of pixels that a ring has there."""
    along, across = ring[:, axis], ring[:, 1 - axis]
    on = (across[:-1] == place) & (across[1:] == place)
    for start, stop in zip(along[:-1][on].tolist(), along[1:][on].tolist(), strict=True):
        yield from range(min(start, stop), max(start, stop))


def joined_rings(rings: Sequence[Ring]) -> list[Ring]:
    """Joins the rings of areas that share sides of pixels."""
    starts, steps = zip(*(unit_sides(ring) for ring in rings), strict=True)
    starts, steps = np.concatenate(starts), np.concatenate(steps)
    # Where two areas meet, the sides run both ways and vanish.
    middles = 2 * starts + steps
    _, inverse, counts = np.unique(middles, axis=0, return_inverse=True, return_counts=True)
    kept = counts[inverse.ravel()] == 1
    leaving: defaultdict[Corner, list[Corner]] = defaultdict(list)
    for start, step in zip(map(tuple, starts[kept].tolist()), map(tuple, steps[kept].tolist()), strict=True):
        leaving[start].append(step)
    traced = []
    for corner in list(leaving):
        while corner in leaving:
            traced.append(follow(leaving, corner))
    return traced


def follow(leaving: dict[Corner, list[Corner]], first: Corner) -> Ring:
    """Takes the ring through a corner out of the sides that leave each corner, and returns its corners."""
    corner = first
    step: Corner | None = None
    points: list[Corner] = []
    while True:
        steps = leaving[corner]
        if len(steps) > 1 and step is not None:
            # Two areas touch at this corner: a right turn stays with the same pixel.
            right = right_of(step)
            steps.sort(key=lambda side: side == right)
        turned = steps.pop()
        if not steps:
            del leaving[corner]
        if turned != step:
            points.append(corner)
        corner, step = (corner[0] + turned[0], corner[1] + turned[1]), turned
        # A ring that could turn right at its first corner only touches itself there.
        if corner == first and (corner not in leaving or right_of(turned) not in leaving[corner]):
            break
    ring = np.array([*points, first])
    # If the first corner lies in the middle of a straight side, it is left out.
    if ((ring[1] == first) == (ring[-2] == first)).all():
        ring = np.concatenate([ring[1:-1], ring[1:2]])
    return ring


def right_of(step: Corner) -> Corner:
    """The direction to the right of another, where y points down."""
    return -step[1], step[0]


def unit_sides(ring: Ring) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a ring into sides of pixels: where each starts, and its direction."""
    steps = np.diff(ring, axis=0)
    lengths = np.abs(steps).sum(axis=1)
    directions = np.repeat(np.sign(steps), lengths, axis=0)
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    along = np.arange(len(before)) - before
    return np.repeat(ring[:-1], lengths, axis=0) + along[:, None] * directions, directions


def signed_area(ring: Ring) -> int:
    """Pixels inside a ring; negative for one that runs counter-clockwise on the screen, where y points down."""
    x, y = ring[:, 0], ring[:, 1]
    return int((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) // 2


def directed(ring: Ring, clockwise: bool) -> Ring:
    """A ring, reversed if it runs the wrong way."""
    return ring if (signed_area(ring) > 0) == clockwise else ring[::-1]


def area_of(rings: Sequence[Ring]) -> int:
    """Pixels inside an outer ring and outside its holes."""
    return sum(signed_area(ring) for ring in rings)
