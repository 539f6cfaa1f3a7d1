"""Arrays resized linearly, pixels standing for their centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def resize(array: np.ndarray, size: Sequence[int], *, first_axis: int = 0, average: bool = True) -> np.ndarray:
    """Resizes consecutive axes of an array; positions beyond the outermost centres repeat the border.

    Args:
        array: Floating point array `(*spatial, channels)`, or with axes in front when `first_axis` says so.
        size: New length of each spatial axis.
        first_axis: Number of the first spatial axis: 1 for a batch.
        average: Average where an axis gets shorter, so that no pixel is passed over. Without, every new pixel lies
            between two old ones, as networks resize.

    Returns:
        An array of the same type.
    """
    for axis, new in enumerate(size, first_axis):
        old = array.shape[axis]
        if old == new:
            continue
        if average:
            array = np.moveaxis(np.tensordot(triangle_weights(old, new), array, (1, axis)), 0, axis)
        else:
            array = interpolate(array, axis, new)
    return array


def triangle_weights(old: int, new: int) -> np.ndarray:
    """Returns the weight of each old pixel in each new one, `(new, old)`: triangles as wide as the larger pixel."""
    ratio = old / new
    centres = (np.arange(new) + 0.5) * ratio - 0.5
    weights = np.clip(1 - np.abs(np.arange(old) - centres[:, None]) / max(1, ratio), 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def interpolate(array: np.ndarray, axis: int, new: int) -> np.ndarray:
    """Resizes one axis: every new pixel is between the two old ones whose centres are next to its own."""
    old = array.shape[axis]
    position = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
    first = np.floor(position).astype(np.intp)
    fraction = np.expand_dims(position - first, tuple(range(1, array.ndim - axis))).astype(array.dtype)
    below = np.take(array, first, axis)
    above = np.take(array, np.minimum(first + 1, old - 1), axis)
    return below + fraction * (above - below)
