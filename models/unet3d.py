"""3D U-Nets: the valid-padded one of 2016, and the same with zero padding."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from .blocks import Shape, Tensor, concat, conv_block, crop, max_pool, transposed, upsample
from .checks import check_choice, check_filters, check_input_shape, valid_crops, valid_sizes
from .heads import segmentation_head
from .registry import register_model


@register_model
def unet3d(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (32, 64, 128, 256),
    batch_norm: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds the valid-padded 3D U-Net, whose output is 88 voxels smaller than its input along each axis.

    Args:
        input_shape: `(*spatial, channels)`, three axes. Each size is `None` or, with four levels, `8 * k + 4` and at
            least 92.
        num_classes: Number of output channels.
        filters: Filters of each level's first convolution, finest first; the second has twice as many.
        batch_norm: Normalises before every ReLU.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size is not among those allowed.

    Source: Cicek, Abdulkadir, Lienkamp, Brox, Ronneberger, "3D U-Net", MICCAI 2016.
    """
    check_filters(filters)
    rule = valid_sizes(len(filters))
    check_input_shape(
        "unet3d",
        input_shape,
        spatial_dims=(3,),
        multiple=rule.multiple,
        remainder=rule.remainder,
        minimum=rule.minimum,
    )
    inputs = keras.Input(input_shape, name="image")

    def up(x: Tensor, name: str) -> Tensor:
        return transposed(x, x.shape[-1], use_bias=False, name=name)

    x = _ladder(inputs, filters, up, valid_crops(len(filters)), padding="valid", batch_norm=batch_norm)
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="unet3d")


@register_model
def unet3d_padded(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (32, 64, 128, 256),
    up: str = "transpose",
    batch_norm: bool = True,
    activation: str | None = None,
) -> keras.Model:
    """Builds the 3D U-Net with zero padding: logits of the same size as the volume.

    Args:
        input_shape: `(*spatial, channels)`, three axes. Each size is `None` or a multiple of `2 ** (len(filters) - 1)`.
        num_classes: Number of output channels.
        filters: Filters of each level's first convolution, finest first; the second has twice as many.
        up: `"transpose"` (transposed convolution 2x2x2), or `"nearest"` (repeated elements, nothing to learn).
        batch_norm: Normalises before every ReLU.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size or `up` is not among those allowed.

    Source: Cicek et al., "3D U-Net", MICCAI 2016, with same padding.
    """
    check_filters(filters)
    check_choice("up", up, ("transpose", "nearest"))
    stride = 2 ** (len(filters) - 1)
    check_input_shape("unet3d_padded", input_shape, spatial_dims=(3,), multiple=stride, minimum=stride)
    inputs = keras.Input(input_shape, name="image")

    def enlarged(x: Tensor, name: str) -> Tensor:
        return transposed(x, x.shape[-1], name=name) if up == "transpose" else upsample(x, name=name)

    x = _ladder(inputs, filters, enlarged, [0] * len(filters), padding="same", batch_norm=batch_norm)
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="unet3d_padded")


def _ladder(
    x: Tensor,
    filters: Sequence[int],
    up: Callable[[Tensor, str], Tensor],
    crops: Sequence[int],
    *,
    padding: str,
    batch_norm: bool,
) -> Tensor:
    options: dict[str, Any] = {"padding": padding, "batch_norm": batch_norm}
    skips = []
    for level, width in enumerate(filters):
        if level:
            x = max_pool(x, name=f"encoder{level}_pool")
        x = conv_block(x, width, name=f"encoder{level}_0", **options)
        x = conv_block(x, 2 * width, name=f"encoder{level}_1", **options)
        skips.append(x)
    for level in reversed(range(len(filters) - 1)):
        x = up(x, f"decoder{level}_up")
        skip = crop(skips[level], crops[level], name=f"decoder{level}_crop") if crops[level] else skips[level]
        x = concat([skip, x], name=f"decoder{level}_concat")
        for index in range(2):
            x = conv_block(x, 2 * filters[level], name=f"decoder{level}_{index}", **options)
    return x
