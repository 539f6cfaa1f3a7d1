"""MedNeXt: ConvNeXt's blocks at every level of a U-Net, and to change between them; 2D or 3D by the input's rank."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import layers

from maskzoo.errors import OptionError

from .analysis import AxisGeometry, register
from .blocks import Shape, Tensor, TensorShape, add, conv, ops, shape_of, spatial_dims
from .centred import zero_pad
from .checks import check_choice, check_count, check_filters, check_input_shape
from .encoders.attention import gelu
from .nnunet import supervised
from .norms import NORMS
from .norms import norm as normalised
from .registry import register_model
from .vnet3d_depthwise import DepthwiseConv3D


class Size(NamedTuple):
    """Blocks and expansion of each level: down, bottom, up."""

    blocks: tuple[int, ...]
    expansions: tuple[int, ...]


SIZES = {
    "S": Size((2,) * 9, (2,) * 9),
    "B": Size((2,) * 9, (2, 3, 4, 4, 4, 4, 4, 3, 2)),
    "M": Size((3, 4, 4, 4, 4, 4, 4, 4, 3), (2, 3, 4, 4, 4, 4, 4, 3, 2)),
    "L": Size((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}


@keras.saving.register_keras_serializable("maskzoo")
class ZerosBetween(layers.Layer):
    """Puts a zero between every two elements along each spatial axis: `n` become `2 * n - 1`."""

    def call(self, x: Tensor) -> Tensor:
        for axis in range(1, len(x.shape) - 1):
            shape = list(shape_of(x))
            size = shape[axis]
            shape[axis] = 2 * size
            x = ops.reshape(ops.stack([x, ops.zeros_like(x)], axis + 1), shape)
            shape[axis] = 2 * size - 1
            x = ops.slice(x, [0] * len(shape), shape)
        return x

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return (input_shape[0], *(size and 2 * size - 1 for size in input_shape[1:-1]), input_shape[-1])


@register(ZerosBetween)
def _zeros_between(layer: ZerosBetween, axis: int, x: AxisGeometry) -> AxisGeometry:
    return x.scatter(1, 2).pad(0, -1)


@register_model
def mednext(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    size: str = "S",
    kernel_size: int = 3,
    filters: int = 32,
    blocks: Sequence[int] | None = None,
    expansions: Sequence[int] | None = None,
    norm: str = "instance",
    deep_supervision: bool = False,
    activation: str | None = None,
) -> keras.Model:
    """Builds a MedNeXt: depthwise convolution, norm, expansion, GELU, compression; and the input added, at every level.

    Args:
        input_shape: `(*spatial, channels)`. Each spatial size is `None` or a multiple of 16 (at five levels).
        num_classes: Number of output channels.
        size: `"S"`, `"B"`, `"M"` or `"L"`: blocks and expansions as in the paper.
        kernel_size: Odd size of the depthwise convolutions: 3 or 5 in the paper.
        filters: Filters of the finest level, doubled at every level.
        blocks: Blocks of each level down, at the bottom, and up again: an odd number of them, nine for five levels; by
            default those of `size`.
        expansions: How many times wider the blocks of each of these are inside; by default those of `size`.
        norm: `"instance"`, which looks at the whole image, or `"batch"`, which keeps tiles exact.
        deep_supervision: Gives the bottom and every coarser decoder level a head. The outputs are then a dict, all
            enlarged to the image's size: `mask` of the finest level, `aux1`, `aux2`, ... of the coarser ones.
        activation: Activation of the heads; `None` gives logits.

    Raises:
        OptionError: A spatial size, or one of the options, is not among those allowed.

    Source: Roy et al., "MedNeXt: Transformer-driven Scaling of ConvNets for Medical Image Segmentation", MICCAI 2023;
    weights and sums equal MONAI's `MedNeXt`.
    """
    check_choice("size", size, SIZES)
    check_choice("norm", norm, NORMS)
    check_count("filters", filters)
    check_count("kernel_size", kernel_size)
    if kernel_size % 2 == 0:
        raise OptionError("kernel_size", "odd kernel sizes", kernel_size)
    blocks = SIZES[size].blocks if blocks is None else blocks
    expansions = SIZES[size].expansions if expansions is None else expansions
    for option, value in {"blocks": blocks, "expansions": expansions}.items():
        check_filters(value, option)
        if len(value) % 2 == 0 or len(value) != len(blocks):
            raise OptionError(option, f"an odd number of levels, the same in blocks ({len(blocks)})", len(value))
    bottom = len(blocks) // 2
    stride = 2**bottom
    check_input_shape("mednext", input_shape, multiple=stride, minimum=stride)

    def block(x: Tensor, width: int, expansion: int, name: str, strides: int = 1) -> Tensor:
        channels = x.shape[-1]
        x = _depthwise(x, kernel_size, strides, name=f"{name}_depthwise")
        x = normalised(x, norm, name=f"{name}_norm")
        x = conv(x, expansion * channels, 1, name=f"{name}_expand")
        x = layers.Activation(gelu, name=f"{name}_gelu")(x)
        return conv(x, width, 1, name=f"{name}_compress")

    def stage(x: Tensor, position: int, name: str) -> Tensor:
        for index in range(blocks[position]):
            y = block(x, x.shape[-1], expansions[position], f"{name}_{index}")
            x = add([x, y], name=f"{name}_{index}_add")
        return x

    def down(x: Tensor, width: int, expansion: int, name: str) -> Tensor:
        shortcut = conv(x, width, 1, strides=2, name=f"{name}_shortcut")
        return add([block(x, width, expansion, name, strides=2), shortcut], name=f"{name}_add")

    def up(x: Tensor, width: int, expansion: int, name: str) -> Tensor:
        # Between zeros, a convolution is a transposed one.
        x = ZerosBetween(name=f"{name}_zeros")(x)
        shortcut = conv(x, width, 1, name=f"{name}_shortcut")
        x = add([block(x, width, expansion, name), shortcut], name=f"{name}_add")
        return zero_pad(x, [(1, 0)] * spatial_dims(x), name=f"{name}_pad")

    inputs = keras.Input(input_shape, name="image")
    x = conv(inputs, filters, 1, name="stem")
    skips = []
    for level in range(bottom):
        x = stage(x, level, f"encoder{level}")
        skips.append(x)
        x = down(x, filters * 2 ** (level + 1), expansions[level], f"encoder{level}_down")
    x = stage(x, bottom, "bottom")
    decoder = [x]
    for level in reversed(range(bottom)):
        position = 2 * bottom - level
        x = up(x, filters * 2**level, expansions[position], f"decoder{level}_up")
        x = add([x, skips[level]], name=f"decoder{level}_skip")
        x = stage(x, position, f"decoder{level}")
        decoder.insert(0, x)
    strides = [(2 if level else 1,) * spatial_dims(x) for level in range(bottom + 1)]
    outputs = supervised(decoder, strides, num_classes, deep_supervision, activation)
    return keras.Model(inputs, outputs, name="mednext")


def _depthwise(x: Tensor, kernel_size: int, strides: int, *, name: str) -> Tensor:
    padding = "same"
    if strides > 1:
        x = zero_pad(x, [(kernel_size // 2, kernel_size // 2)] * spatial_dims(x), name=f"{name}_pad")
        padding = "valid"
    options: Any = {"strides": strides, "padding": padding, "name": name}
    kind = layers.DepthwiseConv2D if spatial_dims(x) == 2 else DepthwiseConv3D
    return kind(kernel_size, **options)(x)
