"""V-Nets for volumes."""

import keras

from .blocks import add, check_input_shape, concat, conv, conv_block, linear_upsample, max_pool, norm_act
from .heads import segmentation_head
from .registry import register_model


@register_model
def vnet3d(input_shape=(None, None, None, 1), num_classes=1, *, depth=4, start_filters=None, activation=None):
    """Builds a V-Net of bottleneck residual blocks, with three-branch down-sampling and trilinear up-sampling.

    Args:
        input_shape: `(*spatial, channels)`, three axes. Each size is `None` or a multiple of `2 ** (depth - 1)`.
        num_classes: Number of output channels.
        depth: Resolution levels, the bottom one included: 2 to 5.
        start_filters: Filters of the finest level, doubled at every level; a multiple of 4. By default the bottom
            level has 256 (so 32 at depth 4, 16 at depth 5).
        activation: Activation of the head; `None` gives logits.

    Raises:
        ValueError: A spatial size, `depth` or `start_filters` is not among those allowed.

    Source: V-Net (Milletari, Navab, Ahmadi, 3DV 2016) with ResNet's bottleneck blocks and Inception's grid reduction.
    """
    if depth not in range(2, 6):
        raise ValueError(f"depth: expected 2 to 5; received {depth}")
    start_filters = start_filters or 256 >> (depth - 1)
    if start_filters % 4:
        raise ValueError(f"start_filters: expected a multiple of 4; received {start_filters}")
    stride = 2 ** (depth - 1)
    check_input_shape("vnet3d", input_shape, ranks=(3,), multiple=stride, minimum=stride)

    x = inputs = keras.Input(input_shape, name="image")
    bottom = depth - 1
    skips = []
    for level, blocks in enumerate((1, 3, 4, 6)[:bottom]):
        width = start_filters * 2**level
        x = _bottlenecks(x, width, blocks, name=f"encoder{level}")
        skips.append(x)
        if level == 0:
            x = conv_block(x, 2 * width, strides=2, name="encoder0_down")
        else:
            x = _three_branches(x, name=f"encoder{level}_down")
    x = _bottlenecks(x, start_filters * 2**bottom, 3, name="bottom")
    for level, blocks in reversed(list(enumerate((1, 2, 3, 3)[:bottom]))):
        width = start_filters * 2**level
        x = linear_upsample(x, name=f"decoder{level}_up")
        x = conv(x, width, 1, name=f"decoder{level}_up_conv")
        x = concat([x, skips[level]], name=f"decoder{level}_concat")
        x = _bottlenecks(x, width, blocks, name=f"decoder{level}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="vnet3d")


def _bottlenecks(x, width, blocks, *, name):
    for index in range(blocks):
        x = _bottleneck(x, width, name=f"{name}_{index}")
    return x


def _bottleneck(x, width, *, name):
    shortcut = x if x.shape[-1] == width else conv_block(x, width, 1, activation=None, name=f"{name}_shortcut")
    x = conv_block(x, width // 4, 1, name=f"{name}_reduce")
    x = conv_block(x, width // 4, 3, name=f"{name}_middle")
    x = conv_block(x, width, 1, activation=None, name=f"{name}_expand")
    x = add([shortcut, x], name=f"{name}_add")
    return norm_act(x, batch_norm=False, name=name)


def _three_branches(x, *, name):
    width = x.shape[-1]
    pooled = max_pool(x, 3, strides=2, padding="same", name=f"{name}_pool")
    single = conv_block(x, width // 2, 3, strides=2, name=f"{name}_single")
    double = conv_block(x, width // 4, 1, name=f"{name}_double0")
    double = conv_block(double, width // 4, 3, name=f"{name}_double1")
    double = conv_block(double, width // 2, 3, strides=2, name=f"{name}_double2")
    return concat([pooled, single, double], name=f"{name}_concat")
