"""Labels that are not there everywhere, as a mask beside them or NaN says: such pixels do not count."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..images.source import Source, is_label_value
from ..images.wrapped_source import WrappedSource
from ..windows import Window
from .values import UNKNOWN_CLASS, label_values, unresampled


class MaskedLabelSource(WrappedSource):
    """Reads a label with -1, its nodata value, where the file says that it holds none, `int32` `(*size, bands)`.

    Args:
        source: The label.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.dtype, self.nodata, self.palette_colors = np.dtype(np.int32), float(UNKNOWN_CLASS), None

    def read(self, window: Window) -> np.ndarray:
        """Returns the label of a window as `int32` `(*size, bands)`."""
        values = label_values(self.source, window, range(self.channels)).astype(np.int32)
        valid = self.source.valid(window)
        if valid is not None:
            values[~valid] = UNKNOWN_CLASS
        return values


def missing_values(labels: Iterable[Source]) -> set[int]:
    """Returns the value that labels have where a mask or NaN says that they hold none; nothing if all hold all."""
    return {UNKNOWN_CLASS for label in labels if isinstance(unresampled(label), MaskedLabelSource)}


def with_missing(source: Source) -> Source:
    """Returns a label whose missing pixels have a value of their own; itself if it holds all of them, or says so."""
    is_said = source.nodata is not None and is_label_value(source.nodata)
    first = Window((0,) * len(source.shape), (1,) * len(source.shape))
    if is_said or "alpha" in source.roles or source.valid(first) is None:
        return source
    return MaskedLabelSource(source)
