"""SegNet: a VGG16 and its mirror image, which puts features back where the encoder's pooling found them."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from maskzoo.errors import OptionError

from . import analysis
from .blocks import Shape, Tensor, TensorShape, conv_block, max_pool, multiply, ops, shape_of, upsample
from .checks import check_count, check_filters, check_input_shape
from .heads import segmentation_head
from .registry import register_model


@register_model
def segnet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (64, 128, 256, 512, 512),
    convs: Sequence[int] = (2, 2, 3, 3, 3),
    activation: str | None = None,
) -> keras.Model:
    """Builds a SegNet: the decoder enlarges by the positions of the encoder's maxima, and learns to fill the gaps.

    Args:
        input_shape: `(*spatial, channels)`. Each size is `None` or a multiple of `2 ** len(filters)`.
        num_classes: Number of output channels.
        filters: Filters per level, finest first; every level is pooled.
        convs: Convolutions per level, of the encoder as of the decoder; the decoder's very last one is the head.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size is not among those allowed, or `convs` has another length than `filters`.

    Source: Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
    Segmentation", TPAMI 2017; layers as in the published segnet_train.prototxt.
    """
    check_filters(filters)
    if not isinstance(convs, (list, tuple)) or len(convs) != len(filters):
        raise OptionError("convs", f"{len(filters)} numbers, one per level", convs)
    for count in convs:
        check_count("convs", count)
    stride = 2 ** len(filters)
    check_input_shape("segnet", input_shape, multiple=stride, minimum=stride)
    x = inputs = keras.Input(input_shape, name="image")
    maxima = []
    for level, width in enumerate(filters):
        for index in range(convs[level]):
            x = conv_block(x, width, name=f"encoder{level}_{index}")
        maxima.append(WindowMaxima(name=f"encoder{level}_maxima")(x))
        x = max_pool(x, name=f"encoder{level}_pool")
    for level in reversed(range(len(filters))):
        x = upsample(x, name=f"decoder{level}_up")
        x = multiply([x, maxima[level]], name=f"decoder{level}_unpool")
        # The last convolution of a level has the width of the next finer one; that of the finest is the head.
        widths = [filters[level]] * (convs[level] - 1) + [filters[level - 1]] * (level > 0)
        for index, width in enumerate(widths):
            x = conv_block(x, width, name=f"decoder{level}_{index}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation, 3), name="segnet")


@keras.saving.register_keras_serializable("maskzoo")
class WindowMaxima(layers.Layer):
    """Marks the largest element of every window of 2 along each spatial axis: 1 there, 0 elsewhere.

    Of equal ones the first in reading order is marked, as by pooling with indices. Elements behind the last whole
    window are left out. No gradient flows through the marks.
    """

    def call(self, x: Tensor) -> Tensor:
        sizes = shape_of(x)[1:-1]
        corners = itertools.product((0, 1), repeat=len(sizes))
        phases = [
            x[(slice(None), *(slice(o, n // 2 * 2, 2) for o, n in zip(corner, sizes, strict=True)))]
            for corner in corners
        ]
        largest = functools.reduce(ops.maximum, phases)
        left, marks = ops.ones_like(largest), []
        for phase in phases:
            marks.append(left * ops.cast(ops.equal(phase, largest), x.dtype))
            left = left - marks[-1]
        for axis in range(len(sizes), 0, -1):
            marks = [_interleaved(*pair, axis) for pair in zip(marks[::2], marks[1::2], strict=True)]
        return marks[0]

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return (input_shape[0], *(size and size // 2 * 2 for size in input_shape[1:-1]), input_shape[-1])


def _interleaved(even: Tensor, odd: Tensor, axis: int) -> Tensor:
    shape: list[Any] = list(shape_of(even))
    shape[axis] *= 2
    return ops.reshape(ops.stack([even, odd], axis + 1), shape)


@analysis.register(WindowMaxima)
def _window_maxima(layer: WindowMaxima, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x.gather(2, 2).enlarge(2)
