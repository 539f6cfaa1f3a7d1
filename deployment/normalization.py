"""Normalisation of raw images in a TensorFlow graph, as `data.Normalizer` does it outside."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import tensorflow as tf

from .tensors import Tensor, sizes_of, smaller


# The values are those of a run's data.json: words and numbers.
def normalized(images: Tensor, normalization: Mapping[str, Any]) -> Tensor:
    """Returns raw images `(batch, *size, channels)` as normalised float32.

    Args:
        images: Raw pixels. Kinds of normalisation that measure an image measure each of the batch on its own.
        normalization: As in the run's `data.json`.
    """
    kind = normalization["kind"]
    pixels = tf.cast(images, tf.float32)
    if kind == "none":
        largest = {tf.uint8: 255, tf.uint16: 65535}.get(images.dtype, 1)
        return pixels * np.float32(1 / largest)
    if kind == "percentile":
        low, high = percentiles(pixels, (normalization["low"], normalization["high"]))
        span = tf.where(high > low, high - low, tf.ones_like(low))
        return tf.clip_by_value((pixels - low) / span, 0, 1)
    if kind == "image":
        mean = spatial_mean(pixels)
        std = tf.sqrt(spatial_mean((pixels - mean) ** 2))
        return (pixels - mean) / tf.where(std > 0, std, tf.ones_like(std))
    mean, std = (np.array(normalization[name]) for name in ("mean", "std"))
    return (pixels - mean.astype(np.float32)) * (1 / np.where(std > 0, std, 1)).astype(np.float32)


def spatial_mean(images: Tensor) -> Tensor:
    """The mean per image and channel in 32 bits: means of means, as sums that no runtime joins into one."""
    for axis, size in enumerate(sizes_of(images), start=1):
        images = tf.reduce_sum(images, axis, keepdims=True) / tf.cast(size, tf.float32)
    return images


def percentiles(pixels: Tensor, percents: Sequence[float]) -> list[Tensor]:
    """Percentiles per image and channel: for each percent a tensor `(batch, *(1,) * spatial axes, channels)`."""
    channels, spatial_dims = pixels.shape[-1], len(pixels.shape) - 2
    last = 1
    for size in sizes_of(pixels):
        last = last * size
    last = last - 1
    values = tf.transpose(tf.reshape(pixels, (-1, last + 1, channels)), (0, 2, 1))
    values = tf.sort(values, axis=-1)
    found = []
    for percent in percents:
        # In whole numbers: a place among millions of values does not fit 32 bits with its fraction.
        part = Fraction(str(percent)) / 100
        rest = last % part.denominator * part.numerator
        first = last // part.denominator * part.numerator + rest // part.denominator
        fraction = tf.cast(rest % part.denominator, tf.float32) / part.denominator
        low, high = (tf.gather(values, index, axis=-1) for index in (first, smaller(first + 1, last)))
        found.append(tf.reshape(low + (high - low) * fraction, (-1, *(1,) * spatial_dims, channels)))
    return found
