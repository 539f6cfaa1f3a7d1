"""2.5D U-Net for volumes of few thick slices."""

from collections.abc import Sequence

import keras
from keras import layers

from maskzoo.errors import OptionError

from .analysis import AxisGeometry, register
from .blocks import (
    Shape,
    Tensor,
    TensorShape,
    add,
    concat,
    conv,
    conv_block,
    linear_upsample,
    max_pool,
    multiply,
    norm_act,
    ops,
    shape_of,
)
from .checks import check_filters, check_input_shape
from .heads import segmentation_head
from .registry import register_model


@keras.saving.register_keras_serializable("maskzoo")
class FitSlices(layers.Layer):
    """Gives a volume as many slices as another has: cuts slices off at the end, or appends slices of zeros."""

    def call(self, volumes: Sequence[Tensor]) -> Tensor:
        x, reference = volumes
        slices = shape_of(reference)[3]
        missing = slices - shape_of(x)[3]
        # A known number must stay a Python number: jax accepts nothing else as padding.
        missing = max(missing, 0) if isinstance(missing, int) else ops.maximum(missing, 0)
        return ops.pad(x, [(0, 0), (0, 0), (0, 0), (0, missing), (0, 0)])[:, :, :, :slices]

    def compute_output_shape(self, input_shapes: Sequence[TensorShape]) -> TensorShape:
        x, reference = input_shapes
        return (*x[:3], reference[3], x[4])


@register(FitSlices)
def _fit_slices_geometry(layer: FitSlices, axis: int, x: AxisGeometry, reference: AxisGeometry) -> AxisGeometry:
    return x if axis < 2 else x.pad(0, reference.size - x.size)


@register_model
def unet25d(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    filters: Sequence[int] = (16, 32, 64, 128, 256),
    in_plane_levels: int = 2,
    attention: bool = True,
    attention_maps: bool = False,
    activation: str | None = None,
) -> keras.Model:
    """Builds a 2.5D U-Net: the finest levels convolve and pool in the plane only, the others in all three directions.

    Spatial attention stands before the bottom block and before every decoder block.

    Args:
        input_shape: `(height, width, slices, channels)`. Height and width are `None` or multiples of
            `2 ** (len(filters) - 1)`; there may be any number of slices.
        num_classes: Number of output channels.
        filters: Filters per resolution level, finest first.
        in_plane_levels: Number of finest levels that do not mix slices.
        attention: Weighs the input of the bottom block and of every decoder block by attention maps.
        attention_maps: Makes the maps outputs, to be supervised. The outputs are then a dict: `mask`, and `attention0`
            (finest) to `attention4` (bottom), with one channel of values between 0 and 1 at their level's size. A
            decoder level that has an odd number of slices is given one more, of zeros, before its map is made.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size is not among those allowed, or `attention_maps` without `attention`.

    Source: Wang et al., "Automatic Segmentation of Vestibular Schwannoma from T2-Weighted MRI by Deep Spatial Attention
    with Hardness-Weighted Loss", MICCAI 2019.
    """
    check_filters(filters)
    if attention_maps and not attention:
        raise OptionError("attention_maps", "attention=True with attention_maps=True", "attention=False")
    stride = 2 ** (len(filters) - 1)
    check_input_shape(
        "unet25d", input_shape, spatial_dims=(3,), multiple=(stride, stride, 1), minimum=(stride, stride, 1)
    )
    bottom = len(filters) - 1
    maps = {}

    def kernel(level: int) -> int | tuple[int, ...]:
        return (3, 3, 1) if level < in_plane_levels else 3

    def attend(x: Tensor, level: int) -> Tensor:
        if not attention:
            return x
        name = f"attention{level}"
        weight = conv(x, x.shape[-1] // 2, kernel(level), name=f"{name}_conv")
        weight = conv(norm_act(weight, batch_norm=False, name=name), 1, kernel(level), name=f"{name}_map")
        maps[name] = layers.Activation("sigmoid", dtype="float32", name=name)(weight)
        return add([x, multiply([x, maps[name]], name=f"{name}_multiply")], name=f"{name}_add")

    def block(x: Tensor, level: int, name: str) -> Tensor:
        for index in range(2):
            x = conv_block(x, filters[level], kernel(level), name=f"{name}_{index}")
        return x

    x = inputs = keras.Input(input_shape, name="image")
    skips = []
    for level in range(bottom):
        x = block(x, level, f"encoder{level}")
        skips.append(x)
        if level < in_plane_levels:
            x = max_pool(x, (2, 2, 1), name=f"encoder{level}_pool")
        else:
            x = max_pool(x, 3, strides=2, padding="same", name=f"encoder{level}_pool")
    x = block(attend(x, bottom), bottom, "bottom")
    for level in reversed(range(bottom)):
        skip = skips[level]
        in_plane = level < in_plane_levels
        x = linear_upsample(x, (2, 2, 1) if in_plane else 2, name=f"decoder{level}_up")
        x = conv(x, filters[level], kernel(level), name=f"decoder{level}_up_conv")
        if not in_plane:
            skip = FitSlices(name=f"decoder{level}_pad")([skip, x])
        x = concat([skip, x], name=f"decoder{level}_concat")
        x = block(attend(x, level), level, f"decoder{level}")
        if not in_plane:
            x = FitSlices(name=f"decoder{level}_crop")([x, skips[level]])
    mask = segmentation_head(x, num_classes, activation, kernel_size=(3, 3, 1))
    return keras.Model(inputs, {"mask": mask, **maps} if attention_maps else mask, name="unet25d")
