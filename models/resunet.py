"""Deep Residual U-Net."""

from collections.abc import Sequence

import keras

from .blocks import Shape, Tensor, add, concat, conv, norm_act, upsample
from .checks import check_filters, check_input_shape
from .heads import segmentation_head
from .registry import register_model


@register_model
def resunet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (64, 128, 256, 512),
    shortcut_batch_norm: bool = False,
    activation: str | None = None,
) -> keras.Model:
    """Builds a ResUNet: a U-Net of pre-activated residual units, which halves the size by strides instead of pooling.

    Args:
        input_shape: `(*spatial, channels)`. Each size is `None` or a multiple of `2 ** (len(filters) - 1)`.
        num_classes: Number of output channels.
        filters: Filters per resolution level, finest first; the last one is the bridge.
        shortcut_batch_norm: Normalises the 1x1 convolution beside every unit, as many implementations do; the paper
            does not.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size is not among those allowed.

    Source: Zhang, Liu, Wang, "Road Extraction by Deep Residual U-Net", IEEE GRSL 2018, table I.
    """
    check_filters(filters)
    stride = 2 ** (len(filters) - 1)
    check_input_shape("resunet", input_shape, multiple=stride, minimum=stride)

    def unit(x: Tensor, width: int, strides: int, name: str) -> Tensor:
        shortcut = conv(x, width, 1, strides=strides, name=f"{name}_shortcut")
        shortcut = norm_act(shortcut, batch_norm=shortcut_batch_norm, activation=None, name=f"{name}_shortcut")
        if name != "encoder0":  # the image itself is not activated
            x = norm_act(x, name=f"{name}_0")
        x = conv(x, width, strides=strides, name=f"{name}_0_conv")
        x = norm_act(x, name=f"{name}_1")
        x = conv(x, width, name=f"{name}_1_conv")
        return add([x, shortcut], name=f"{name}_add")

    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(filters):
        x = unit(x, width, 2 if level else 1, f"encoder{level}")
        skips.append(x)
    for level in reversed(range(len(filters) - 1)):
        x = upsample(x, name=f"decoder{level}_up")
        x = concat([skips[level], x], name=f"decoder{level}_concat")
        x = unit(x, filters[level], 1, f"decoder{level}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="resunet")
