"""Images shown otherwise than their files store them: what a wrapper does not change is that of what it wraps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..windows import Window
from .source import Level, Source

# From a window inside an image to its values `(*size, channels)`.
ReadPart = Callable[[Window], np.ndarray]


class WrappedSource(Source):
    """Shows another source; subclasses change what they are about.

    Args:
        source: What is shown.

    Attributes:
        source: The same.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.path, self.name, self.frame = source.path, source.name, source.frame
        self.shape, self.channels, self.dtype = source.shape, source.channels, source.dtype
        self.roles, self.palette_colors, self.notes = source.roles, source.palette_colors, source.notes
        self.nodata, self.value_step, self.bits = source.nodata, source.value_step, source.bits
        self.band_names = source.band_names

    @property
    def files(self) -> list[Path]:
        """The files that the values come from."""
        return self.source.files

    @property
    def own(self) -> Source | None:
        """The same image on the grid of its file, where results belong; `None` if this is that grid."""
        return self.source.own

    @property
    def levels(self) -> list[Level]:
        """Shape and downsample of the levels that the file holds, the finest first."""
        return self.source.levels

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds: see `Source.valid`."""
        return self.source.valid(window)

    def taken_back(self, read: ReadPart) -> ReadPart:
        """Returns a function like `read`, whose values lie on this grid, to the same values on that of `source`."""
        return read

    def close(self) -> None:
        """Closes what this process holds open of the file."""
        self.source.close()
