"""What is done to a decided mask: holes, small objects, touching objects; in strips, so that seams do not matter.

A mask is read strip by strip along its first axis. Objects are joined over the borders of strips before anything is
decided about them, so that the result is that of the whole mask for any height of the strips. Memory holds one strip,
and some bytes for each object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from .components import keep_largest, remove_small
from .holes import fill_holes
from .strips import ReadRows, Strips, strip_height
from .watershed import split_touching

Number = TypeVar("Number", int, float)


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

    def __bool__(self) -> bool:
        return bool(any(self.holes) or self.watershed or any(self.minimum_area) or self.largest)

    def scaled(self, growth: float, axes: int) -> Cleaning:
        """Returns the same for a mask with more or fewer pixels.

        Args:
            growth: How many of its pixels one stands for.
            axes: Number of spatial axes.
        """
        if growth == 1:
            return self
        return replace(
            self,
            holes=tuple(size * growth for size in self.holes),
            watershed=self.watershed * growth ** (1 / axes),
            minimum_area=tuple(math.ceil(size * growth) for size in self.minimum_area),
        )

    def __str__(self) -> str:
        def numbers(values: Sequence[float]) -> str:
            return ", ".join("any number of" if value == math.inf else f"{value:g}" for value in values)

        parts = [
            bool(any(self.holes)) and f"holes filled up to {numbers(self.holes)} pixels",
            self.watershed > 0 and f"objects split whose centres are {self.watershed:g} pixels apart",
            any(self.minimum_area) and f"objects kept from {numbers(self.minimum_area)} pixels",
            self.largest and "only the largest object kept",
        ]
        return "; ".join(part for part in parts if isinstance(part, str))


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


def per_class(size: Number | Sequence[Number] | None, classes: int) -> tuple[Number, ...]:
    """A size for each class, from one for all classes or `None` for 0."""
    return tuple(size) if isinstance(size, Sequence) else (size or 0,) * classes


def clean(strips: Strips, cleaning: Cleaning, number: int = 0, empty: ReadRows | None = None) -> Strips:
    """Does to the mask of one class what a `Cleaning` says.

    Args:
        strips: The mask.
        cleaning: What is done.
        number: Number of the class.
        empty: See `holes.fill_holes`.
    """
    strips = fill_holes(strips, cleaning.holes[number], empty)
    if cleaning.watershed:
        strips = split_touching(strips, cleaning.watershed, cleaning.connectivity)
    strips = remove_small(strips, cleaning.minimum_area[number], cleaning.connectivity)
    return keep_largest(strips, cleaning.connectivity) if cleaning.largest else strips


def clean_labels(
    read: ReadRows, shape: tuple[int, ...], cleaning: Cleaning, task: str, height: int | None = None
) -> ReadRows:
    """Cleans a decided mask of all classes.

    Of a class map, holes are filled where they are background, and removed objects become background.

    Args:
        read: Function from the first row and the row behind the last one to `uint8` labels: class ids `(rows,
            *shape[1:])` in a multiclass task, else `(rows, *shape[1:], classes)` in {0, 1}.
        shape: Spatial sizes.
        cleaning: What is done.
        task: `binary`, `multilabel` or `multiclass`.
        height: Rows of a strip; by default some millions of pixels.

    Returns:
        A function like `read`. The passes over the mask that it takes to find all objects are done when it is made.
    """
    height = height or strip_height(shape)
    numbers = range(len(cleaning.holes))
    if task != "multiclass":
        bands = [
            clean(Strips(shape, height, lambda first, last, n=number: read(first, last)[..., n] > 0), cleaning, number)
            for number in numbers
        ]
        return lambda first, last: np.stack([band.read(first, last) for band in bands], axis=-1).astype(np.uint8)

    def empty(first: int, last: int) -> np.ndarray:
        return read(first, last) == 0

    masks = [
        clean(Strips(shape, height, lambda first, last, n=number: read(first, last) == n), cleaning, number, empty)
        for number in numbers[1:]
    ]

    def read_clean(first: int, last: int) -> np.ndarray:
        labels = np.zeros((last - first, *shape[1:]), np.uint8)
        for number, mask in enumerate(masks, start=1):
            labels[mask.read(first, last) & (labels == 0)] = number
        return labels

    return read_clean
