"""DeepLabv3 over any encoder, and the dilated pyramid that it has in common with DeepLabv3+."""

from collections.abc import Sequence

import keras
from keras import layers

from .blocks import Shape, Tensor, concat, conv, conv_block, norm_act
from .checks import check_choice
from .encoders import encode
from .heads import auxiliary_head
from .pspnet import ResizeLike
from .registry import EncoderWeights, register_model


@register_model
def deeplabv3(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "resnet34",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    output_stride: int = 8,
    decoder_filters: int = 256,
    dilations: Sequence[int] = (12, 24, 36),
    separable: bool = False,
    dropout: float = 0.5,
    activation: str | None = None,
) -> keras.Model:
    """Builds a DeepLabv3: dilated convolutions side by side on the deepest features, which are kept at stride 8.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        output_stride: 8 or 16 dilates the encoder's last stages instead of striding them, in encoders that know this
            option (ResNet); others keep their stride of 32.
        decoder_filters: Filters of the pyramid and of the convolution that follows.
        dilations: Dilations of the pyramid's convolutions.
        separable: Whether these are separable.
        dropout: Rate of the dropout after the pyramid.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, as in
    segmentation_models_pytorch 0.6.0.
    """
    check_choice("output_stride", output_stride, (8, 16, 32))
    encoder, strides = encode(
        "deeplabv3",
        encoder,
        input_shape,
        encoder_weights=encoder_weights,
        freeze_encoder=freeze_encoder,
        output_stride=output_stride,
    )
    x = dilated_pyramid(encoder.outputs[-1], decoder_filters, dilations, separable=separable, dropout=dropout)
    x = conv_block(x, decoder_filters, use_bias=False, name="decoder")
    x = auxiliary_head(x, num_classes, activation, factor=strides[-1], name="mask")
    return keras.Model(encoder.inputs[0], x, name="deeplabv3")


def dilated_pyramid(
    x: Tensor, filters: int, dilations: Sequence[int], *, separable: bool = False, dropout: float = 0.0
) -> Tensor:
    """Returns features seen 1x1, through 3x3 kernels of several dilations, and as the mean of the image, projected.

    Args:
        x: Features `(batch, height, width, channels)`.
        filters: Filters of every branch and of the projection.
        dilations: Dilations of the 3x3 convolutions.
        separable: Whether these are separable.
        dropout: Rate of the dropout after the projection.
    """
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="aspp_pool")(x)
    pooled = conv_block(pooled, filters, 1, use_bias=False, name="aspp_pooled")
    dilated = separable_block if separable else _dilated_block
    branches = [conv_block(x, filters, 1, use_bias=False, name="aspp1")]
    branches += [dilated(x, filters, dilation, name=f"aspp{dilation}") for dilation in dilations]
    branches.append(ResizeLike(name="aspp_pooled_resize")([pooled, x]))
    x = conv_block(concat(branches, name="aspp"), filters, 1, use_bias=False, name="aspp_project")
    return layers.Dropout(dropout, name="aspp_dropout")(x) if dropout else x


def separable_block(x: Tensor, filters: int, dilation: int = 1, *, name: str) -> Tensor:
    """Convolves 3x3 by channel and then 1x1 across channels, normalises and activates."""
    x = layers.SeparableConv2D(
        filters, 3, padding="same", dilation_rate=dilation, use_bias=False, name=f"{name}_separable"
    )(x)
    return norm_act(x, name=name)


def _dilated_block(x: Tensor, filters: int, dilation: int, *, name: str) -> Tensor:
    x = conv(x, filters, 3, dilation_rate=dilation, use_bias=False, name=f"{name}_conv")
    return norm_act(x, name=name)
