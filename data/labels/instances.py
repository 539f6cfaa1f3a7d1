"""Labels that number objects: read as one class, or as the numbers themselves."""

from __future__ import annotations

import numpy as np

from maskzoo.errors import LabelError

from ..images.source import Frame, Source
from ..windows import Window
from .values import label_values


class InstanceSource(Source):
    """Reads a label whose values number objects as one class: 1 inside objects, 0 outside.

    Args:
        source: The label image.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.path, self.name, self.shape = source.path, source.name, source.shape
        self.dtype = np.dtype(np.uint8)
        self.channels = 1
        self.frame = Frame(self.shape)
        self._type = np.dtype(np.uint16 if source.dtype.itemsize <= 2 else np.uint32)

    def read_instances(self, window: Window) -> np.ndarray:
        """Returns the number of the object at every pixel of a window, `uint16` or `uint32` `(*size,)`, 0 outside.

        Raises:
            LabelError: If a number is negative or too large.
        """
        numbers = label_values(self._source, window)
        largest = np.iinfo(self._type).max
        if numbers.min() < 0 or numbers.max() > largest:
            wrong = numbers.min() if numbers.min() < 0 else numbers.max()
            raise LabelError(self.name, f"object numbers from 0 to {largest}", wrong)
        return numbers.astype(self._type)

    def read(self, window: Window) -> np.ndarray:
        """Returns 1 inside the objects of a window and 0 outside, `uint8` `(*size, 1)`."""
        return (self.read_instances(window) > 0).astype(np.uint8)[..., None]
