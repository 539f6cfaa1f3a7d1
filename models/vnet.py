"""V-Net in two dimensions."""

from collections.abc import Sequence

import keras

from maskzoo.errors import OptionError

from .blocks import Shape, Tensor, add, concat, conv_block, norm_act, pad_channels, prelu, transposed
from .checks import check_count, check_input_shape
from .heads import segmentation_head
from .registry import register_model


@register_model
def vnet(
    input_shape: Shape = (None, None, 1),
    num_classes: int = 1,
    *,
    depth: int = 5,
    start_filters: int = 16,
    kernel_size: int | Sequence[int] = 5,
    shared_prelu: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds a 2D V-Net: stages of 5x5 convolutions that learn a residual, strided convolutions instead of pooling.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of `2 ** (depth - 1)`. A single
            channel is added to all filters of the first stage; several, up to `start_filters`, are padded with zeros.
        num_classes: Number of output channels.
        depth: Resolution levels, the bottom one included.
        start_filters: Filters of the finest level, doubled at every level.
        kernel_size: Size of the stages' convolutions.
        shared_prelu: One slope per channel; `False` gives one per element, which needs fixed sizes.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or the number of channels is not allowed, or free sizes with `shared_prelu=False`.

    Source: Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, in 2D and with batch normalisation.
    """
    check_count("depth", depth)
    check_count("start_filters", start_filters)
    stride = 2 ** (depth - 1)
    check_input_shape("vnet", input_shape, spatial_dims=(2,), multiple=stride, minimum=stride)
    check_channels("vnet", input_shape, start_filters)
    if not shared_prelu and None in input_shape:
        raise OptionError("vnet", "fixed sizes with shared_prelu=False", tuple(input_shape))

    def activated(x: Tensor, name: str) -> Tensor:
        return prelu(x, shared=shared_prelu, name=f"{name}_prelu")

    def stage(x: Tensor, filters: int, convs: int, shortcut: Tensor, name: str) -> Tensor:
        for index in range(convs):
            x = conv_block(x, filters, kernel_size, activation=None, name=f"{name}_{index}")
            x = activated(x, f"{name}_{index}")
        if shortcut.shape[-1] > 1:
            shortcut = pad_channels(shortcut, filters, name=f"{name}_shortcut")
        return add([x, shortcut], name=f"{name}_add")

    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level in range(depth):
        filters = start_filters * 2**level
        if level:
            x = conv_block(x, filters, 2, strides=2, activation=None, name=f"encoder{level}_down")
            x = activated(x, f"encoder{level}_down")
        x = stage(x, filters, min(level + 1, 3), x, f"encoder{level}")
        skips.append(x)
    for level in reversed(range(depth - 1)):
        filters = start_filters * 2**level
        x = transposed(x, filters, name=f"decoder{level}_up_conv")
        x = norm_act(x, activation=None, name=f"decoder{level}_up")
        up = activated(x, f"decoder{level}_up")
        x = concat([skips[level], up], name=f"decoder{level}_concat")
        x = stage(x, 2 * filters, min(level + 1, 3), up, f"decoder{level}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="vnet")


def check_channels(model: str, input_shape: Shape, most: int) -> None:
    """Refuses more input channels than the first stage has filters: its shortcut could not carry them.

    Raises:
        OptionError: There are more than `most` channels.
    """
    if (input_shape[-1] or 0) > most:
        raise OptionError(model, f"at most {most} channels in input_shape", input_shape[-1])
