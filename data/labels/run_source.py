"""Windows of run-length labels, read without ever holding the mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..images.reading import read_mirrored
from ..images.source import Frame, Source
from ..windows import Window


class RunSource(Source):
    """Reads windows of run-length labels without ever holding the mask.

    Args:
        name: What to call the label in messages.
        shape: Rows and columns.
        runs: List of runs per band, each an array of `(start, stop)`, the first pixel 0; they may overlap.
        column_major: Pixels are counted down the columns.

    Attributes:
        runs: The runs of each band, sorted by where they start.
        column_major: Pixels are counted down the columns.
    """

    def __init__(self, name: str, shape: Sequence[int], runs: Sequence[np.ndarray], column_major: bool = True) -> None:
        self.path = None
        self.name = name
        self.shape = tuple(shape)
        self.channels = len(runs)
        self.dtype = np.dtype(np.uint8)
        self.frame = Frame(self.shape)
        self.column_major = column_major
        self.runs = [np.ascontiguousarray(band[np.argsort(band[:, 0], kind="stable")]) for band in runs]
        # The furthest end up to each run, so that the runs that reach into a window are found by bisection.
        self._reach = [np.maximum.accumulate(band[:, 1]) for band in self.runs]

    @property
    def line(self) -> int:
        """Pixels of a line that is counted through: of a column, or of a row."""
        return self.shape[0 if self.column_major else 1]

    def read(self, window: Window) -> np.ndarray:
        """Returns the label of a window as `uint8` `(*size, bands)`, mirrored outside the image."""
        return read_mirrored(self, window, self._read)

    def _read(self, window: Window) -> np.ndarray:
        bands = [self._burn(window, runs, reach) for runs, reach in zip(self.runs, self._reach, strict=True)]
        return np.stack(bands, axis=-1)

    def _burn(self, window: Window, runs: np.ndarray, reach: np.ndarray) -> np.ndarray:
        along, across = (0, 1) if self.column_major else (1, 0)
        length = self.shape[along]
        first, last = window.offset[across], window.stop[across]
        begin, end = np.searchsorted(reach, first * length, "right"), np.searchsorted(runs[:, 0], last * length)
        starts, stops = runs[begin:end].T
        # A run that passes the end of a line continues in the next: one piece per line that the window shows.
        line, last_line = np.maximum(starts // length, first), np.minimum((stops - 1) // length, last - 1)
        pieces = np.maximum(last_line - line + 1, 0) * (stops > starts)
        which = np.repeat(np.arange(len(pieces)), pieces)
        line = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + line[which]
        size, before = window.size[along], window.offset[along]
        low = np.clip(starts[which] - line * length, 0, length) - before
        high = np.clip(stops[which] - line * length, 0, length) - before
        edges = np.zeros((window.size[across], size + 1), np.int32)
        np.add.at(edges, (line - first, np.clip(low, 0, size)), 1)
        np.add.at(edges, (line - first, np.clip(high, 0, size)), -1)
        inside = (np.cumsum(edges[:, :-1], axis=1) > 0).astype(np.uint8)
        return inside.T if self.column_major else inside
