"""A box of an image, read as an image of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..windows import Halo, Window, halo_pairs
from .reading import read_mirrored_box
from .source import Level, Source
from .wrapped_source import WrappedSource


class CroppedSource(WrappedSource):
    """Reads a box of an image as an image of its own, mirrored at its borders like any other.

    Args:
        source: The image.
        box: The box, inside the image.
        context: Pixels around the box that are shown as they are when a window reaches beyond it, which is mirrored
            behind them: one number for all sides, or per axis a number or a pair (before, after).
    """

    def __init__(self, source: Source, box: Window, context: Halo = 0) -> None:
        super().__init__(source)
        self.box, self.context = box, halo_pairs(context, box.ndim)
        self.shape, self.frame = box.size, source.frame.cropped(box)
        ends = (f"{start} to {stop}" for start, stop in zip(box.offset, box.stop, strict=True))
        self.notes = (*source.notes, f"pixels {', '.join(ends)} of {' x '.join(map(str, source.shape))}")
        # What is read at most: the box and the context, as far as the image has it.
        self._seen = box.padded(self.context).within(source.shape)

    @property
    def own(self) -> Source | None:
        """`None`: the box is its own grid."""
        return None

    @property
    def levels(self) -> list[Level]:
        """The shape of the box: only one level of it is read."""
        return [(self.shape, 1.0)]

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside box and context."""
        return self._mirrored(window, self.source.read)

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds: see `Source.valid`."""
        first = Window((0,) * len(self.shape), (1,) * len(self.shape))
        if self.source.valid(first) is None:
            return None

        def held(part: Window) -> np.ndarray:
            found = self.source.valid(part)
            return np.ones((*part.size, self.channels), bool) if found is None else found

        return self._mirrored(window, held)

    def thumbnail(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Returns the whole box `(*shape, channels)` from the overviews of the file; `None` where it has none."""
        steps = [length / small for length, small in zip(self.shape, shape, strict=True)]
        whole = tuple(max(1, round(n / step)) for n, step in zip(self.source.shape, steps, strict=True))
        found = self.source.thumbnail(whole)
        if found is None:
            return None
        first = [round(start / step) for start, step in zip(self.box.offset, steps, strict=True)]
        part = found[tuple(slice(start, start + n) for start, n in zip(first, shape, strict=True))]
        return part if part.shape[:-1] == tuple(shape) else None

    def _mirrored(self, window: Window, read: Callable[[Window], np.ndarray]) -> np.ndarray:
        """Returns what a function reads of the image in a window of the box."""
        place = window.moved([b - s for b, s in zip(self.box.offset, self._seen.offset, strict=True)])
        seen = self._seen
        return read_mirrored_box(self.name, seen.size, place, lambda part: read(part.moved(seen.offset)))


def beneath(source: Source, change: Callable[[Source], Source]) -> Source:
    """Returns a changed source; of a box, the box of the changed image, which is measured as a whole."""
    if not isinstance(source, CroppedSource):
        return change(source)
    return CroppedSource(change(source.source), source.box, source.context)


def whole(source: Source) -> Source:
    """Returns the image that a box was cut from, or the source itself."""
    return source.source if isinstance(source, CroppedSource) else source
