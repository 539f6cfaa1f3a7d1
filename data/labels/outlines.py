"""Outlines of the objects in a mask of any size: polygons, traced block by block and joined over the seams."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ..windows import window_grid


def trace_outlines(read, shape, *, block=2048):
    """Yields the polygons around the areas of equal class of a mask, in no particular order.

    An area is what hangs together over the sides of its pixels, over any number of blocks. Only the areas that the
    blocks traced so far have not closed are held, as their outlines.

    Args:
        read: Function from a `Window` to a `uint8` array of its size; class 0 is left out.
        shape: Rows and columns of the mask.
        block: Rows and columns that are traced at a time.

    Returns:
        Iterator of `(class, pixels, rings)`: the outer ring first, then the holes, each an `int64` array `(n, 2)` of
        corners `(x, y)` between pixels, the last equal to the first, outer rings clockwise as seen on the screen.
    """
    open_areas = OpenAreas()
    for window in window_grid(shape, block):
        seams = [
            (axis, place)
            for axis, edges in enumerate(zip(window.offset, window.stop, shape, strict=True))
            for place, inner in ((edges[0], edges[0] > 0), (edges[1], edges[1] < edges[2]))
            if inner
        ]
        for kind, rings in block_outlines(read(window), window):
            touching = [seam for seam in seams if any(lies_on(ring, seam) for ring in rings)]
            if touching:
                open_areas.add(kind, rings, touching)
            else:
                yield kind, area_of(rings), rings
        last_of_row = window.stop[1] == shape[1]
        if last_of_row:
            yield from open_areas.closed(below=window.stop[0] if window.stop[0] < shape[0] else None)


def block_outlines(values, window):
    """Yields `(class, rings)` of the areas in one block, in the mask's coordinates, with directed rings."""
    from affine import Affine
    from rasterio.features import shapes

    values = np.ascontiguousarray(values, np.uint8)
    # One pixel beside the origin: rasterio takes the identity for a missing transform.
    shift = Affine.translation(1, 1)
    corner = np.array([window.offset[1] - 1, window.offset[0] - 1])
    for geometry, kind in shapes(values, mask=values != 0, connectivity=4, transform=shift):
        rings = [np.rint(ring).astype(np.int64) + corner for ring in geometry["coordinates"]]
        yield int(kind), [directed(ring, clockwise=number == 0) for number, ring in enumerate(rings)]


def lies_on(ring, seam):
    """Whether a side of a ring lies on a seam `(axis, place)`."""
    axis, place = seam
    on = ring[:, 1 - axis] == place
    return bool((on[:-1] & on[1:]).any())


class OpenAreas:
    """The areas that reach a seam, in groups that hang together."""

    def __init__(self):
        self._rings = {}
        self._closed_rings = {}
        self._lowest = {}
        self._kinds = {}
        self._parents = []
        self._waiting = defaultdict(dict)

    def add(self, kind, rings, seams):
        """Adds an area, and joins it with those that share sides of pixels with it."""
        number = len(self._parents)
        self._parents.append(number)
        at_seams = [any(lies_on(ring, seam) for seam in seams) for ring in rings]
        self._closed_rings[number] = [ring for ring, at_seam in zip(rings, at_seams, strict=True) if not at_seam]
        rings = [ring for ring, at_seam in zip(rings, at_seams, strict=True) if at_seam]
        self._rings[number], self._kinds[number] = rings, kind
        self._lowest[number] = max(int(ring[:, 1].max()) for ring in rings)
        for axis, place in seams:
            waiting = self._waiting[axis, place]
            for ring in rings:
                for unit in units_on(ring, axis, place):
                    # The neighbour's side runs the other way; each side of a pixel has one neighbour.
                    other = waiting.pop((kind, unit), None)
                    if other is None:
                        waiting[kind, unit] = number
                    else:
                        self._join(other, number)

    def closed(self, below):
        """Yields and forgets the areas that do not reach the seam at row `below`; all of them where that is None."""
        groups = defaultdict(list)
        for number in self._rings:
            groups[self._root(number)].append(number)
        for members in groups.values():
            if below is None or max(self._lowest[number] for number in members) < below:
                rings = [ring for number in members for ring in self._rings[number]]
                if len(members) > 1:
                    rings = joined_rings(rings)
                # Of an area that hangs together only the outer ring runs clockwise; it may be none of those at a seam.
                rings = [*rings, *(ring for number in members for ring in self._closed_rings[number])]
                rings.sort(key=signed_area, reverse=True)
                yield self._kinds[members[0]], area_of(rings), rings
                for number in members:
                    del self._rings[number], self._closed_rings[number], self._lowest[number], self._kinds[number]
        for seam in [seam for seam in self._waiting if seam != (0, below)]:
            del self._waiting[seam]

    def _root(self, number):
        while self._parents[number] != number:
            self._parents[number] = number = self._parents[self._parents[number]]
        return number

    def _join(self, one, other):
        self._parents[self._root(one)] = self._root(other)


