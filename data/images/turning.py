"""Images whose axes are swapped or run the other way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..windows import Window
from .source import Source

# From a window inside an image to its values `(*size, channels)`.
ReadPart = Callable[[Window], np.ndarray]


@dataclass(frozen=True)
class Turn:
    """Which axes an image gets.

    Attributes:
        axes: For each new axis the number of the old one.
        flips: For each new axis whether it runs against the old one.
    """

    axes: tuple[int, ...]
    flips: tuple[bool, ...]

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.axes == tuple(range(len(self.axes))) and not any(self.flips)

    @property
    def inverse(self) -> Turn:
        """The turn back."""
        axes = tuple(self.axes.index(old) for old in range(len(self.axes)))
        return Turn(axes, tuple(self.flips[new] for new in axes))

    def old_window(self, window: Window, shape: Sequence[int]) -> Window:
        """Returns where a window of the new image lies in the old one.

        Args:
            window: A window of the new image, or reaching outside of it.
            shape: Shape of the new image.
        """
        offset, size = [0] * window.ndim, [0] * window.ndim
        for new, (old, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            offset[old] = shape[new] - window.stop[new] if flip else window.offset[new]
            size[old] = window.size[new]
        return Window(tuple(offset), tuple(size))

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Returns an array `(*spatial, ...)` of the old image with the new axes, as a view."""
        array = array.transpose(*self.axes, *range(len(self.axes), array.ndim))
        return array[tuple(slice(None, None, -1 if flip else None) for flip in self.flips)]


class TurnedSource(Source):
    """Reads an image with other axes: see `Turn`.

    Args:
        source: The image.
        turn: Its new axes.
    """

    def __init__(self, source: Source, turn: Turn) -> None:
        self._source, self.turn = source, turn
        self.path, self.name, self.dtype, self.channels = source.path, source.name, source.dtype, source.channels
        self.shape = tuple(source.shape[axis] for axis in turn.axes)
        self.frame = source.frame.turned(turn.axes, turn.flips)
        self.roles, self.palette_colors = source.roles, source.palette_colors
        self.nodata, self.value_step, self.bits = source.nodata, source.value_step, source.bits
        self.notes = source.notes

    @property
    def source(self) -> Source:
        """What is turned."""
        return self._source

    @property
    def files(self) -> list[Path]:
        """The files that the values come from."""
        return self._source.files

    @property
    def own(self) -> Source:
        """The same image on the grid of its file."""
        return self._source.own or self._source

    def close(self) -> None:
        """Closes what this process holds open of the file."""
        self._source.close()

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        return np.ascontiguousarray(self.turn(self._source.read(self.turn.old_window(window, self.shape))))

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds: see `Source.valid`."""
        found = self._source.valid(self.turn.old_window(window, self.shape))
        return None if found is None else self.turn(found)

    def taken_back(self, read: ReadPart) -> ReadPart:
        """Returns a function like `read`, whose values lie on this grid, to the same values on that of `source`."""
        back, shape = self.turn.inverse, self._source.shape

        def read_back(window: Window) -> np.ndarray:
            return back(read(back.old_window(window, shape)))

        return read_back
