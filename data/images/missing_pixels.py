"""Pixels that an image lacks: those whose values are all nodata, under a mask, or transparent."""

from __future__ import annotations

import numpy as np

from ..windows import Window
from .source import Source


def lacks_pixels(source: Source) -> bool:
    """Says whether an image may lack pixels."""
    return source.valid(Window((0,) * len(source.shape), (1,) * len(source.shape))) is not None


def held_pixels(source: Source, window: Window) -> np.ndarray | None:
    """Returns which pixels of a window an image holds, boolean `(*size,)`; `None` where it lacks none.

    A pixel is held if the image has a value for one of its channels.
    """
    valid = source.valid(window)
    return None if valid is None or valid.all() else np.asarray(valid.any(axis=-1))
