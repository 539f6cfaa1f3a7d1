"""SegFormer: an all-MLP decoder over a Mix Transformer, or over any encoder."""

import keras
from keras import layers

from .blocks import Shape, concat, conv_block, linear_upsample
from .encoders import encode
from .heads import auxiliary_head
from .registry import EncoderWeights, register_model


@register_model
def segformer(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "mit_b0",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    decoder_filters: int | None = None,
    dropout: float = 0.1,
    activation: str | None = None,
) -> keras.Model:
    """Builds a SegFormer: every level projected to the same width, resized to stride 4, and fused by one convolution.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first. Of an
            encoder with five maps the finest, at stride 2, is not read.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        decoder_filters: Width of the decoder; by default 768 over MiT-B2 to B5 and 256 over everything else.
        dropout: Rate of the dropout before the head.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Xie et al., "SegFormer", NeurIPS 2021.
    """
    encoder, strides = encode(
        "segformer", encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder
    )
    wide = encoder.name in ("mit_b2", "mit_b3", "mit_b4", "mit_b5")
    decoder_filters = decoder_filters or (768 if wide else 256)
    strides, features = strides[-4:], encoder.outputs[-4:]
    levels = []
    for stride, x in zip(strides, features, strict=True):
        x = layers.Dense(decoder_filters, name=f"linear{stride}")(x)
        if stride > strides[0]:
            x = linear_upsample(x, stride // strides[0], name=f"linear{stride}_up")
        levels.append(x)
    x = conv_block(concat(levels[::-1], name="levels"), decoder_filters, 1, use_bias=False, name="fuse")
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(
        encoder.inputs[0], auxiliary_head(x, num_classes, activation, factor=strides[0], name="mask"), name="segformer"
    )
