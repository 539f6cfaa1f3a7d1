"""V-Nets for volumes: of bottleneck blocks, of plain convolutions, and as in the paper."""

from collections.abc import Callable, Sequence

import keras

from maskzoo.errors import OptionError

from .blocks import (
    Shape,
    Tensor,
    add,
    concat,
    conv,
    conv_block,
    linear_upsample,
    max_pool,
    norm_act,
    pad_channels,
    prelu,
    transposed,
)
from .checks import check_choice, check_count, check_input_shape
from .heads import segmentation_head
from .registry import register_model
from .vnet import check_channels


@register_model
def vnet3d(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    depth: int = 4,
    start_filters: int | None = None,
    activation: str | None = None,
) -> keras.Model:
    """Builds a V-Net of bottleneck residual blocks, with three-branch down-sampling and trilinear up-sampling.

    Args:
        input_shape: `(*spatial, channels)`, three axes. Each size is `None` or a multiple of `2 ** (depth - 1)`.
        num_classes: Number of output channels.
        depth: Resolution levels, the bottom one included: 2 to 5.
        start_filters: Filters of the finest level, doubled at every level; a multiple of 4. By default the bottom
            level has 256 (so 32 at depth 4, 16 at depth 5).
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size, `depth` or `start_filters` is not among those allowed.

    Source: V-Net (Milletari, Navab, Ahmadi, 3DV 2016) with ResNet's bottleneck blocks and Inception's grid reduction.
    """
    if depth not in range(2, 6):
        raise OptionError("depth", "2 to 5", depth)
    if start_filters is None:
        start_filters = 256 >> (depth - 1)
    check_count("start_filters", start_filters)
    if start_filters % 4:
        raise OptionError("start_filters", "a multiple of 4", start_filters)
    stride = 2 ** (depth - 1)
    check_input_shape("vnet3d", input_shape, spatial_dims=(3,), multiple=stride, minimum=stride)

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
        x = _linear_up(x, width, name=f"decoder{level}_up")
        x = concat([x, skips[level]], name=f"decoder{level}_concat")
        x = _bottlenecks(x, width, blocks, name=f"decoder{level}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="vnet3d")


@register_model
def vnet3d_plain(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    depth: int = 5,
    start_filters: int = 16,
    kernel_size: int | Sequence[int] = 5,
    up: str = "linear",
    batch_norm: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds a V-Net of plain convolutions, whose blocks add their input with its channels padded by zeros.

    Args:
        input_shape: `(*spatial, channels)`, three axes. Each size is `None` or a multiple of `2 ** (depth - 1)`; up to
            `start_filters` channels.
        num_classes: Number of output channels.
        depth: Resolution levels, the bottom one included.
        start_filters: Filters of the finest level, doubled at every level.
        kernel_size: Size of the blocks' convolutions.
        up: `"linear"` (trilinear, then convolution 1x1x1), or `"transpose"` (transposed convolution 2x2x2).
        batch_norm: Normalises after every convolution of a block.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size, the number of channels or `up` is not among those allowed.

    Source: Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, with batch normalisation and linear up-sampling.
    """

    def convs(x: Tensor, filters: int, count: int, name: str) -> Tensor:
        for index in range(count):
            x = conv_block(
                x, filters, kernel_size, batch_norm=batch_norm, activation="leaky_relu", name=f"{name}_{index}"
            )
        return x

    check_count("depth", depth)
    check_count("start_filters", start_filters)
    stride = 2 ** (depth - 1)
    check_input_shape("vnet3d_plain", input_shape, spatial_dims=(3,), multiple=stride, minimum=stride)
    check_channels("vnet3d_plain", input_shape, start_filters)
    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level in range(depth):
        filters = start_filters * 2**level
        if level:
            x = conv(x, filters, 2, strides=2, name=f"encoder{level}_down")
        x = padded_sum(x, convs(x, filters, min(level + 1, 3), f"encoder{level}"), name=f"encoder{level}")
        skips.append(x)
    x = plain_decoder(x, skips[:-1], convs, start_filters, up)
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="vnet3d_plain")


@register_model
def vnet3d_paper(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    start_filters: int = 16,
    kernel_size: int | Sequence[int] = 5,
    encoder_convs: Sequence[int] = (1, 2, 3, 3, 3),
    decoder_convs: Sequence[int] = (3, 3, 2, 1),
    shared_prelu: bool = True,
    batch_norm: bool = False,
    activation: str | None = None,
) -> keras.Model:
    """Builds the V-Net of the paper's figure 2.

    Args:
        input_shape: `(*spatial, channels)`, three axes. Each size is `None` or a multiple of 16 (at five levels). A
            single channel is added to all filters of the first stage; several are padded with zeros.
        num_classes: Number of output channels.
        start_filters: Filters of the finest level, doubled at every level.
        kernel_size: Size of the stages' convolutions.
        encoder_convs: Convolutions per stage on the way down, finest first. The published prototxt has 1, 1, 2, 3, 3.
        decoder_convs: Convolutions per stage on the way up, coarsest first. The published prototxt has 3, 2, 1, 1.
        shared_prelu: One slope per channel; `False` gives one per element, which needs fixed sizes.
        batch_norm: Normalises after every convolution but the last; the paper's network does not.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size, the number of channels or of stages is not among those allowed, or free sizes with
            `shared_prelu=False`.

    Source: Milletari, Navab, Ahmadi, "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
    Segmentation", 3DV 2016.
    """
    if len(decoder_convs) != len(encoder_convs) - 1:
        raise OptionError(
            "decoder_convs", f"one stage fewer than in encoder_convs ({len(encoder_convs)})", len(decoder_convs)
        )
    stride = 2 ** len(decoder_convs)
    check_input_shape("vnet3d_paper", input_shape, spatial_dims=(3,), multiple=stride, minimum=stride)
    check_channels("vnet3d_paper", input_shape, start_filters)
    if not shared_prelu and None in input_shape:
        raise OptionError("vnet3d_paper", "fixed sizes with shared_prelu=False", tuple(input_shape))

    def normalised(x: Tensor, name: str) -> Tensor:
        return norm_act(x, batch_norm=batch_norm, activation=None, name=name)

    def activated(x: Tensor, name: str) -> Tensor:
        return prelu(x, shared=shared_prelu, name=f"{name}_prelu")

    def stage(x: Tensor, filters: int, convs: int, name: str) -> Tensor:
        shortcut = pad_channels(x, filters, name=f"{name}_shortcut") if x.shape[-1] > 1 else x
        for index in range(convs):
            x = normalised(conv(x, filters, kernel_size, name=f"{name}_{index}_conv"), f"{name}_{index}")
            if index == convs - 1:
                x = add([x, shortcut], name=f"{name}_add")
            x = activated(x, f"{name}_{index}")
        return x

    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level, convs in enumerate(encoder_convs):
        filters = start_filters * 2**level
        if level:
            x = conv(x, filters, 2, strides=2, name=f"encoder{level}_down_conv")
            x = activated(normalised(x, f"encoder{level}_down"), f"encoder{level}_down")
        x = stage(x, filters, convs, f"encoder{level}")
        skips.append(x)
    for level, convs in zip(reversed(range(len(decoder_convs))), decoder_convs, strict=True):
        filters = start_filters * 2**level
        x = normalised(transposed(x, filters, name=f"decoder{level}_up_conv"), f"decoder{level}_up")
        x = activated(x, f"decoder{level}_up")
        x = concat([skips[level], x], name=f"decoder{level}_concat")
        x = stage(x, 2 * filters, convs, f"decoder{level}")
    x = activated(normalised(conv(x, num_classes, kernel_size, name="head_conv"), "head"), "head")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="vnet3d_paper")


def _bottlenecks(x: Tensor, width: int, blocks: int, *, name: str) -> Tensor:
    for index in range(blocks):
        x = _bottleneck(x, width, name=f"{name}_{index}")
    return x


def _bottleneck(x: Tensor, width: int, *, name: str) -> Tensor:
    shortcut = x if x.shape[-1] == width else conv_block(x, width, 1, activation=None, name=f"{name}_shortcut")
    x = conv_block(x, width // 4, 1, name=f"{name}_reduce")
    x = conv_block(x, width // 4, 3, name=f"{name}_middle")
    x = conv_block(x, width, 1, activation=None, name=f"{name}_expand")
    x = add([shortcut, x], name=f"{name}_add")
    return norm_act(x, batch_norm=False, name=name)


def _three_branches(x: Tensor, *, name: str) -> Tensor:
    width = x.shape[-1]
    pooled = max_pool(x, 3, strides=2, padding="same", name=f"{name}_pool")
    single = conv_block(x, width // 2, 3, strides=2, name=f"{name}_single")
    double = conv_block(x, width // 4, 1, name=f"{name}_double0")
    double = conv_block(double, width // 4, 3, name=f"{name}_double1")
    double = conv_block(double, width // 2, 3, strides=2, name=f"{name}_double2")
    return concat([pooled, single, double], name=f"{name}_concat")


def plain_decoder(
    x: Tensor, skips: list[Tensor], convs: Callable[[Tensor, int, int, str], Tensor], start_filters: int, up: str
) -> Tensor:
    """Goes up level by level: enlarges, concatenates, convolves by `convs(x, filters, count, name)`, and adds."""
    check_choice("up", up, ("linear", "transpose"))
    for level, skip in reversed(list(enumerate(skips))):
        filters = start_filters * 2**level
        if up == "transpose":
            x = transposed(x, filters, name=f"decoder{level}_up")
        else:
            x = _linear_up(x, filters, name=f"decoder{level}_up")
        x = concat([x, skip], name=f"decoder{level}_concat")
        x = padded_sum(x, convs(x, 2 * filters, min(level + 1, 3), f"decoder{level}"), name=f"decoder{level}")
    return x


def _linear_up(x: Tensor, filters: int, *, name: str) -> Tensor:
    """Convolves 1x1x1, then enlarges linearly: the two commute, and this order costs an eighth."""
    return linear_upsample(conv(x, filters, 1, name=f"{name}_conv"), name=name)


def padded_sum(x: Tensor, y: Tensor, *, name: str) -> Tensor:
    """Adds two tensors, the narrower one padded with channels of zeros."""
    width = max(x.shape[-1], y.shape[-1])
    return add([pad_channels(z, width, name=f"{name}_shortcut") for z in (x, y)], name=f"{name}_add")
