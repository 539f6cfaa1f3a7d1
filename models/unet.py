"""U-Nets: the valid-padded one of 2015, and the padded one that is used today; 2D or 3D by the rank of the input."""

from collections.abc import Sequence

import keras
from keras import layers

from .blocks import Shape, Tensor, add, concat, conv, conv_block, crop, max_pool, transposed, upsample
from .checks import check_choice, check_filters, check_input_shape, valid_crops, valid_sizes
from .heads import segmentation_head
from .registry import register_model


@register_model
def unet(
    input_shape: Shape = (None, None, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (64, 128, 256, 512, 1024),
    up: str = "transpose",
    dropout: float = 0.5,
    activation: str | None = None,
) -> keras.Model:
    """Builds the valid-padded U-Net: 3x3 convolutions do not see beyond the image, so the output is 184 pixels less.

    Args:
        input_shape: `(*spatial, channels)`. Each size is `None` or, with five levels, `16 * k + 12` and at least 188.
        num_classes: Number of output channels.
        filters: Filters per resolution level, finest first.
        up: `"transpose"` (transposed convolution 2x2), or `"upsample"` (nearest neighbour, then convolution 2x2,
            zero-padded to keep the size).
        dropout: Rate of the dropout at the end of the contracting path, after its two deepest levels.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size or `up` is not among those allowed.

    Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015.
    """
    check_filters(filters)
    check_choice("up", up, ("transpose", "upsample"))
    rule = valid_sizes(len(filters))
    check_input_shape("unet", input_shape, multiple=rule.multiple, remainder=rule.remainder, minimum=rule.minimum)
    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(filters):
        if level:
            x = max_pool(x, name=f"encoder{level}_pool")
        x = _two_convs(x, width, padding="valid", batch_norm=False, name=f"encoder{level}")
        if dropout and level >= len(filters) - 2:
            x = layers.Dropout(dropout, name=f"encoder{level}_dropout")(x)
        skips.append(x)
    crops = valid_crops(len(filters))
    for level in reversed(range(len(filters) - 1)):
        if up == "transpose":
            x = transposed(x, filters[level], name=f"decoder{level}_up")
        else:
            x = upsample(x, name=f"decoder{level}_up")
            x = conv(x, filters[level], 2, name=f"decoder{level}_up_conv")
        skip = crop(skips[level], crops[level], name=f"decoder{level}_crop")
        x = concat([skip, x], name=f"decoder{level}_concat")
        x = _two_convs(x, filters[level], padding="valid", batch_norm=False, name=f"decoder{level}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="unet")


@register_model
def unet_padded(
    input_shape: Shape = (None, None, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (64, 128, 256, 512, 1024),
    up: str = "upsample",
    residual: bool = False,
    batch_norm: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds the padded U-Net with batch normalisation: logits of the same size as the image.

    Args:
        input_shape: `(*spatial, channels)`. Each spatial size is `None` or a multiple of `2 ** (len(filters) - 1)`.
        num_classes: Number of output channels.
        filters: Filters per resolution level, finest first.
        up: `"upsample"` (nearest neighbour, convolution 2x2) or `"transpose"` (transposed convolution 3x3); then ReLU.
        residual: Adds the input of every block to its output, through a 1x1 convolution where the widths differ.
        batch_norm: Normalises after every 3x3 convolution.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size or `up` is not among those allowed.

    Source: Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, with same padding and batch normalisation.
    """
    check_filters(filters)
    check_choice("up", up, ("transpose", "upsample"))
    stride = 2 ** (len(filters) - 1)
    check_input_shape("unet_padded", input_shape, multiple=stride, minimum=stride)
    block = _residual_convs if residual else _two_convs
    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(filters):
        if level:
            x = max_pool(x, name=f"encoder{level}_pool")
        x = block(x, width, batch_norm=batch_norm, name=f"encoder{level}")
        skips.append(x)
    for level in reversed(range(len(filters) - 1)):
        if up == "transpose":
            x = transposed(x, filters[level], 3, name=f"decoder{level}_up")
        else:
            x = upsample(x, name=f"decoder{level}_up")
            x = conv(x, filters[level], 2, name=f"decoder{level}_up_conv")
        x = layers.Activation("relu", name=f"decoder{level}_up_relu")(x)
        x = concat([skips[level], x], name=f"decoder{level}_concat")
        x = block(x, filters[level], batch_norm=batch_norm, name=f"decoder{level}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="unet_padded")


def _two_convs(x: Tensor, width: int, *, padding: str = "same", batch_norm: bool = True, name: str) -> Tensor:
    for index in range(2):
        x = conv_block(x, width, padding=padding, batch_norm=batch_norm, name=f"{name}_{index}")
    return x


def _residual_convs(x: Tensor, width: int, *, batch_norm: bool, name: str) -> Tensor:
    shortcut = x if x.shape[-1] == width else conv(x, width, 1, name=f"{name}_shortcut")
    return add([shortcut, _two_convs(x, width, batch_norm=batch_norm, name=name)], name=f"{name}_add")
