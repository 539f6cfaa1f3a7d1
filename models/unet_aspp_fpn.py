"""U-Net with dilated pooling between encoder and decoder, and a feature pyramid over the decoder's levels."""

from collections.abc import Sequence

import keras
from keras import layers

from maskzoo.errors import OptionError

from . import analysis
from .blocks import Shape, Tensor, TensorShape, concat, conv, conv_block, linear_upsample, norm_act, ops, shape_of
from .encoders import encode
from .encoders.attention import SplitChannels
from .heads import auxiliary_head
from .pspnet import ResizeLike
from .registry import EncoderWeights, register_model


@register_model
def unet_aspp_fpn(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "efficientnet_b0",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    aspp_filters: int = 512,
    decoder_filters: Sequence[int] = (256, 128, 64, 32),
    pyramid_filters: int = 16,
    dilations: Sequence[int] = (1, 2, 3, 4),
    groups: int = 4,
    aspp_dropout: float = 0.5,
    dropout: float = 0.1,
    activation: str | None = None,
) -> keras.Model:
    """Builds a U-Net with grouped dilated convolutions at its bottom and a pyramid over its decoder, at stride 2.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        aspp_filters: Filters after the dilated convolutions, which have half as many each; a multiple of
            `2 * groups`.
        decoder_filters: Filters per decoder level, coarsest first, down to stride 2.
        pyramid_filters: Filters to which each level is reduced, by way of twice as many.
        dilations: Dilations of the grouped convolutions.
        groups: Groups of the dilated convolutions; divides the channels of the deepest features.
        aspp_dropout: Rate at which whole channels are dropped at the bottom while training.
        dropout: Rate at which whole channels are dropped before the head while training.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: the UneXt pattern of public HuBMAP kidney solutions (iafoss 2021); ASPP from Chen et al., DeepLabv3, 2017.
    """
    encoder, strides = encode(
        "unet_aspp_fpn", encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder
    )
    if 2 ** (len(decoder_filters) + 1) != strides[-1]:
        raise OptionError("decoder_filters", f"{strides[-1].bit_length() - 2} numbers", len(decoder_filters))
    deepest = encoder.outputs[-1]
    if deepest.shape[-1] % groups or aspp_filters % (2 * groups):
        raise OptionError(
            "groups", f"a divisor of the {deepest.shape[-1]} deepest channels and of half of aspp_filters", groups
        )
    x = _aspp(deepest, aspp_filters, dilations, groups)
    levels = [x]
    if aspp_dropout:
        x = layers.SpatialDropout2D(aspp_dropout, name="aspp_dropout")(x)
    skips = dict(zip(strides, encoder.outputs, strict=True))
    stride = strides[-1]
    for filters in decoder_filters:
        stride //= 2
        x = _decoder_block(x, skips.get(stride), filters, name=f"decoder{stride}")
        levels.append(x)
    *coarse, finest = levels
    pyramid = [
        _pyramid_level(x, pyramid_filters, 2 ** (len(coarse) - index), name=f"pyramid{2 ** (len(coarse) - index + 1)}")
        for index, x in enumerate(coarse)
    ]
    x = concat([*pyramid, finest], name="pyramid")
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="dropout")(x)
    return keras.Model(
        encoder.inputs[0], auxiliary_head(x, num_classes, activation, factor=2, name="mask"), name="unet_aspp_fpn"
    )


def _aspp(x: Tensor, filters: int, dilations: Sequence[int], groups: int) -> Tensor:
    narrow = filters // 2
    pooled = layers.GlobalMaxPooling2D(keepdims=True, name="aspp_pool")(x)
    pooled = conv_block(pooled, narrow, 1, use_bias=False, name="aspp_pooled")
    branches = [
        ResizeLike(name="aspp_pooled_resize")([pooled, x]),
        conv_block(x, narrow, 1, use_bias=False, name="aspp_point"),
    ]
    # Keras compiles grouped convolutions with XLA on CPUs, which fails on several devices at once: one by one instead.
    parts = SplitChannels([x.shape[-1] // groups] * groups, name="aspp_split")(x)
    for dilation in dilations:
        name = f"aspp_dilated{dilation}"
        convolved = [
            conv(part, narrow // groups, 3, use_bias=False, dilation_rate=dilation, name=f"{name}_conv{group}")
            for group, part in enumerate(parts)
        ]
        branches.append(norm_act(concat(convolved, name=f"{name}_concat"), name=name))
    return conv_block(concat(branches, name="aspp_concat"), filters, 1, use_bias=False, name="aspp")


def _decoder_block(x: Tensor, skip: Tensor, filters: int, *, name: str) -> Tensor:
    x = conv(x, 2 * x.shape[-1], 1, activation="relu", kernel_initializer=AlikeInFours(), name=f"{name}_up_conv")
    x = PixelShuffle(name=f"{name}_up")(x)
    if skip is not None:
        x = concat([x, norm_act(skip, activation=None, name=f"{name}_skip")], name=f"{name}_concat")
    x = layers.Activation("relu", name=f"{name}_relu")(x)
    for part in "ab":
        x = conv(x, filters, activation="relu", kernel_initializer="he_normal", name=f"{name}{part}")
    return x


def _pyramid_level(x: Tensor, filters: int, factor: int | tuple[int, ...], *, name: str) -> Tensor:
    x = conv(x, 2 * filters, activation="relu", kernel_initializer="he_normal", name=f"{name}_conv1")
    x = norm_act(x, activation=None, name=name)
    x = conv(x, filters, name=f"{name}_conv2")
    return linear_upsample(x, factor, name=f"{name}_up")


@keras.saving.register_keras_serializable("maskzoo")
class PixelShuffle(layers.Layer):
    """Doubles the size of a map by spreading every four groups of channels over 2x2 elements."""

    def call(self, x: Tensor) -> Tensor:
        batch, height, width, _ = shape_of(x)
        channels = x.shape[-1] // 4
        x = ops.reshape(x, (batch, height, width, 2, 2, channels))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (batch, 2 * height, 2 * width, channels))

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        sizes = [size and 2 * size for size in input_shape[1:3]]
        return (input_shape[0], *sizes, input_shape[-1] // 4)


@keras.saving.register_keras_serializable("maskzoo")
class AlikeInFours(keras.initializers.Initializer):
    """Draws a kernel whose four quarters are equal, so that a `PixelShuffle` after it starts without a checkerboard."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        quarter = keras.initializers.HeNormal()((*shape[:-1], shape[-1] // 4), dtype)
        return ops.tile(quarter, (1,) * (len(shape) - 1) + (4,))


@analysis.register(PixelShuffle)
def _pixel_shuffle(layer: PixelShuffle, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x.enlarge(2)
