"""MA-Net: attention over all positions of the deepest features, and over the channels of every skip."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from maskzoo.errors import OptionError

from . import analysis
from .blocks import Shape, Tensor, TensorShape, add, concat, conv, conv_block, multiply, ops, shape_of, upsample
from .checks import check_choice
from .encoders import encode
from .heads import segmentation_head
from .registry import EncoderWeights, register_model
from .squeeze_excitation import ATTENTION, attend, channel_weights


@register_model
def manet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "resnet34",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    decoder_filters: Sequence[int] = (256, 128, 64, 32, 16),
    attention_filters: int = 64,
    reduction: int = 16,
    attention: str | None = None,
    batch_norm: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds a MA-Net: a U-Net over an encoder, with attention between positions at the bottom and channels on the way.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        decoder_filters: Filters per decoder level, coarsest first; one level for each halving by the encoder.
        attention_filters: Filters in which positions are compared.
        reduction: How many times narrower the attention over channels is between its two layers.
        attention: `"scse"` weighs the input and the output of every level by channel and position, too.
        batch_norm: Whether the decoder normalises.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Fan et al., "MA-Net: A Multi-Scale Attention Network for Liver and Tumor Segmentation", IEEE Access 2020, as
    in segmentation_models_pytorch 0.6.0.
    """
    check_choice("attention", attention, ATTENTION)
    encoder, strides = encode(
        "manet", encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder
    )
    if 2 ** len(decoder_filters) != strides[-1]:
        raise OptionError("decoder_filters", f"{strides[-1].bit_length() - 1} numbers", len(decoder_filters))
    options: dict[str, Any] = {"batch_norm": batch_norm, "use_bias": not batch_norm}
    skips = dict(zip(strides, encoder.outputs, strict=True))
    x = _position_attention(encoder.outputs[-1], attention_filters)
    for level, filters in enumerate(decoder_filters):
        name = f"decoder{level}"
        skip = skips.get(strides[-1] >> (level + 1))
        if skip is None:
            x = upsample(x, name=f"{name}_up")
        else:
            x = conv_block(x, x.shape[-1], name=f"{name}_high_a", **options)
            x = conv_block(x, skip.shape[-1], 1, name=f"{name}_high_b", **options)
            x = upsample(x, name=f"{name}_up")
            high = channel_weights(x, reduction, name=f"{name}_high")
            low = channel_weights(skip, reduction, name=f"{name}_low")
            x = multiply([x, add([high, low], name=f"{name}_weights")], name=f"{name}_weighed")
            x = concat([x, skip], name=f"{name}_concat")
        x = attend(x, attention, name=f"{name}_in")
        for part in "ab":
            x = conv_block(x, filters, name=f"{name}{part}", **options)
        x = attend(x, attention, name=f"{name}_out")
    return keras.Model(encoder.inputs[0], segmentation_head(x, num_classes, activation, 3), name="manet")


def _position_attention(x: Tensor, filters: int) -> Tensor:
    """Adds to every position what others hold, weighed by how alike the two are, and convolves."""
    top = conv(x, filters, 1, name="position_top")
    center = conv(x, filters, 1, name="position_center")
    bottom = conv(x, x.shape[-1], name="position_bottom")
    seen = PositionAttention(name="position_attention")([center, top, bottom])
    return conv(add([x, seen], name="position_add"), x.shape[-1], name="position_out")


@keras.saving.register_keras_serializable("maskzoo")
class PositionAttention(layers.Layer):
    """Sums values over all positions, weighed by one softmax over all pairs of positions.

    Called on `[query, key, value]`, maps `(batch, height, width, channels)` of one size. The sums, one row per
    position, are read as one plane per channel, without being transposed: so does segmentation_models_pytorch, and its
    weights were trained with it.
    """

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        batch, height, width, channels = shape_of(inputs[2])
        query, key, value = (ops.reshape(x, (batch, height * width, x.shape[-1])) for x in inputs)
        scores: Tensor = ops.matmul(query, ops.transpose(key, (0, 2, 1)))
        highest = ops.max(scores, axis=(1, 2), keepdims=True)
        weights = ops.exp(scores - highest)
        weights = weights / ops.sum(weights, axis=(1, 2), keepdims=True)
        sums = ops.reshape(ops.matmul(weights, value), (batch, channels, height, width))
        return ops.transpose(sums, (0, 2, 3, 1))

    def compute_output_shape(self, input_shape: Sequence[TensorShape]) -> TensorShape:
        return input_shape[2]


@analysis.register(PositionAttention)
def _position_attention_track(layer: PositionAttention, axis: int, *tracks: analysis.AxisGeometry) -> str:
    return "attends to the whole image"
