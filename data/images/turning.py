"""Images whose axes are swapped or run the other way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..windows import Window
from .source import Level, Source
from .wrapped_source import ReadPart, WrappedSource


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


class TurnedSource(WrappedSource):
    """Reads an image with other axes: see `Turn`.

    Args:
        source: The image.
        turn: Its new axes.
    """

    def __init__(self, source: Source, turn: Turn) -> None:
        super().__init__(source)
        self.turn = turn
        self.shape = tuple(source.shape[axis] for axis in turn.axes)
        self.frame = source.frame.turned(turn.axes, turn.flips)

    @property
    def own(self) -> Source | None:
        """The same image on the grid of its file."""
        return self.source.own or self.source

    @property
    def levels(self) -> list[Level]:
        """Shape and downsample of the levels that the file holds, the finest first."""
        return [(tuple(shape[axis] for axis in self.turn.axes), downsample) for shape, downsample in self.source.levels]

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        return np.ascontiguousarray(self.turn(self.source.read(self.turn.old_window(window, self.shape))))

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds: see `Source.valid`."""
        found = self.source.valid(self.turn.old_window(window, self.shape))
        return None if found is None else self.turn(found)

    def thumbnail(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Returns the whole image `(*shape, channels)` from the overviews of its file; `None` where it has none."""
        found = self.source.thumbnail(tuple(shape[axis] for axis in self.turn.inverse.axes))
        return None if found is None else np.ascontiguousarray(self.turn(found))

    def taken_back(self, read: ReadPart) -> ReadPart:
        """Returns a function like `read`, whose values lie on this grid, to the same values on that of `source`."""
        back, shape = self.turn.inverse, self.source.shape

        def read_back(window: Window) -> np.ndarray:
            return back(read(back.old_window(window, shape)))

        return read_back
