"""DeepLabv3+ over any encoder."""

from collections.abc import Sequence

import keras

from .blocks import Shape, concat, conv_block, linear_upsample
from .checks import check_choice
from .deeplabv3 import dilated_pyramid, separable_block
from .encoders import encode
from .heads import auxiliary_head
from .registry import EncoderWeights, register_model


@register_model
def deeplabv3plus(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "resnet34",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    output_stride: int = 16,
    decoder_filters: int = 256,
    low_level_filters: int = 48,
    dilations: Sequence[int] = (12, 24, 36),
    dropout: float = 0.5,
    activation: str | None = None,
) -> keras.Model:
    """Builds a DeepLabv3+: dilated separable convolutions on the deepest features, refined by those at stride 4.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        output_stride: 8 or 16 dilates the encoder's last stages instead of striding them, in encoders that know this
            option (ResNet); others keep their stride of 32.
        decoder_filters: Filters of the pyramid and the decoder.
        low_level_filters: Filters to which the features at stride 4 are reduced.
        dilations: Dilations of the pyramid's separable convolutions.
        dropout: Rate of the dropout after the pyramid.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Chen et al., "Encoder-Decoder with Atrous Separable Convolution", ECCV 2018, as in
    segmentation_models_pytorch 0.6.0.
    """
    check_choice("output_stride", output_stride, (8, 16, 32))
    encoder, strides = encode(
        "deeplabv3plus",
        encoder,
        input_shape,
        encoder_weights=encoder_weights,
        freeze_encoder=freeze_encoder,
        output_stride=output_stride,
    )
    check_choice("strides of the encoder", 4, strides)
    low, x = encoder.outputs[strides.index(4)], encoder.outputs[-1]
    x = dilated_pyramid(x, decoder_filters, dilations, separable=True, dropout=dropout)
    x = separable_block(x, decoder_filters, name="decoder_top")
    x = linear_upsample(x, strides[-1] // 4, name="decoder_up")
    low = conv_block(low, low_level_filters, 1, use_bias=False, name="low_level")
    x = concat([x, low], name="decoder_concat")
    x = separable_block(x, decoder_filters, name="decoder")
    return keras.Model(
        encoder.inputs[0], auxiliary_head(x, num_classes, activation, factor=4, name="mask"), name="deeplabv3plus"
    )
