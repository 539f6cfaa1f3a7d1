"""LR-ASPP, the small decoder of MobileNetV3, over any encoder."""

import keras
from keras import layers

from .blocks import Shape, conv, conv_block, linear_upsample, multiply
from .checks import check_choice
from .encoders import encode
from .heads import segmentation_head
from .registry import EncoderWeights, register_model


@register_model
def lraspp(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "mobilenetv2",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    output_stride: int = 16,
    decoder_filters: int = 128,
    activation: str | None = None,
) -> keras.Model:
    """Builds an LR-ASPP: the deepest features, weighed by the mean of the image, vote beside those at stride 8.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        output_stride: 8 or 16 dilates the encoder's last stages instead of striding them, in encoders that know this
            option (ResNet); others keep their stride of 32.
        decoder_filters: Filters to which the deepest features are reduced.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, as in torchvision.
    """
    check_choice("output_stride", output_stride, (8, 16, 32))
    encoder, strides = encode(
        "lraspp",
        encoder,
        input_shape,
        encoder_weights=encoder_weights,
        freeze_encoder=freeze_encoder,
        output_stride=output_stride,
    )
    check_choice("strides of the encoder", 8, strides)
    low, high = encoder.outputs[strides.index(8)], encoder.outputs[-1]
    x = conv_block(high, decoder_filters, 1, use_bias=False, name="high")
    weights = layers.GlobalAveragePooling2D(keepdims=True, name="weights_pool")(high)
    weights = conv(weights, decoder_filters, 1, use_bias=False, activation="sigmoid", name="weights")
    x = multiply([x, weights], name="weighed")
    x = linear_upsample(x, strides[-1] // 8, name="weighed_up")
    low, high = (
        segmentation_head(low, num_classes, name="low_votes"),
        segmentation_head(x, num_classes, name="high_votes"),
    )
    x = layers.Add(dtype="float32", name="votes")([low, high])
    x = linear_upsample(x, 8, dtype="float32", name="mask_up" if activation else "mask")
    if activation:
        x = layers.Activation(activation, dtype="float32", name="mask")(x)
    return keras.Model(encoder.inputs[0], x, name="lraspp")
