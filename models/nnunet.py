"""nnU-Net's plain network: strided convolutions, instance normalisation, leaky ReLU; 2D or 3D by the input's rank."""

import math
from collections.abc import Sequence

import keras
from keras import layers

from maskzoo.errors import OptionError

from .blocks import Shape, Tensor, concat, transposed
from .centred import centred_conv
from .checks import check_choice, check_count, check_filters, check_input_shape
from .heads import auxiliary_head, segmentation_head
from .norms import NORMS
from .norms import norm as normalised
from .registry import register_model

# A number for all levels, or an entry per level: a number, or one per axis.
PerLevel = int | Sequence[int | Sequence[int]]


@register_model
def nnunet(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (32, 64, 128, 256, 320, 320),
    encoder_convs: int | Sequence[int] = 2,
    decoder_convs: int | Sequence[int] = 2,
    kernel_size: PerLevel = 3,
    strides: PerLevel = 2,
    norm: str = "instance",
    deep_supervision: bool = False,
    activation: str | None = None,
) -> keras.Model:
    """Builds the U-Net of nnU-Net: two convolutions per level, of which the first strides; transposed ones back up.

    Args:
        input_shape: `(*spatial, channels)`. Each spatial size is `None` or a multiple of the product of the strides
            along its axis: 32 with six levels.
        num_classes: Number of output channels.
        filters: Filters per resolution level, finest first.
        encoder_convs: Convolutions per level on the way down; a number, or one per level, finest first.
        decoder_convs: Convolutions per level on the way up; a number, or one per level, coarsest first.
        kernel_size: Odd size of the convolutions; a number, or an entry per level, finest first: a number, or one per
            axis.
        strides: How many times each level is coarser than the one before; a number, or an entry per level. The first
            level is as fine as the image: its entry is 1. nnU-Net's plans hold such lists.
        norm: `"instance"`, which looks at the whole image, or `"batch"`, which keeps tiles exact.
        deep_supervision: Gives every coarser decoder level a head. The outputs are then a dict, all enlarged to the
            image's size: `mask` of the finest level, `aux1`, `aux2`, ... of the coarser ones.
        activation: Activation of the heads; `None` gives logits.

    Raises:
        OptionError: A spatial size, or one of the lists, is not among those allowed.

    Source: Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
    Nature Methods 2021; weights and sums equal `PlainConvUNet` of dynamic-network-architectures.
    """
    check_filters(filters)
    steps = strides_per_level(input_shape, strides, len(filters), "nnunet")
    kernels = kernels_per_level(input_shape, kernel_size, len(filters))
    convs = counts_per_level("encoder_convs", encoder_convs, len(filters))
    check_choice("norm", norm, NORMS)
    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(filters):
        for index in range(convs[level]):
            stride = 1 if index else steps[level]
            x = conv_norm_act(x, width, kernels[level], strides=stride, norm=norm, name=f"encoder{level}_{index}")
        skips.append(x)
    decoder = plain_decoder(skips, steps, kernels, decoder_convs, norm)
    outputs = supervised(decoder, steps, num_classes, deep_supervision, activation)
    return keras.Model(inputs, outputs, name="nnunet")


def conv_norm_act(
    x: Tensor,
    filters: int,
    kernel_size: int | Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
    norm: str,
    use_bias: bool = True,
    activate: bool = True,
    name: str,
) -> Tensor:
    """Convolves, normalises and, unless told otherwise, activates by a leaky ReLU of slope 0.01."""
    x = centred_conv(x, filters, kernel_size, strides=strides, use_bias=use_bias, name=f"{name}_conv")
    x = normalised(x, norm, name=f"{name}_norm")
    return leaky_relu(x, name=f"{name}_leaky_relu") if activate else x


def leaky_relu(x: Tensor, *, name: str) -> Tensor:
    """Activates by a leaky ReLU of slope 0.01."""
    return layers.LeakyReLU(0.01, name=name)(x)


