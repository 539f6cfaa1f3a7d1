"""Masks that are read in strips along their first axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from maskzoo.errors import OptionError

# Pixels of one strip.
STRIP_PIXELS = 1 << 22

# From the first row and the row behind the last one to the rows between, `(rows, *shape[1:])`.
ReadRows = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Strips:
    """A mask that is read in strips along its first axis.

    Attributes:
        shape: Spatial sizes.
        height: Rows of one strip; the last may have fewer.
        read: Function from the first row and the row behind the last one to `(rows, *shape[1:])`, bool.

    Raises:
        OptionError: If a size is below 1.
    """

    shape: tuple[int, ...]
    height: int
    read: ReadRows

    def __post_init__(self) -> None:
        if self.height < 1 or min(self.shape) < 1:
            raise OptionError("strips", "sizes of at least 1", f"{self.shape} in strips of {self.height}")

    @property
    def borders(self) -> list[tuple[int, int]]:
        """The first row of every strip and the row behind its last one."""
        return [(first, min(first + self.height, self.shape[0])) for first in range(0, self.shape[0], self.height)]


def array_strips(mask: ArrayLike, height: int | None = None) -> Strips:
    """Returns the strips of an array in memory, or of a memory map."""
    array = np.asanyarray(mask)
    height = height or strip_height(array.shape)
    return Strips(array.shape, height, lambda first, last: np.asarray(array[first:last]).astype(bool))


def strip_height(shape: tuple[int, ...]) -> int:
    """Returns the rows of a strip of some millions of pixels."""
    return max(1, min(shape[0], STRIP_PIXELS // math.prod(shape[1:])))


def background(strips: Strips) -> Strips:
    """Returns the mask of all other pixels."""
    return replace(strips, read=lambda first, last: ~strips.read(first, last))


def rows_of(strips: Strips, read_strip: Callable[[int], np.ndarray], first: int, last: int) -> np.ndarray:
    """Rows of a mask of which whole strips can be read, by their numbers."""
    numbers = range(first // strips.height, -(-last // strips.height))
    rows = np.concatenate([read_strip(number) for number in numbers])
    start = numbers[0] * strips.height
    return rows[first - start : last - start]
