"""Pixels that an image lacks (nodata, masked, transparent) are of no class, and are lacking in the result too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import data

# The value of lacking pixels in files of class ids, where labels have pixels that do not count.
MISSING = 255

# From a window and the number of a band to the values in the window, an array of its size.
ReadBand = Callable[[data.Window, int], np.ndarray]


def missing_value(probabilities: str | None) -> float | None:
    """Returns the value that stands for lacking pixels in a file of results; `None` if there is none to spare.

    Args:
        probabilities: `None` for class ids, else the type of the probabilities.
    """
    return {None: MISSING, "float32": float("nan")}.get(probabilities)


def with_missing(read: ReadBand, source: data.Source, value: float) -> ReadBand:
    """Returns a function like `read` whose values are another one where an image lacks all channels of a pixel.

    Args:
        read: The values.
        source: The image, of the same size.
        value: What lacking pixels are.
    """
    if not data.lacks_pixels(source):
        return read

    def values(window: data.Window, band: int) -> np.ndarray:
        found, held = read(window, band), data.held_pixels(source, window)
        return found if held is None else np.where(held, found, np.asarray(value, found.dtype))

    return values
