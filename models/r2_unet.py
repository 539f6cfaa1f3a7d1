"""R2U-Net: recurrent residual U-Net."""

from collections.abc import Sequence

import keras
from keras import layers

from .blocks import (
    BATCH_NORM_MOMENTUM,
    CONV,
    Shape,
    Tensor,
    add,
    concat,
    conv,
    conv_block,
    max_pool,
    spatial_dims,
    upsample,
)
from .checks import check_count, check_filters, check_input_shape
from .heads import segmentation_head
from .registry import register_model


@register_model
def r2_unet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (64, 128, 256, 512, 1024),
    recurrences: int = 2,
    activation: str | None = None,
) -> keras.Model:
    """Builds an R2U-Net: convolutions that are applied again to their own output, inside residual blocks.

    Args:
        input_shape: `(*spatial, channels)`. Each size is `None` or a multiple of `2 ** (len(filters) - 1)`.
        num_classes: Number of output channels.
        filters: Filters per resolution level, finest first.
        recurrences: How often each convolution is applied again: more see farther, with no more weights.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size is not among those allowed.

    Source: Alom et al., "Recurrent Residual Convolutional Neural Network based on U-Net (R2U-Net) for Medical Image
    Segmentation", 2018; as in LeeJunHyun's reference code, where the first pass and the recurrent ones share a kernel.
    """
    check_filters(filters)
    check_count("recurrences", recurrences)
    stride = 2 ** (len(filters) - 1)
    check_input_shape("r2_unet", input_shape, multiple=stride, minimum=stride)

    def block(x: Tensor, width: int, name: str) -> Tensor:
        x = shortcut = conv(x, width, 1, name=f"{name}_shortcut")
        for index in range(2):
            x = _recurrent(x, recurrences, name=f"{name}_{index}")
        return add([shortcut, x], name=f"{name}_add")

    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(filters):
        if level:
            x = max_pool(x, name=f"encoder{level}_pool")
        x = block(x, width, f"encoder{level}")
        skips.append(x)
    for level in reversed(range(len(filters) - 1)):
        x = upsample(x, name=f"decoder{level}_up")
        x = conv_block(x, filters[level], name=f"decoder{level}_up")
        x = concat([skips[level], x], name=f"decoder{level}_concat")
        x = block(x, filters[level], f"decoder{level}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="r2_unet")


def _recurrent(x: Tensor, recurrences: int, *, name: str) -> Tensor:
    """Convolves, then convolves the sum of the input and the last result by the same layers, `recurrences` times."""
    convolution = CONV[spatial_dims(x)](x.shape[-1], 3, padding="same", name=f"{name}_conv")
    norm = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn")
    state = layers.Activation("relu", name=f"{name}_relu")(norm(convolution(x)))
    for step in range(1, recurrences + 1):
        state = norm(convolution(add([x, state], name=f"{name}_add{step}")))
        state = layers.Activation("relu", name=f"{name}_relu{step}")(state)
    return state
