"""Operations on images in a TensorFlow graph, written so that every runtime computes them alike.

Sizes are numbers where the graph has one size, else scalars of the graph. Divisions are of positive whole numbers, on
which all runtimes agree.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from .. import data
from ..inference.tta import TTATransform

# A whole number, or a scalar of the graph: TensorFlow adds the operators of its tensors where no type checker sees it.
Size: TypeAlias = Any
# A tensor, for the same reason.
Tensor: TypeAlias = Any


def sizes_of(images: Tensor) -> list[Size]:
    """The spatial sizes of images `(batch, *size, channels)`."""
    known, found = images.shape[1:-1], tf.shape(images)
    return [found[axis] if size is None else size for axis, size in enumerate(known, start=1)]


def round_up(size: Size, multiple: int, remainder: int = 0) -> Size:
    """The next `multiple * k + remainder` from `size` on, which is at least the remainder."""
    return size + (multiple - (size - remainder) % multiple) % multiple


def larger(one: Size, other: Size) -> Size:
    """The larger of two sizes."""
    return tf.maximum(one, other) if tf.is_tensor(one) or tf.is_tensor(other) else max(one, other)


def smaller(one: Size, other: Size) -> Size:
    """The smaller of two sizes."""
    return -larger(-one, -other)


def largest(sizes: Sequence[Size]) -> Size:
    """The largest of several sizes."""
    found = sizes[0]
    for size in sizes[1:]:
        found = larger(found, size)
    return found


def product(sizes: Iterable[Size]) -> Size:
    """The product as a floating-point number: that of a large volume does not fit 32 bits."""
    total = 1.0
    for size in sizes:
        total = total * (tf.cast(size, tf.float32) if tf.is_tensor(size) else float(size))
    return total


def choose(condition: Size, one: Size, other: Size) -> Size:
    """One size if a condition holds, else the other; the condition is a boolean or a scalar of the graph."""
    return tf.where(condition, one, other) if tf.is_tensor(condition) else (one if condition else other)


def scale_size(size: Size, scale: float) -> Size:
    """The nearest whole number to `size * scale`, half to even, at least 1."""
    if tf.is_tensor(size):
        return larger(1, tf.cast(tf.round(tf.cast(size, tf.float32) * scale), tf.int32))
    return max(1, round(size * scale))


def mirrored(images: Tensor, before: Sequence[Size], size: Sequence[Size]) -> Tensor:
    """Cuts a region out of the plane that images fill with their mirror images.

    Args:
        images: `(batch, *size, channels)`.
        before: Pixels of the region that lie before the image, per axis.
        size: Pixels of the region, per axis.
    """
    for axis, (first, length, own) in enumerate(zip(before, size, sizes_of(images), strict=True), start=1):
        if any(map(tf.is_tensor, (first, length, own))):
            period = larger(2 * (own - 1), 1)
            # Whole periods keep it positive.
            position = (tf.range(length) + (period - first % period)) % period
            index = tf.minimum(position, period - position)
            index = tf.minimum(index, own - 1)
        else:
            index = data.windows.mirrored(-first, length, own)
        images = tf.gather(images, index, axis=axis)
    return images


def resized(images: Tensor, size: Sequence[Size]) -> Tensor:
    """Resizes images `(batch, *size, channels)` linearly, as `predict` does, in whole numbers as far as possible."""
    for axis, (old, new) in enumerate(zip(sizes_of(images), size, strict=True), start=1):
        place = tf.clip_by_value((2 * tf.range(new) + 1) * old - new, 0, 2 * new * (old - 1))
        first = place // (2 * new)
        fraction = tf.cast(place % (2 * new), tf.float32) / tf.cast(2 * new, tf.float32)
        fraction = tf.reshape(fraction, (-1, *(1,) * (len(images.shape) - axis - 1)))
        second = tf.gather(images, tf.minimum(first + 1, old - 1), axis=axis)
        images = tf.gather(images, first, axis=axis)
        images += fraction * (second - images)
    return images


def oriented(images: Tensor, transform: TTATransform) -> Tensor:
    """Brings images `(batch, *size, channels)` into the orientation of a transform."""
    if transform.transposes:
        images = tf.transpose(images, (0, *(1 + axis for axis in transform.axes), len(transform.axes) + 1))
    return _flipped(images, transform)


def oriented_back(images: Tensor, transform: TTATransform) -> Tensor:
    """Undoes `oriented`."""
    images = _flipped(images, transform)
    return (
        tf.transpose(images, (0, *(1 + np.argsort(transform.axes)), len(transform.axes) + 1))
        if transform.transposes
        else images
    )


def _flipped(images: Tensor, transform: TTATransform) -> Tensor:
    axes = [1 + axis for axis, flip in enumerate(transform.flipped) if flip]
    return tf.reverse(images, axes) if axes else images
