"""ResUNet-a: residual units of parallel dilated convolutions, and pyramids of maxima at the bottom and at the end."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from maskzoo.errors import OptionError

from . import analysis
from .blocks import Shape, Tensor, TensorShape, add, concat, conv, conv_block, norm_act, ops, shape_of, upsample
from .checks import check_count, check_filters, check_input_shape
from .heads import segmentation_head
from .registry import register_model


@register_model
def resunet_a(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (32, 64, 128, 256, 512, 1024),
    dilations: Sequence[Sequence[int]] = ((1, 3, 15, 31), (1, 3, 15, 31), (1, 3, 15), (1, 3, 5), (1,), (1,)),
    decoder_dilations: Sequence[Sequence[int]] = (
        (1, 3, 15, 31),
        (1, 3, 15, 31),
        (1, 3, 15, 31),
        (1, 3, 15),
        (1, 3, 5),
    ),
    down_kernel_size: int = 3,
    bins: Sequence[int] = (1, 2, 4, 8),
    activation: str | None = None,
) -> keras.Model:
    """Builds a ResUNet-a: every unit looks near and far at once, by convolutions of several dilations side by side.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of `2 ** (len(filters) - 1)`.
        num_classes: Number of output channels.
        filters: Filters per resolution level, finest first.
        dilations: Dilations of the unit of each level of the encoder, one branch for each.
        decoder_dilations: The same for the levels of the decoder, finest first: one level fewer.
        down_kernel_size: Size of the strided convolutions between levels: 3 in the published code, 1 in the paper.
        bins: Parts per side whose maxima the pyramids hold.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size is not among those allowed, or the dilations do not belong to the levels.

    Source: Diakogiannis, Waldner, Caccetta, Wu, "ResUNet-a: a deep learning framework for semantic segmentation of
    remotely sensed data", ISPRS 2020; the authors' `ResUNet_d6` with its head of the mask alone.
    """
    check_filters(filters)
    check_count("down_kernel_size", down_kernel_size)
    check_filters(bins, "bins")
    _check_dilations("dilations", dilations, len(filters))
    _check_dilations("decoder_dilations", decoder_dilations, len(filters) - 1)
    stride = 2 ** (len(filters) - 1)
    check_input_shape("resunet_a", input_shape, spatial_dims=(2,), multiple=stride, minimum=stride)
    inputs = keras.Input(input_shape, name="image")
    x = stem = conv_block(inputs, filters[0], 1, use_bias=False, name="stem")
    skips = []
    for level, width in enumerate(filters):
        if level:
            x = conv(x, width, down_kernel_size, strides=2, use_bias=False, name=f"encoder{level}_down")
        x = _unit(x, dilations[level], name=f"encoder{level}")
        skips.append(x)
    x = _pyramid(x, filters[-1], bins, name="bottom")
    for level in reversed(range(len(filters) - 1)):
        width = filters[level]
        x = upsample(x, name=f"decoder{level}_up")
        x = conv_block(x, max(width // 2, 1), 1, use_bias=False, name=f"decoder{level}_up")
        x = concat([x, skips[level]], name=f"decoder{level}_concat")
        x = conv_block(x, width, 1, use_bias=False, activation=None, name=f"decoder{level}_fuse")
        x = _unit(x, decoder_dilations[level], name=f"decoder{level}")
    x = _pyramid(concat([stem, x], name="end_concat"), filters[0], bins, name="end")
    for index in range(2):
        x = conv_block(x, filters[0], use_bias=False, name=f"head{index}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="resunet_a")


def _check_dilations(option: str, dilations: object, levels: int) -> None:
    if not isinstance(dilations, (list, tuple)) or len(dilations) != levels:
        raise OptionError(option, f"{levels} lists of dilations, one per level", dilations)
    for level in dilations:
        check_filters(level, option)


def _unit(x: Tensor, dilations: Sequence[int], *, name: str) -> Tensor:
    """Adds to features what pre-activated pairs of convolutions make of them, one pair for each dilation."""
    branches = [x]
    for dilation in dilations:
        branch, before = x, f"{name}_dilation{dilation}"
        for index in range(2):
            branch = norm_act(branch, name=f"{before}_{index}")
            branch = conv(
                branch, x.shape[-1], dilation_rate=dilation, use_bias=index == 1, name=f"{before}_{index}_conv"
            )
        branches.append(branch)
    return add(branches, name=f"{name}_add")


def _pyramid(x: Tensor, filters: int, bins: Sequence[int], *, name: str) -> Tensor:
    """Joins features with their maxima over the whole image and over parts of it (PSP pooling in the paper)."""
    branches = [x]
    for count in bins:
        branch = MaxBins(count, name=f"{name}_pyramid{count}_pool")(x)
        width = max(filters // len(bins), 1)
        branch = conv_block(branch, width, 1, use_bias=False, activation=None, name=f"{name}_pyramid{count}")
        branches.append(RepeatLike(name=f"{name}_pyramid{count}_repeat")([branch, x]))
    return conv_block(concat(branches, name=f"{name}_pyramid"), filters, 1, use_bias=False, name=name)


@keras.saving.register_keras_serializable("maskzoo")
class MaxBins(layers.Layer):
    """Takes the maxima of a map of any size over `bins` x `bins` parts, which overlap where they do not divide it.

    Args:
        bins: Parts per side.
    """

    def __init__(self, bins: int, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, x: Tensor) -> Tensor:
        height, width = shape_of(x)[1:3]
        x = ops.stack([ops.max(x[:, first:stop], 1) for first, stop in self._parts(height)], 1)
        return ops.stack([ops.max(x[:, :, first:stop], 2) for first, stop in self._parts(width)], 2)

    def _parts(self, size: Tensor) -> list[tuple[Tensor, Tensor]]:
        bins = range(self.bins)
        return [(each * size // self.bins, ((each + 1) * size + self.bins - 1) // self.bins) for each in bins]

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return (input_shape[0], self.bins, self.bins, input_shape[-1])

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable("maskzoo")
class RepeatLike(layers.Layer):
    """Enlarges a small map to the size of another by repeating its elements: called on `[small, like]`."""

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        x, like = inputs
        for axis in (1, 2):
            size = shape_of(like)[axis]
            x = ops.take(x, ops.arange(size, dtype="int32") * x.shape[axis] // size, axis)
        return x

    def compute_output_shape(self, input_shape: Sequence[TensorShape]) -> TensorShape:
        return (*input_shape[1][:-1], input_shape[0][-1])


@analysis.register(MaxBins)
def _max_bins(layer: MaxBins, axis: int, x: analysis.AxisGeometry) -> str:
    return "takes maxima over parts of the whole image"


@analysis.register(RepeatLike)
def _repeat_like(
    layer: RepeatLike, axis: int, small: analysis.AxisGeometry, like: analysis.AxisGeometry
) -> analysis.AxisGeometry:
    return like