def plain_decoder(
    skips: Sequence[Tensor],
    strides: Sequence[tuple[int, ...]],
    kernels: Sequence[tuple[int, ...]],
    convs: int | Sequence[int],
    norm: str,
) -> list[Tensor]:
    """Goes up level by level: enlarges by a transposed convolution, concatenates, convolves.

    Args:
        skips: Features per level, finest first; the last are the deepest.
        strides: How many times each level is coarser than the one before, per axis.
        kernels: Size of the convolutions of each level.
        convs: Convolutions per level; a number, or one per level, coarsest first.
        norm: Kind of normalisation.

    Returns:
        The decoder's features per level, finest first.

    Raises:
        OptionError: `convs` is no such number or list.
    """
    counts = counts_per_level("decoder_convs", convs, len(skips) - 1)
    x = skips[-1]
    levels = []
    for count, level in zip(counts, reversed(range(len(skips) - 1)), strict=True):
        width, stride = skips[level].shape[-1], strides[level + 1]
        x = transposed(x, width, stride, strides=stride, name=f"decoder{level}_up")
        x = concat([x, skips[level]], name=f"decoder{level}_concat")
        for index in range(count):
            x = conv_norm_act(x, width, kernels[level], norm=norm, name=f"decoder{level}_{index}")
        levels.append(x)
    return levels[::-1] or [x]


def supervised(
    decoder: Sequence[Tensor],
    strides: Sequence[tuple[int, ...]],
    num_classes: int,
    deep_supervision: bool,
    activation: str | None,
) -> Tensor | dict[str, Tensor]:
    """Puts a head on the finest level or, as a dict of outputs of the image's size, on every level.

    Args:
        decoder: Features per level, finest first.
        strides: How many times each level is coarser than the one before, per axis.
        num_classes: Number of output channels.
        deep_supervision: Whether the coarser levels have heads, too.
        activation: Activation of the heads.
    """
    mask = segmentation_head(decoder[0], num_classes, activation)
    if not deep_supervision:
        return mask
    outputs = {"mask": mask}
    for level, x in enumerate(decoder[1:], start=1):
        factor = products(strides[: level + 1])
        outputs[f"aux{level}"] = auxiliary_head(x, num_classes, activation, factor=factor, name=f"aux{level}")
    return outputs


def products(strides: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Returns the product of the levels' strides along each axis."""
    return tuple(map(math.prod, zip(*strides, strict=True)))


def strides_per_level(input_shape: Shape, strides: PerLevel, levels: int, model: str) -> list[tuple[int, ...]]:
    """Returns each level's strides per axis, the first level's being 1, and refuses images that they do not divide.

    Raises:
        OptionError: A spatial size is no multiple of the strides, or they are no such list.
    """
    check_input_shape(model, input_shape)
    if isinstance(strides, int):
        strides = [1] + [strides] * (levels - 1)
    steps = _entries("strides", strides, levels, len(input_shape) - 1)
    if max(steps[0]) > 1:
        raise OptionError("strides", "1 for the first level", strides)
    check_input_shape(model, input_shape, multiple=products(steps), minimum=products(steps))
    return steps


def kernels_per_level(input_shape: Shape, kernel_size: PerLevel, levels: int) -> list[tuple[int, ...]]:
    """Returns the size of each level's convolutions per axis.

    Raises:
        OptionError: A size is even, or they are no such list.
    """
    kernels = _entries("kernel_size", kernel_size, levels, len(input_shape) - 1)
    if any(size % 2 == 0 for kernel in kernels for size in kernel):
        raise OptionError("kernel_size", "odd kernel sizes", kernel_size)
    return kernels


def counts_per_level(option: str, value: int | Sequence[int], levels: int) -> list[int]:
    """Returns a whole number of at least 1 for each level.

    Raises:
        OptionError: There is no such number for every level.
    """
    counts = [value] * levels if isinstance(value, int) else list(value)
    if len(counts) != levels:
        raise OptionError(option, f"a number, or a list of {levels}, one per level", value)
    for count in counts:
        check_count(option, count)
    return counts


def _entries(option: str, value: PerLevel, levels: int, axes: int) -> list[tuple[int, ...]]:
    if isinstance(value, int):
        value = [value] * levels
    if len(value) != levels:
        raise OptionError(option, f"a number, or a list of {levels}, one per level", value)
    entries = [(entry,) * axes if isinstance(entry, int) else tuple(entry) for entry in value]
    for entry in entries:
        if len(entry) != axes:
            raise OptionError(option, f"a number, or {axes}, one per axis, for each level", value)
        for size in entry:
            check_count(option, size)
    return entries
