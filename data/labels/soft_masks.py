"""Masks of black and white with soft edges, as smoothing, scaling and JPEG leave them: read as what is nearer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskzoo.errors import MaskzooError

from ..images.source import Source
from ..images.statistics import measured_windows
from ..images.wrapped_source import WrappedSource
from ..windows import Window
from .values import bands_are_equal, label_values

EXAMINED_PIXELS = 1 << 24
HALF = 128
# Up to which grey is black, and from which it is white.
BLACK, WHITE = 31, 224
# Of edges: how many values there are at least, and how many grey pixels for each white one at most.
FEWEST_VALUES, GREY_SHARE = 8, 1.0
# How much of what is black, and of what is white, has one value.
MOST_FREQUENT = 0.3


class SoftMaskSource(WrappedSource):
    """Reads a mask of black, white and greys between as 1 where it is nearer to white, `uint8` `(*size, 1)`.

    Args:
        source: The label.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.channels = 1
        self.roles, self.palette_colors, self.nodata = (), None, None

    def read(self, window: Window) -> np.ndarray:
        """Returns the mask of a window as `uint8` `(*size, 1)`.

        Raises:
            LabelError: If bands differ.
        """
        return (label_values(self.source, window)[..., None] >= HALF).astype(np.uint8)


def are_soft_masks(sources: Sequence[Source]) -> bool:
    """Says whether label images are black and white but for the greys of soft edges.

    There are many values, but one of black and one of white prevails; greys cover less than what is white, and
    none of them is most of them.

    Args:
        sources: The labels of a data set.
    """
    counts = np.zeros(256, np.int64)
    for source in sources:
        if source.dtype != np.uint8 or source.palette_colors is not None:
            return False
        for window in measured_windows(source.shape, max(EXAMINED_PIXELS // len(sources), 1 << 16)):
            try:
                array = source.read(window)
            except MaskzooError:
                continue
            if not bands_are_equal(array):
                return False
            counts += np.bincount(array[..., 0].ravel(), minlength=256)
    black, greys, white = counts[: BLACK + 1], counts[BLACK + 1 : WHITE], counts[WHITE:]
    if np.count_nonzero(counts[1:255]) < FEWEST_VALUES or not white.any() or greys.sum() > GREY_SHARE * white.sum():
        return False
    prevail = all(part.max() >= MOST_FREQUENT * part.sum() for part in (black, white))
    return bool(prevail and greys.max() <= max(greys.sum() / 2, 1))
