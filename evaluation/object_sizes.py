"""The search for holes to fill and for minimum areas of objects.

The score of a size follows from the areas of the objects and from how many of their pixels are right, so one pass over
a mask scores all sizes, exactly.
"""

from collections.abc import Sequence

import numpy as np

from .. import metrics
from ..postprocessing.components import Components, find_components
from ..postprocessing.holes import fill_holes
from ..postprocessing.strips import ReadRows, Strips, background
from .held_out import HeldOutImage
from .search_space import TIE, SearchSpace


def search_sizes(
    space: SearchSpace, images: Sequence[HeldOutImage], masks: Sequence[Strips], number: int
) -> tuple[int, int, float]:
    """Searches the holes of one class, then its minimum area with these holes filled.

    Args:
        space: What is searched.
        images: The images.
        masks: The mask of the class in each: `class_mask`.
        number: The class.

    Returns:
        The largest area of holes to fill, 0 for none; the least area of an object, 0 for any; the score with both.
    """
    known = [n for n, image in enumerate(images) if space.knows(image.truths(), number)]
    if not known:
        return 0, 0, 1.0
    images, masks = [images[n] for n in known], [masks[n] for n in known]
    # What is enclosed may be of another class; only background is filled.
    empty = [class_mask(space, image, (), 0).read if space.task == "multiclass" else None for image in images]
    hole = search_holes(space, images, masks, number, empty)
    filled = [fill_holes(mask, hole, nothing) for mask, nothing in zip(masks, empty, strict=True)]
    area, score = search_areas(space, images, filled, number)
    return hole, area, score


def class_mask(space: SearchSpace, image: HeldOutImage, thresholds: Sequence[float], number: int) -> Strips:
    """The predicted mask of one class of an image."""

    def read(first: int, last: int) -> np.ndarray:
        labels = metrics.predicted_labels(image.logits(first, last), space.task, thresholds)
        return labels == number if space.task == "multiclass" else labels[..., number] == 1

    return image.strips(read)


def search_holes(
    space: SearchSpace,
    images: Sequence[HeldOutImage],
    masks: Sequence[Strips],
    number: int,
    empty: Sequence[ReadRows | None],
) -> int:
    """Returns the largest area of holes to fill, 0 for none; of equally good ones the smallest."""
    tables = []
    for image, mask, nothing in zip(images, masks, empty, strict=True):
        tp, fp = (values[1:].sum() for values in object_sums(space, image, mask, number).sums)
        holes = object_sums(space, image, background(mask), number, nothing)
        inside = np.flatnonzero(holes.inside[1:]) + 1
        right, wrong = (values[inside] for values in holes.sums)
        tables.append((holes.areas[inside], right, wrong, tp, fp, class_pixels(space, image, number)))
    sizes = np.unique(np.concatenate([[0], *(areas for areas, *_ in tables)])).astype(np.int64)
    return best_size(space, sizes, [hole_counts(sizes, *table) for table in tables])[0]


def search_areas(
    space: SearchSpace, images: Sequence[HeldOutImage], masks: Sequence[Strips], number: int
) -> tuple[int, float]:
    """Returns the least area of objects that stay, 0 for all, and its score; of equally good ones the smallest."""
    tables = []
    for image, mask in zip(images, masks, strict=True):
        objects = object_sums(space, image, mask, number)
        right, wrong = objects.sums
        tables.append((objects.areas[1:], right[1:], wrong[1:], class_pixels(space, image, number)))
    sizes = np.unique(np.concatenate([[0], *(areas + 1 for areas, *_ in tables)])).astype(np.int64)
    return best_size(space, sizes, [area_counts(sizes, *table) for table in tables])


def object_sums(
    space: SearchSpace, image: HeldOutImage, mask: Strips, number: int, empty: ReadRows | None = None
) -> Components:
    """The components of a mask, with the numbers of right and of wrong pixels in each.

    Args:
        space: What is searched.
        image: The image.
        mask: The mask.
        number: The class that is right.
        empty: Where pixels count, `None` for everywhere.
    """

    def right(first: int, last: int) -> np.ndarray:
        found, _ = space.truth_of(image.truth(first, last), number)
        return found if empty is None else found & empty(first, last)

    def wrong(first: int, last: int) -> np.ndarray:
        found, valid = space.truth_of(image.truth(first, last), number)
        return valid & ~found if empty is None else valid & ~found & empty(first, last)

    return find_components(mask, values=[right, wrong])


def class_pixels(space: SearchSpace, image: HeldOutImage, number: int) -> int:
    """The number of true pixels of a class in an image."""
    return sum(int(np.count_nonzero(space.truth_of(labels, number)[0])) for labels, _ in image.rows())


def hole_counts(
    sizes: np.ndarray, areas: np.ndarray, right: np.ndarray, wrong: np.ndarray, tp: int, fp: int, present: int
) -> np.ndarray:
    """Counts `(sizes, 3)` of tp, fp, fn of an image whose holes of up to each size are filled."""
    order = np.argsort(areas)
    upto = np.searchsorted(areas[order], sizes, side="right")
    more, worse = (np.concatenate([[0], values[order].cumsum()])[upto] for values in (right, wrong))
    return np.stack([tp + more, fp + worse, present - tp - more], axis=-1)


def area_counts(sizes: np.ndarray, areas: np.ndarray, right: np.ndarray, wrong: np.ndarray, present: int) -> np.ndarray:
    """Counts `(sizes, 3)` of tp, fp, fn of an image without the objects that are smaller than each size."""
    order = np.argsort(areas)
    upto = np.searchsorted(areas[order], sizes, side="left")
    tp, fp = (values.sum() - np.concatenate([[0], values[order].cumsum()])[upto] for values in (right, wrong))
    return np.stack([tp, fp, present - tp], axis=-1)


def best_size(space: SearchSpace, sizes: np.ndarray, counts: Sequence[np.ndarray]) -> tuple[int, float]:
    """The smallest of the best sizes, and its score, from the counts `(sizes, 3)` of each image."""
    scores = space.score(np.stack(counts))
    best = np.flatnonzero(scores >= scores.max() - TIE)[0]
    return int(sizes[best]), float(scores[best])
