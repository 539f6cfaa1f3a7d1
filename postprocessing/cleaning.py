"""What is done to a decided mask: holes, small objects, touching objects; in strips, so that seams do not matter.

A mask is read strip by strip along its first axis. Objects are joined over the borders of strips before anything is
decided about them, so that the result is that of the whole mask for any height of the strips. Memory holds one strip,
and some bytes for each object.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Pixels of one strip.
STRIP_PIXELS = 1 << 22
# Rows that an object to be split may have.
TALLEST_SPLIT = 2048


@dataclass(frozen=True)
class Strips:
    """A mask that is read in strips along its first axis.

    Attributes:
        shape: Spatial sizes.
        height: Rows of one strip; the last may have fewer.
        read: Function from the first row and the row behind the last one to `(rows, *shape[1:])`, bool.
    """

    shape: tuple[int, ...]
    height: int
    read: Callable

    def __post_init__(self):
        if self.height < 1 or min(self.shape) < 1:
            raise ValueError(f"strips: expected sizes of at least 1; received {self.shape} in strips of {self.height}")

    @property
    def borders(self):
        """The first row of every strip and the row behind its last one."""
        return [(first, min(first + self.height, self.shape[0])) for first in range(0, self.shape[0], self.height)]


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
    def count(self):
        return len(self.areas) - 1


def array_strips(mask, height=None):
    """The strips of an array in memory, or of a memory map."""
    mask = np.asanyarray(mask)
    height = height or strip_height(mask.shape)
    return Strips(mask.shape, height, lambda first, last: np.asarray(mask[first:last]).astype(bool))


def strip_height(shape):
    return max(1, min(shape[0], STRIP_PIXELS // math.prod(shape[1:])))


def neighbours(spatial_dims, connectivity):
    """The pixels that touch a pixel: those across a face for connectivity 1, across an edge too for 2, and so on.

    Raises:
        ValueError: If the connectivity is not between 1 and the number of axes.
    """
    if not 1 <= connectivity <= spatial_dims:
        raise ValueError(f"connectivity: expected 1 to {spatial_dims}; received {connectivity}")
    return ndimage.generate_binary_structure(spatial_dims, connectivity)


def find_components(strips, connectivity=1, values=()):
    """Finds the connected parts of a mask.

    Args:
        strips: `Strips`.
        connectivity: See `neighbours`.
        values: Functions like `Strips.read`, to arrays that are summed over each component.

    Returns:
        `Components`.
    """
    structure = neighbours(len(strips.shape), connectivity)
    # Provisional numbers: those of a strip continue behind those of the strip before.
    areas, sums, inside, links = [np.zeros(1, np.int64)], [[np.zeros(1)] for _ in values], [np.ones(1, bool)], []
    counts, above, total = [], None, 0
    for first, last in strips.borders:
        labels, count = ndimage.label(strips.read(first, last), structure)
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
    areas = np.bincount(roots, np.concatenate(areas), minlength=count + 1).astype(np.int64)
    areas[0] = math.prod(strips.shape) - areas[1:].sum()
    together = np.ones(count + 1, bool)
    np.logical_and.at(together, roots, np.concatenate(inside))
    ends = np.cumsum(counts)
    pieces = [np.concatenate([[0], roots[1 + end - n : 1 + end]]) for n, end in zip(counts, ends, strict=True)]
    sums = [np.bincount(roots, np.concatenate(parts), minlength=count + 1) for parts in sums]
    return Components(areas, together, sums, pieces)


def inside_of(labels, count, is_first, is_last):
    """Whether each label of a strip keeps away from the border of the mask."""
    inside = np.ones(count + 1, bool)
    for axis in range(labels.ndim):
        if axis or is_first:
            inside[np.take(labels, 0, axis).ravel()] = False
        if axis or is_last:
            inside[np.take(labels, -1, axis).ravel()] = False
    return inside[1:]


def linked(above, below, base_above, base_below, structure):
    """Pairs of provisional numbers that touch across the border of two strips: `(2, pairs)`."""
    numbers = np.stack([np.where(above, above + base_above, 0), np.where(below, below + base_below, 0)])
    joint, _ = ndimage.label(numbers > 0, structure)
    limit = numbers.max() + 1
    joint, number = np.divmod(np.unique(joint.astype(np.int64)[joint > 0] * limit + numbers[joint > 0]), limit)
    # Neighbours in this order belong to one part wherever their joint label is the same.
    same = joint[1:] == joint[:-1]
    return np.stack([number[:-1][same], number[1:][same]])


def united(links, total):
    """The final number of each provisional one, in the order of first appearance, and how many there are."""
    first, second = np.concatenate([np.zeros((2, 0), np.int64), *links], axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(total + 1, total + 1))
    _, groups = connected_components(graph, directed=False)
    _, start, inverse = np.unique(groups, return_index=True, return_inverse=True)
    # Number 0 is alone in its group, and the first of all.
    order = np.empty(len(start), np.int64)
    order[np.argsort(start)] = np.arange(len(start))
    return order[inverse], len(start) - 1


def chosen(strips, connectivity, components, keep):
    """Reads the pixels of the components of a mask for which `keep`, one truth per number, holds."""
    structure = neighbours(len(strips.shape), connectivity)

    def read_strip(number):
        labels, _ = ndimage.label(strips.read(*strips.borders[number]), structure)
        return keep[components.pieces[number]][labels]

    return lambda first, last: rows_of(strips, read_strip, first, last)


def rows_of(strips, read_strip, first, last):
    """Rows of a mask of which whole strips can be read."""
    numbers = range(first // strips.height, -(-last // strips.height))
    rows = np.concatenate([read_strip(number) for number in numbers])
    start = numbers[0] * strips.height
    return rows[first - start : last - start]


def remove_small(strips, minimum, connectivity=1):
    """Removes the objects with fewer than `minimum` pixels."""
    if minimum <= 1:
        return strips
    components = find_components(strips, connectivity)
    keep = components.areas >= minimum
    keep[0] = False
    return replace(strips, read=chosen(strips, connectivity, components, keep))


def keep_largest(strips, connectivity=1):
    """Keeps the object with the most pixels; of several the first."""
    components = find_components(strips, connectivity)
    keep = np.zeros(components.count + 1, bool)
    if components.count:
        keep[1 + np.argmax(components.areas[1:])] = True
    return replace(strips, read=chosen(strips, connectivity, components, keep))


def fill_holes(strips, largest=math.inf, empty=None):
    """Fills what is enclosed: connected background that does not reach the mask's border.

    Background is connected across faces, as in `scipy.ndimage.binary_fill_holes`.

    Args:
        strips: `Strips`.
        largest: Holes with more pixels stay.
        empty: Function like `Strips.read` that tells which pixels of holes may be filled; `None` for all.
    """
    if largest < 1:
        return strips
    outside = background(strips)
    components = find_components(outside)
    fill = components.inside & (components.areas <= largest)
    fill[0] = False
    holes = chosen(outside, 1, components, fill)
    if empty is None:
        return replace(strips, read=lambda *rows: strips.read(*rows) | holes(*rows))
    return replace(strips, read=lambda *rows: strips.read(*rows) | (holes(*rows) & empty(*rows)))


def background(strips):
    return replace(strips, read=lambda first, last: ~strips.read(first, last))


def split_touching(strips, distance, connectivity=1, tallest=TALLEST_SPLIT):
    """Cuts objects that touch apart, by one pixel of background along the watershed of their distance transform.

    Each object is cut by itself, so the result does not depend on the strips. Beside a strip the rows are read that its
    objects may reach.

    Args:
        strips: `Strips`.
        distance: Least distance in pixels between the centres of two parts, at least 1.
        connectivity: See `neighbours`.
        tallest: Objects with more rows stay as they are.

    Raises:
        ValueError: If the distance is below 1.
    """
    if not 1 <= distance < math.inf:
        raise ValueError(f"--watershed: expected a distance of at least 1 pixel; received {distance}")
    structure = neighbours(len(strips.shape), connectivity)

    def read_strip(number):
        first, last = strips.borders[number]
        top, bottom = max(0, first - tallest), min(strips.shape[0], last + tallest)
        mask = strips.read(top, bottom).copy()
        labels, _ = ndimage.label(mask, structure)
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            rows = box[0]
            if rows.stop + top > first and rows.start + top < last and rows.stop - rows.start <= tallest:
                own = labels[box] == label
                mask[box][own] = split_object(own, distance)[own]
        return mask[first - top : last - top]

    return replace(strips, read=lambda first, last: rows_of(strips, read_strip, first, last))


def split_object(mask, distance):
    """One object without the pixels on the watersheds between its parts.

    Source: Beucher, Lantuejoul, "Use of watersheds in contour detection", 1979; scikit-image's implementation.
    """
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    padded = np.pad(mask, 1)
    depth = ndimage.distance_transform_edt(padded)
    peaks = peak_local_max(depth, min_distance=round(distance), labels=padded.astype(np.int32), exclude_border=False)
    if len(peaks) < 2:
        return mask
    markers = np.zeros(padded.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    parts = watershed(-depth, markers, mask=padded, watershed_line=True)
    return parts[(slice(1, -1),) * mask.ndim] > 0


@dataclass(frozen=True)
class Cleaning:
    """What is done to the decided mask of each class, in this order; 0 for what is not.

    Attributes:
        holes: Holes of up to this many pixels are filled, for each class; `math.inf` for all.
        watershed: Least distance in pixels of the centres of touching objects that are split.
        minimum_area: Objects with fewer pixels are removed, for each class.
        largest: Whether only the largest object of each class is kept.
        connectivity: See `neighbours`.
    """

    holes: tuple[float, ...]
    watershed: float
    minimum_area: tuple[int, ...]
    largest: bool = False
    connectivity: int = 1

    def __bool__(self):
        return bool(any(self.holes) or self.watershed or any(self.minimum_area) or self.largest)

    def __str__(self):
        def numbers(values):
            return ", ".join("any number of" if value == math.inf else f"{value:g}" for value in values)

        parts = [
            any(self.holes) and f"holes filled up to {numbers(self.holes)} pixels",
            self.watershed and f"objects split whose centres are {self.watershed:g} pixels apart",
            any(self.minimum_area) and f"objects kept from {numbers(self.minimum_area)} pixels",
            self.largest and "only the largest object kept",
        ]
        return "; ".join(part for part in parts if part)


def cleaning_of(
    classes: int,
    *,
    holes: float | Sequence[float] | None = None,
    minimum_area: int | Sequence[int] | None = None,
    watershed: float = 0,
    largest: bool = False,
) -> Cleaning:
    """Returns a `Cleaning` from sizes per class, or from one size for all classes.

    Args:
        classes: Number of classes.
        holes: As in `Cleaning`; `None` for 0.
        minimum_area: As in `Cleaning`; `None` for 0.
        watershed: As in `Cleaning`.
        largest: As in `Cleaning`.
    """
    return Cleaning(per_class(holes, classes), watershed, per_class(minimum_area, classes), largest)


def per_class(size, classes: int) -> tuple:
    """A size for each class, from one for all classes or `None` for 0."""
    return tuple(size) if isinstance(size, Sequence) else (size or 0,) * classes


def clean(strips, holes=0, watershed=0, minimum_area=0, largest=False, connectivity=1, empty=None):
    """Does to the mask of one class what a `Cleaning` says; `empty` is that of `fill_holes`."""
    strips = fill_holes(strips, holes, empty)
    if watershed:
        strips = split_touching(strips, watershed, connectivity)
    strips = remove_small(strips, minimum_area, connectivity)
    return keep_largest(strips, connectivity) if largest else strips


def clean_labels(read, shape, cleaning, task, height=None):
    """Cleans a decided mask of all classes.

    Of a class map, holes are filled where they are background, and removed objects become background.

    Args:
        read: Function from the first row and the row behind the last one to `uint8` labels: class ids `(rows,
            *shape[1:])` in a multiclass task, else `(rows, *shape[1:], classes)` in {0, 1}.
        shape: Spatial sizes.
        cleaning: A `Cleaning`.
        task: `binary`, `multilabel` or `multiclass`.
        height: Rows of a strip; by default some millions of pixels.

    Returns:
        A function like `read`. The passes over the mask that it takes to find all objects are done when it is made.
    """
    height = height or strip_height(shape)
    common = {"watershed": cleaning.watershed, "largest": cleaning.largest, "connectivity": cleaning.connectivity}
    per_class = enumerate(zip(cleaning.holes, cleaning.minimum_area, strict=True))
    sizes = [(number, {"holes": holes, "minimum_area": area}) for number, (holes, area) in per_class]
    if task != "multiclass":
        bands = [
            clean(Strips(shape, height, lambda first, last, n=number: read(first, last)[..., n] > 0), **size, **common)
            for number, size in sizes
        ]
        return lambda first, last: np.stack([band.read(first, last) for band in bands], axis=-1).astype(np.uint8)

    def empty(first, last):
        return read(first, last) == 0

    masks = [
        clean(
            Strips(shape, height, lambda first, last, n=number: read(first, last) == n), **size, **common, empty=empty
        )
        for number, size in sizes[1:]
    ]

    def read_clean(first, last):
        labels = np.zeros((last - first, *shape[1:]), np.uint8)
        for number, mask in enumerate(masks, start=1):
            labels[mask.read(first, last) & (labels == 0)] = number
        return labels

    return read_clean
