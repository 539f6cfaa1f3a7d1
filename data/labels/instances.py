"""Labels that number objects: read as one class, or as the numbers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maskzoo.errors import LabelError, MaskzooError

from ..images.source import Source
from ..images.statistics import measured_windows
from ..images.wrapped_source import WrappedSource
from ..windows import Window
from .values import bands_are_equal, label_values

# Numbers above that are of objects, not of classes.
MOST_CLASSES = 64
FEWEST_OBJECTS = 8
EXAMINED_LABELS, EXAMINED_PIXELS = 32, 1 << 22
# Connected parts per number up to which each number may be an object.
PARTS_PER_OBJECT = 1.2


class InstanceSource(WrappedSource):
    """Reads a label whose values number objects as one class: 1 inside objects, 0 outside.

    Args:
        source: The label image.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.dtype, self.channels = np.dtype(np.uint8), 1
        self.roles, self.palette_colors, self.nodata, self.value_step = (), None, None, 0.0
        self._type = np.dtype(np.uint16 if source.dtype.itemsize <= 2 else np.uint32)

    def read_instances(self, window: Window) -> np.ndarray:
        """Returns the number of the object at every pixel of a window, `uint16` or `uint32` `(*size,)`, 0 outside.

        Raises:
            LabelError: If a number is negative or too large.
        """
        numbers = label_values(self.source, window)
        largest = np.iinfo(self._type).max
        if numbers.min() < 0 or numbers.max() > largest:
            wrong = numbers.min() if numbers.min() < 0 else numbers.max()
            raise LabelError(self.name, f"object numbers from 0 to {largest}", wrong)
        return numbers.astype(self._type)

    def read(self, window: Window) -> np.ndarray:
        """Returns 1 inside the objects of a window and 0 outside, `uint8` `(*size, 1)`."""
        return (self.read_instances(window) > 0).astype(np.uint8)[..., None]


def numbers_objects(sources: Sequence[Source]) -> bool:
    """Says whether label images number objects: many numbers, each of them one connected part of an image.

    Numbers as small as those of classes are taken for objects if those of every image are 1, 2, 3, ... up to another
    number, 8 or more in one image at least; or if no number occurs in two images. Labels without any 0 number none.

    Args:
        sources: Label images, of which some, spread over all, are read.
    """
    chosen = np.unique(np.linspace(0, len(sources) - 1, min(len(sources), EXAMINED_LABELS)).round().astype(int))
    numbers, every, ids, parts, has_background = [], set(), 0, 0, False
    for index in chosen:
        try:
            found = object_counts(sources[int(index)])
        except MaskzooError:
            continue
        if found is None:
            return False
        values, more_ids, more_parts = found
        has_background |= 0 in values
        values -= {0}
        numbers.append(values)
        every |= values
        ids, parts = ids + more_ids, parts + more_parts
    if not has_background or len(every) < FEWEST_OBJECTS or parts > PARTS_PER_OBJECT * ids:
        return False
    counted_up = all(values == set(range(1, len(values) + 1)) for values in numbers)
    most = max(map(len, numbers))
    differ = len({len(values) for values in numbers}) > 1 and counted_up and most >= FEWEST_OBJECTS
    only_once = sum(map(len, numbers)) == len(every) and sum(len(values) > 2 for values in numbers) > 1
    return differ or only_once or (max(every) >= MOST_CLASSES and most > 2)


def object_counts(source: Source) -> tuple[set[int], int, int] | None:
    """Returns the numbers of a label, how many above 0 there are per window, and of how many connected parts.

    `None` if they cannot number objects: bands that differ, values that are negative or not whole.
    """
    from skimage.measure import label

    every: set[int] = set()
    ids = parts = 0
    for window in measured_windows(source.shape, EXAMINED_PIXELS):
        try:
            array = label_values(source, window, range(source.channels))
        except LabelError:
            return None
        if not bands_are_equal(array) or array.min() < 0:
            return None
        values = set(np.unique(array).tolist())
        every |= values
        if values - {0}:
            connected: Any = label(array[..., 0], background=0)
            ids, parts = ids + len(values - {0}), parts + int(connected.max())
        if parts > 4 * max(ids, FEWEST_OBJECTS):
            return every, ids, parts
    return every, ids, parts
