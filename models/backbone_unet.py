"""U-Net decoder over any encoder."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from maskzoo.errors import OptionError

from .analysis import layer_behind
from .blocks import Shape, Tensor, concat, conv_block, norm_act, transposed, upsample
from .checks import check_choice
from .encoders import encode
from .heads import segmentation_head
from .registry import EncoderWeights, register_model
from .squeeze_excitation import ATTENTION, attend


@register_model
def backbone_unet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "resnet34",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    decoder_filters: Sequence[int] = (256, 128, 64, 32, 16),
    up: str = "nearest",
    attention: str | None = None,
    batch_norm: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds a U-Net whose contracting path is an encoder.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        decoder_filters: Filters per decoder level, coarsest first; one level for each halving by the encoder.
        up: `"nearest"` (repeat, then two convolutions) or `"transpose"` (4x4 transposed convolution, then one).
        attention: `"scse"` weighs the input and the output of every decoder level by channel and position.
        batch_norm: Whether the decoder normalises.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Ronneberger et al., "U-Net", MICCAI 2015, as segmentation-models 1.0.1 puts it over encoders.
    """
    check_choice("up", up, ("nearest", "transpose"))
    check_choice("attention", attention, ATTENTION)
    encoder, strides = encode(
        "backbone_unet", encoder, input_shape, encoder_weights=encoder_weights, freeze_encoder=freeze_encoder
    )
    if 2 ** len(decoder_filters) != strides[-1]:
        raise OptionError("decoder_filters", f"{strides[-1].bit_length() - 1} numbers", len(decoder_filters))
    skips = dict(zip(strides, encoder.outputs, strict=True))
    x = center(encoder, batch_norm)
    for level, filters in enumerate(decoder_filters):
        name = f"decoder{level}"
        options: dict[str, Any] = {"batch_norm": batch_norm, "use_bias": not batch_norm}
        if up == "nearest":
            x = upsample(x, name=f"{name}_up")
        else:
            x = transposed(x, filters, 4, use_bias=not batch_norm, name=f"{name}_up")
            x = norm_act(x, batch_norm=batch_norm, name=f"{name}_up")
        skip = skips.get(strides[-1] >> (level + 1))
        if skip is not None:
            x = concat([x, skip], name=f"{name}_concat")
        x = attend(x, attention, name=f"{name}_in")
        for part in "ab" if up == "nearest" else "b":
            x = conv_block(x, filters, name=f"{name}{part}", **options)
        x = attend(x, attention, name=f"{name}_out")
    return keras.Model(encoder.inputs[0], segmentation_head(x, num_classes, activation, 3), name="backbone_unet")


def center(encoder: keras.Model, batch_norm: bool) -> Tensor:
    """Returns an encoder's deepest features, after two convolutions if they come straight from a pooling (VGG)."""
    x = encoder.outputs[-1]
    if isinstance(layer_behind(x), layers.MaxPooling2D):
        for part in "ab":
            x = conv_block(x, 512, batch_norm=batch_norm, use_bias=not batch_norm, name=f"center{part}")
    return x
