"""Images whose values are another thing than those of the others, though their type is the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .value_range import LARGEST_RATIO, ValueRange

# What missing pixels are often marked with, by programs that do not declare it.
MARKS = (-9999.0, -99999.0, -32768.0, -32767.0, 1e20, 9.969209968386869e36)
# By how much of the whole range values are shifted, where those of others go below 0 and these do not.
SHIFT = 0.25


def usual_range(ranges: Sequence[ValueRange]) -> ValueRange:
    """Returns the range that most of some images have: the medians of theirs."""
    dtypes = tuple(sorted({dtype for own in ranges for dtype in own.dtypes}))
    low, high = np.median([(own.low, own.high) for own in ranges], axis=0)
    return ValueRange(dtypes, float(low), float(high))


def unlike(own: ValueRange, usual: ValueRange) -> str | None:
    """Says how the values of an image differ from those of others of its type; `None` if they can be the same thing.

    Args:
        own: The values of the image.
        usual: Those of the others.
    """
    found = f"{own.low:g} to {own.high:g}, not {usual.low:g} to {usual.high:g}"
    sizes = own.magnitude, usual.magnitude
    if min(sizes) and max(sizes) > LARGEST_RATIO * min(sizes):
        return f"values of another scale: {found}"
    if min(sizes) and own.is_fraction != usual.is_fraction and max(sizes) > 8:
        return f"values of another scale: {found}"
    first, second = sorted((own.low, usual.low))
    if first < 0 <= second and second - first > SHIFT * max(usual.high - usual.low, own.high - own.low):
        return f"values that may be shifted: {found}"
    return None


def marked_missing(own: ValueRange) -> str | None:
    """Says which value looks like a mark of missing pixels that the file does not declare; `None` without one."""
    mark = next((mark for mark in MARKS if np.float32(mark) in (np.float32(own.low), np.float32(own.high))), None)
    if mark is None:
        return None
    return f"{mark:g}, which marks missing pixels in many files; they are left out if the file declares it as nodata"
