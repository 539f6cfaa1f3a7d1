"""Attention U-Net."""

from collections.abc import Sequence

import keras

from .blocks import Shape, Tensor, add, concat, conv_block, max_pool, multiply, norm_act, upsample
from .checks import check_filters, check_input_shape
from .heads import segmentation_head
from .registry import register_model


@register_model
def attention_unet(
    input_shape: Shape = (None, None, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (64, 128, 256, 512, 1024),
    activation: str | None = None,
) -> keras.Model:
    """Builds a U-Net whose skips pass an attention gate: coarser features decide which pixels of a skip count.

    Args:
        input_shape: `(*spatial, channels)`. Each size is `None` or a multiple of `2 ** (len(filters) - 1)`.
        num_classes: Number of output channels.
        filters: Filters per resolution level, finest first.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size is not among those allowed.

    Source: Oktay et al., "Attention U-Net: Learning Where to Look for the Pancreas", MIDL 2018; as in LeeJunHyun's
    reference code, where the gate looks at the up-sampled tensor.
    """
    check_filters(filters)
    stride = 2 ** (len(filters) - 1)
    check_input_shape("attention_unet", input_shape, multiple=stride, minimum=stride)
    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(filters):
        if level:
            x = max_pool(x, name=f"encoder{level}_pool")
        x = _two_convs(x, width, name=f"encoder{level}")
        skips.append(x)
    for level in reversed(range(len(filters) - 1)):
        width = filters[level]
        x = upsample(x, name=f"decoder{level}_up")
        x = conv_block(x, width, name=f"decoder{level}_up")
        skip = _gate(skips[level], x, width // 2, name=f"decoder{level}_gate")
        x = concat([skip, x], name=f"decoder{level}_concat")
        x = _two_convs(x, width, name=f"decoder{level}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="attention_unet")


def _gate(skip: Tensor, signal: Tensor, width: int, *, name: str) -> Tensor:
    """Weighs every pixel of the skip by a number between 0 and 1."""
    signal = conv_block(signal, width, 1, activation=None, name=f"{name}_signal")
    x = conv_block(skip, width, 1, activation=None, name=f"{name}_skip")
    x = norm_act(add([signal, x], name=f"{name}_add"), batch_norm=False, name=name)
    weight = conv_block(x, 1, 1, activation="sigmoid", name=f"{name}_weight")
    return multiply([skip, weight], name=f"{name}_multiply")


def _two_convs(x: Tensor, width: int, *, name: str) -> Tensor:
    for index in range(2):
        x = conv_block(x, width, name=f"{name}_{index}")
    return x
