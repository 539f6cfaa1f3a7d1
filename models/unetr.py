"""UNETR: a vision transformer whose states are enlarged by convolutions; 2D or 3D by the input's rank."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from maskzoo.errors import OptionError

from .analysis import AxisGeometry, register
from .blocks import Shape, Tensor, TensorShape, add, concat, conv, ops, shape_of, transposed
from .checks import check_choice, check_count, check_filters, check_input_shape
from .encoders.attention import TRUNCATED_NORMAL, GlobalAttention, SplitChannels, dense, gelu
from .heads import segmentation_head
from .nnunet import conv_norm_act, leaky_relu
from .norms import EPSILON, NORMS
from .registry import register_model

PATCH = 16
# For images of free size.
IMAGE_SIZE = 96


@keras.saving.register_keras_serializable("maskzoo")
class InterpolatedPositions(layers.Layer):
    """Adds a learned vector to each element of a map, by its place; in maps of other sizes, interpolated linearly.

    Args:
        grid: Size of the map that has one vector per element, along each spatial axis.
    """

    def __init__(self, grid: Sequence[int], **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.grid = tuple(grid)

    def build(self, input_shape: TensorShape) -> None:
        shape = (1, *self.grid, input_shape[-1])
        self.table = self.add_weight(shape=shape, initializer=TRUNCATED_NORMAL, name="table")

    def call(self, x: Tensor) -> Tensor:
        table = ops.convert_to_tensor(self.table)
        for axis, (size, new) in enumerate(zip(self.grid, shape_of(x)[1:-1], strict=True), start=1):
            table = ops.moveaxis(ops.tensordot(_places(size, new, table.dtype), table, (1, axis)), 0, axis)
        return x + table

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return input_shape

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "grid": self.grid}


def _places(size: int, new: Tensor, dtype: str) -> Tensor:
    """Returns how much each of `size` elements counts in each of `new` ones: the nearer of two neighbours more."""
    centres = (ops.arange(new, dtype="float32") + 0.5) * (size / ops.cast(new, "float32")) - 0.5
    distances = ops.abs(ops.clip(centres, 0, size - 1)[:, None] - ops.arange(size, dtype="float32"))
    return ops.cast(ops.maximum(1 - distances, 0), dtype)


@register(InterpolatedPositions)
def _interpolated_positions(layer: InterpolatedPositions, axis: int, x: AxisGeometry) -> str:
    return "has weights for every position"


@register_model
def unetr(
    input_shape: Shape = (None, None, None, 1),
    num_classes: int = 1,
    *,
    filters: int = 16,
    image_size: int | Sequence[int] | None = None,
    hidden_filters: int = 768,
    mlp_filters: int = 3072,
    heads: int = 12,
    depth: int = 12,
    dropout: float = 0.0,
    norm: str = "instance",
    activation: str | None = None,
) -> keras.Model:
    """Builds a UNETR: a transformer over patches of 16 elements a side, and a U-Net's decoder over four of its states.

    Args:
        input_shape: `(*spatial, channels)`. Each spatial size is `None` or a multiple of 16.
        num_classes: Number of output channels.
        filters: Filters of the finest level, doubled up to a stride of 8.
        image_size: Size of the images that have one learned position per patch: a number, or one per axis, multiples of
            16. Positions in images of other sizes are interpolated. By default that of `input_shape`, and 96 along axes
            of free size.
        hidden_filters: Width of the transformer, a multiple of `heads`.
        mlp_filters: Width inside the transformer's blocks.
        heads: Heads of attention.
        depth: Blocks of the transformer, a multiple of 4.
        dropout: Rate of dropout in the transformer.
        norm: Of the convolutions: `"instance"`, without learned scale, or `"batch"`. The attention looks at the whole
            image with either.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A spatial size, or one of the options, is not among those allowed.

    Source: Hatamizadeh et al., "UNETR: Transformers for 3D Medical Image Segmentation", WACV 2022; weights and sums
    equal MONAI's `UNETR`, which reads the states behind blocks 4, 7, 10 and 12 instead of 3, 6, 9 and 12.
    """
    check_input_shape("unetr", input_shape, multiple=PATCH, minimum=PATCH)
    counts = {"filters": filters, "hidden_filters": hidden_filters, "mlp_filters": mlp_filters, "heads": heads}
    for option, value in {**counts, "depth": depth}.items():
        check_count(option, value)
    check_choice("norm", norm, NORMS)
    if hidden_filters % heads:
        raise OptionError("hidden_filters", f"a multiple of the {heads} heads", hidden_filters)
    if depth % 4:
        raise OptionError("depth", "a multiple of 4", depth)
    grid = _grid(image_size, input_shape)
    kind = "plain_instance" if norm == "instance" else norm

    def residual_block(x: Tensor, width: int, name: str) -> Tensor:
        shortcut = x
        if x.shape[-1] != width:
            shortcut = conv_norm_act(x, width, 1, norm=kind, use_bias=False, activate=False, name=f"{name}_shortcut")
        x = conv_norm_act(x, width, 3, norm=kind, use_bias=False, name=f"{name}_0")
        x = conv_norm_act(x, width, 3, norm=kind, use_bias=False, activate=False, name=f"{name}_1")
        return leaky_relu(add([shortcut, x], name=f"{name}_add"), name=f"{name}_leaky_relu")

    def up(x: Tensor, width: int, name: str) -> Tensor:
        return transposed(x, width, use_bias=False, name=name)

    inputs = keras.Input(input_shape, name="image")
    x = conv(inputs, hidden_filters, PATCH, strides=PATCH, padding="valid", name="patches")
    x = _dropped(InterpolatedPositions(grid, name="positions")(x), dropout, "positions_dropout")
    states = []
    for index in range(depth):
        x = _transformer_block(x, mlp_filters, heads, dropout, name=f"block{index}")
        states.append(x)
    x = layers.LayerNormalization(epsilon=EPSILON, name="bottom_norm")(x)
    skips = [residual_block(inputs, filters, "encoder0")]
    for level in (1, 2, 3):
        width = filters * 2**level
        skip = up(states[level * depth // 4], width, f"encoder{level}_up")
        for index in range(3 - level):
            skip = residual_block(up(skip, width, f"encoder{level}_{index}_up"), width, f"encoder{level}_{index}")
        skips.append(skip)
    for level in (3, 2, 1, 0):
        width = filters * 2**level
        x = concat([up(x, width, f"decoder{level}_up"), skips[level]], name=f"decoder{level}_concat")
        x = residual_block(x, width, f"decoder{level}")
    return keras.Model(inputs, segmentation_head(x, num_classes, activation), name="unetr")


def _grid(image_size: int | Sequence[int] | None, input_shape: Shape) -> list[int]:
    spatial = tuple(input_shape)[:-1]
    if image_size is None:
        image_size = [size or IMAGE_SIZE for size in spatial]
    sizes = [image_size] * len(spatial) if isinstance(image_size, int) else list(image_size)
    check_filters(sizes, "image_size")
    if len(sizes) != len(spatial) or any(size % PATCH for size in sizes):
        raise OptionError("image_size", f"a multiple of {PATCH}, or {len(spatial)} of them, one per axis", image_size)
    return [size // PATCH for size in sizes]


def _transformer_block(x: Tensor, mlp_filters: int, heads: int, dropout: float, *, name: str) -> Tensor:
    width = x.shape[-1]
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_attention_norm")(x)
    y = dense(3 * width, use_bias=False, name=f"{name}_qkv")(y)
    y = GlobalAttention(heads, name=f"{name}_attention")(SplitChannels([width] * 3, name=f"{name}_split")(y))
    y = dense(width, name=f"{name}_project")(y)
    x = add([x, _dropped(y, dropout, f"{name}_attention_dropout")], name=f"{name}_attention_add")
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_mlp_norm")(x)
    y = dense(mlp_filters, name=f"{name}_expand")(y)
    y = _dropped(layers.Activation(gelu, name=f"{name}_gelu")(y), dropout, f"{name}_expand_dropout")
    y = dense(width, name=f"{name}_compress")(y)
    return add([x, _dropped(y, dropout, f"{name}_mlp_dropout")], name=f"{name}_mlp_add")


def _dropped(x: Tensor, rate: float, name: str) -> Tensor:
    return layers.Dropout(rate, name=name)(x) if rate else x
