"""UPerNet decoder over any encoder."""

from collections.abc import Sequence

import keras
from keras import layers

from .blocks import Shape, add, concat, conv_block, linear_upsample
from .encoders import encode
from .heads import auxiliary_head
from .pspnet import pyramid_pooling
from .registry import EncoderWeights, register_model


@register_model
def upernet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "swin_tiny",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    decoder_filters: int = 512,
    bins: Sequence[int] = (1, 2, 3, 6),
    dropout: float = 0.1,
    activation: str | None = None,
) -> keras.Model:
    """Builds a UPerNet: pyramid pooling on the deepest features, a feature pyramid, and all levels fused at stride 4.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first. Of an
            encoder with five maps the finest, at stride 2, is not read.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        decoder_filters: Filters of every part of the decoder.
        bins: Parts per side over which the pyramid pooling averages.
        dropout: Rate of the dropout before the head.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Xiao et al., "Unified Perceptual Parsing", ECCV 2018; 512 filters as in the Swin paper.
    """
    encoder, strides = encode(
        "upernet", encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder
    )
    strides, features = strides[-4:], encoder.outputs[-4:]
    *laterals, deepest = features
    x = concat(pyramid_pooling(deepest, decoder_filters, bins), name="pyramid")
    x = conv_block(x, decoder_filters, use_bias=False, name="pyramid_fuse")
    levels = [linear_upsample(x, strides[-1] // strides[0], name=f"level{strides[-1]}_up")]
    for stride, lateral in reversed(list(zip(strides, laterals, strict=False))):
        lateral = conv_block(lateral, decoder_filters, 1, use_bias=False, name=f"lateral{stride}")
        x = add([lateral, linear_upsample(x, name=f"top_down{stride}_up")], name=f"top_down{stride}")
        level = conv_block(x, decoder_filters, use_bias=False, name=f"level{stride}")
        if stride > strides[0]:
            level = linear_upsample(level, stride // strides[0], name=f"level{stride}_up")
        levels.append(level)
    x = conv_block(concat(levels[::-1], name="levels"), decoder_filters, use_bias=False, name="fuse")
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(
        encoder.inputs[0], auxiliary_head(x, num_classes, activation, factor=strides[0], name="mask"), name="upernet"
    )