def units_on(ring, axis, place):
    """The positions along a seam of the sides of pixels that a ring has there."""
    along, across = ring[:, axis], ring[:, 1 - axis]
    on = (across[:-1] == place) & (across[1:] == place)
    for start, stop in zip(along[:-1][on].tolist(), along[1:][on].tolist(), strict=True):
        yield from range(min(start, stop), max(start, stop))


def joined_rings(rings):
    """Joins the rings of areas that share sides of pixels."""
    starts, steps = zip(*(unit_sides(ring) for ring in rings), strict=True)
    starts, steps = np.concatenate(starts), np.concatenate(steps)
    # Where two areas meet, the sides run both ways and vanish.
    middles = 2 * starts + steps
    _, inverse, counts = np.unique(middles, axis=0, return_inverse=True, return_counts=True)
    kept = counts[inverse.ravel()] == 1
    leaving = defaultdict(list)
    for start, step in zip(map(tuple, starts[kept].tolist()), map(tuple, steps[kept].tolist()), strict=True):
        leaving[start].append(step)
    traced = []
    for corner in list(leaving):
        while corner in leaving:
            traced.append(follow(leaving, corner))
    return traced


def follow(leaving, first):
    """Takes the ring through a corner out of the sides that leave each corner, and returns its corners."""
    corner = first
    step, points = None, []
    while True:
        steps = leaving[corner]
        if len(steps) > 1 and step is not None:
            # Two areas touch at this corner: the right turn keeps to the pixel at hand (y points down).
            steps.sort(key=lambda side: side == (-step[1], step[0]))
        turned = steps.pop()
        if not steps:
            del leaving[corner]
        if turned != step:
            points.append(corner)
        corner, step = (corner[0] + turned[0], corner[1] + turned[1]), turned
        if corner == first and closes(leaving, corner, step, points):
            break
    ring = np.array([*points, first])
    # A first corner in the middle of a straight side is none.
    if ((ring[1] == first) == (ring[-2] == first)).all():
        ring = np.concatenate([ring[1:-1], ring[1:2]])
    return ring


def closes(leaving, corner, step, points):
    """Whether a ring that is back at its first corner ends there, rather than only touching itself."""
    return corner not in leaving or (-step[1], step[0]) not in leaving[corner]


def unit_sides(ring):
    """Cuts a ring into sides of pixels: where each starts, and its direction."""
    steps = np.diff(ring, axis=0)
    lengths = np.abs(steps).sum(axis=1)
    directions = np.repeat(np.sign(steps), lengths, axis=0)
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    along = np.arange(len(before)) - before
    return np.repeat(ring[:-1], lengths, axis=0) + along[:, None] * directions, directions


def signed_area(ring):
    """Pixels inside a ring; negative for one that runs counter-clockwise on the screen, where y points down."""
    x, y = ring[:, 0], ring[:, 1]
    return int((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) // 2


def directed(ring, clockwise):
    """A ring, turned round where it runs the wrong way."""
    return ring if (signed_area(ring) > 0) == clockwise else ring[::-1]


def area_of(rings):
    """Pixels inside an outer ring and outside its holes."""
    return sum(signed_area(ring) for ring in rings)
