"""nnU-Net with an encoder of residual blocks; 2D or 3D by the input's rank."""

from collections.abc import Sequence

import keras

from .blocks import Shape, Tensor, add, average_pool
from .checks import check_choice, check_filters, check_input_shape
from .nnunet import (
    PerLevel,
    conv_norm_act,
    counts_per_level,
    kernels_per_level,
    leaky_relu,
    plain_decoder,
    strides_per_level,
    supervised,
)
from .norms import NORMS
from .registry import register_model

# What nnU-Net plans for 8, 24 and 40 GB of memory of a GPU: the side of the square or cubic patch that it trains with,
# in pixels, by the number of axes, for pixels as long as wide.
PATCHES = {"M": {2: 512, 3: 128}, "L": {2: 768, 3: 192}, "XL": {2: 1024, 3: 224}}
WIDEST = {2: 512, 3: 320}


@register_model
def resenc_unet(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    size: str = "L",
    filters: Sequence[int] | None = None,
    blocks: int | Sequence[int] | None = None,
    decoder_convs: int | Sequence[int] = 1,
    kernel_size: PerLevel = 3,
    strides: PerLevel = 2,
    norm: str = "instance",
    deep_supervision: bool = False,
    activation: str | None = None,
) -> keras.Model:
    """Builds nnU-Net's residual-encoder U-Net: deep on the way down, one convolution per level on the way up.

    Args:
        input_shape: `(*spatial, channels)`. Each spatial size is `None` or a multiple of the product of the strides
            along its axis: 32 with six levels.
        num_classes: Number of output channels.
        size: nnU-Net's preset `"M"`, `"L"` or `"XL"`: as many levels as for its patch of 128, 192 or 224 voxels a side
            (six for each of them), or 512, 768 or 1024 pixels (eight, eight and nine).
        filters: Filters per resolution level, finest first; by default the preset's: 32, doubled up to 320 (2D: 512).
        blocks: Residual blocks per level on the way down; a number, or one per level, finest first; by default 1, 3, 4,
            and 6 for each level further down.
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
        OptionError: A spatial size, the preset, or one of the lists, is not among those allowed.

    Source: Isensee et al., "nnU-Net Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation", MICCAI
    2024; weights and sums equal `ResidualEncoderUNet` of dynamic-network-architectures.
    """
    check_choice("size", size, PATCHES)
    check_choice("norm", norm, NORMS)
    check_input_shape("resenc_unet", input_shape)
    if filters is None:
        filters = _planned_filters(size, len(input_shape) - 1)
    check_filters(filters)
    steps = strides_per_level(input_shape, strides, len(filters), "resenc_unet")
    kernels = kernels_per_level(input_shape, kernel_size, len(filters))
    counts = [1, 3, 4] + [6] * len(filters)
    counts = counts_per_level("blocks", counts[: len(filters)] if blocks is None else blocks, len(filters))
    inputs = keras.Input(input_shape, name="image")
    x = conv_norm_act(inputs, filters[0], kernels[0], norm=norm, name="stem")
    skips = []
    for level, width in enumerate(filters):
        for block in range(counts[level]):
            stride = steps[level] if block == 0 else (1,) * len(steps[level])
            x = _residual_block(x, width, kernels[level], stride, norm, name=f"encoder{level}_{block}")
        skips.append(x)
    decoder = plain_decoder(skips, steps, kernels, decoder_convs, norm)
    outputs = supervised(decoder, steps, num_classes, deep_supervision, activation)
    return keras.Model(inputs, outputs, name="resenc_unet")


def _planned_filters(size: str, axes: int) -> list[int]:
    # A patch is halved as long as four pixels a side are left.
    levels = (PATCHES[size][axes] // 4).bit_length()
    return [min(32 * 2**level, WIDEST[axes]) for level in range(levels)]


def _residual_block(
    x: Tensor, filters: int, kernel_size: tuple[int, ...], strides: tuple[int, ...], norm: str, *, name: str
) -> Tensor:
    shortcut = x
    if max(strides) > 1:
        shortcut = average_pool(shortcut, strides, name=f"{name}_shortcut_pool")
    if x.shape[-1] != filters:
        shortcut = conv_norm_act(
            shortcut, filters, 1, norm=norm, use_bias=False, activate=False, name=f"{name}_shortcut"
        )
    x = conv_norm_act(x, filters, kernel_size, strides=strides, norm=norm, name=f"{name}_0")
    x = conv_norm_act(x, filters, kernel_size, norm=norm, activate=False, name=f"{name}_1")
    return leaky_relu(add([shortcut, x], name=f"{name}_add"), name=f"{name}_leaky_relu")
