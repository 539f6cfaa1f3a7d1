"""DPT: a convolutional decoder over the tokens of a vision transformer, or over any encoder."""

from collections.abc import Sequence

import keras
from keras import layers

from maskzoo.errors import OptionError

from .blocks import Shape, Tensor, add, conv, conv_block, linear_upsample, norm_act, transposed
from .encoders import encode
from .encoders.attention import gelu
from .heads import auxiliary_head
from .registry import EncoderWeights, encoder_options, register_model


@register_model
def dpt(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "vit_base_16",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    level_filters: Sequence[int] = (256, 512, 1024, 1024),
    decoder_filters: int = 256,
    dropout: float = 0.1,
    activation: str | None = None,
) -> keras.Model:
    """Builds a DPT: four maps are reassembled at strides 4, 8, 16 and 32 and fused from coarse to fine.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first. The last
            four maps are read; those of a vision transformer lie at stride 16, each position beside the class token.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        level_filters: Filters in which each of the four maps is brought to its stride, finest first.
        decoder_filters: Filters of the fusion and the head.
        dropout: Rate of the dropout before the last convolution.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Ranftl, Bochkovskiy, Koltun, "Vision Transformers for Dense Prediction", ICCV 2021, as in
    segmentation_models_pytorch 0.6.0.
    """
    if len(level_filters) != 4:
        raise OptionError("level_filters", "4 numbers", len(level_filters))
    transformer = isinstance(encoder, str) and "class_tokens" in encoder_options(encoder)
    encoder, strides = encode(
        "dpt",
        encoder,
        input_shape,
        encoder_weights=encoder_weights,
        freeze_encoder=freeze_encoder,
        token_maps=True,
    )
    levels = []
    for level, (x, stride) in enumerate(zip(encoder.outputs[-4:], strides[-4:], strict=True)):
        width = x.shape[-1] // 2 if transformer else x.shape[-1]
        x = layers.Dense(width, activation=gelu, name=f"level{level}_readout")(x)
        x = _reassemble(x, level_filters[level], stride / 2 ** (level + 2), name=f"level{level}")
        levels.append(conv(x, decoder_filters, use_bias=False, name=f"level{level}_project"))
    x = None
    for level in reversed(range(4)):
        name = f"fusion{level}"
        fine = _residual(levels[level], name=f"{name}_a")
        x = _residual(fine if x is None else add([fine, x], name=f"{name}_add"), name=f"{name}_b")
        x = conv(linear_upsample(x, name=f"{name}_up"), decoder_filters, 1, name=f"{name}_project")
    x = conv_block(x, decoder_filters, use_bias=False, name="head")
    if dropout:
        x = layers.Dropout(dropout, name="head_dropout")(x)
    return keras.Model(encoder.inputs[0], auxiliary_head(x, num_classes, activation, factor=2, name="mask"), name="dpt")


def _reassemble(x: Tensor, filters: int, factor: float, *, name: str) -> Tensor:
    """Projects a map and makes it `factor` times as large."""
    x = conv(x, filters, 1, name=f"{name}_reduce")
    if factor > 1:
        return transposed(x, filters, int(factor), strides=int(factor), name=f"{name}_up")
    if factor < 1:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        return conv(x, filters, strides=round(1 / factor), padding="valid", name=f"{name}_down")
    return x


def _residual(x: Tensor, *, name: str) -> Tensor:
    """Activates, convolves and normalises twice, and adds what came in."""
    branch = x
    for part in "ab":
        branch = layers.Activation("relu", name=f"{name}_{part}_relu")(branch)
        branch = conv(branch, x.shape[-1], use_bias=False, name=f"{name}_{part}_conv")
        branch = norm_act(branch, activation=None, name=f"{name}_{part}")
    return add([x, branch], name=f"{name}_sum")
