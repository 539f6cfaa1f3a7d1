"""Swin Transformers, for images of any size."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from .. import analysis
from ..blocks import Shape, Tensor, TensorShape, ops, shape_of
from ..checks import check_input_shape
from ..registry import Builder, EncoderWeights, register_encoder
from .attention import TRUNCATED_NORMAL, add_residual, dense, drop_path_rates, gelu
from .torch_names import timm_names
from .weights import finish_published

# Channels of the first stage (doubled at every stage), blocks per stage, heads of the first stage (doubled too).
VARIANTS = {
    "swin_tiny": (96, (2, 2, 6, 2), 3),
    "swin_small": (96, (2, 2, 18, 2), 3),
    "swin_base": (128, (2, 2, 18, 2), 4),
    "swin_large": (192, (2, 2, 18, 2), 6),
}


def swin_transformer(
    input_shape: Shape,
    width: int,
    depths: Sequence[int],
    heads: int,
    *,
    window: int = 7,
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    drop_path: float = 0.0,
    name: str = "swin",
) -> keras.Model:
    """Builds a Swin Transformer: attention in windows that are shifted in every other block.

    Maps are padded to whole windows inside every block, so one built model takes any size, and the only positional
    table is the bias within a window. An axis that fits into one window is not shifted, as in the published networks
    at 224. The layers carry the published names of timm (`timm/swin_tiny_patch4_window7_224.ms_in1k` ...), with `-`
    for `.`; besides timm's `norm` on the deepest stage every stage's output has a normalisation of its own
    (`norm0` ... `norm3`), as segmentation networks use them. A classification checkpoint lacks those four; they then
    keep their initial values.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        width: Channels of the first stage.
        depths: Blocks per stage.
        heads: Heads of the first stage.
        window: Elements per side of a window: 7, or 12 for the checkpoints trained at 384.
        encoder_weights: `None`, `"imagenet"` where an address is known, a `.safetensors` or `.pth` file with the
            tensors of timm, torchvision or the authors, or a `.weights.h5` file of this encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        drop_path: Rate of stochastic depth at the last block; papers train with 0.2 to 0.3.
        name: Name of the model.

    Returns:
        A model with four outputs, at strides 4, 8, 16 and 32.

    Source: Liu et al., "Swin Transformer", ICCV 2021.
    """
    check_input_shape(name, input_shape, spatial_dims=(2,), multiple=32, minimum=32)
    x = inputs = keras.Input(input_shape, name="image")
    x = layers.Conv2D(width, 4, strides=4, kernel_initializer=TRUNCATED_NORMAL, name="patch_embed-proj")(x)
    x = _norm(x, name="patch_embed-norm")
    features = []
    rates = drop_path_rates(drop_path, depths)
    for stage, depth in enumerate(depths):
        if stage:
            x = PatchMerging(name=f"layers-{stage}-downsample")(x)
            x = _norm(x, name=f"layers-{stage}-downsample-norm")
            x = dense(width * 2**stage, use_bias=False, name=f"layers-{stage}-downsample-reduction")(x)
        for index in range(depth):
            shift = window // 2 if index % 2 else 0
            x = _block(x, heads * 2**stage, window, shift, rates[stage][index], name=f"layers-{stage}-blocks-{index}")
        last = stage == len(depths) - 1
        features.append(_norm(_norm(x, name="norm") if last else x, name=f"norm{stage}"))
    return finish_published(
        keras.Model(inputs, features, name=name),
        encoder_weights,
        freeze_encoder,
        ignored=r"head\.|.*\.attn_mask$|.*\.relative_position_index$",
        optional=r"norm\d\.",
        renamed=timm_names,
    )


def _norm(x: Tensor, *, name: str) -> Tensor:
    return layers.LayerNormalization(epsilon=1e-5, name=name)(x)


def _block(x: Tensor, heads: int, window: int, shift: int, drop_path: float, *, name: str) -> Tensor:
    width = x.shape[-1]
    branch = PadToWindows(window, name=f"{name}-pad")(_norm(x, name=f"{name}-norm1"))
    branch = dense(3 * width, name=f"{name}-attn-qkv")(branch)
    branch = WindowAttention(heads, window, shift, name=f"{name}-attn")([branch, x])
    branch = dense(width, name=f"{name}-attn-proj")(branch)
    x = add_residual(x, branch, drop_path, name=f"{name}-attn")
    branch = dense(4 * width, name=f"{name}-mlp-fc1")(_norm(x, name=f"{name}-norm2"))
    branch = layers.Activation(gelu, name=f"{name}-mlp-gelu")(branch)
    branch = dense(width, name=f"{name}-mlp-fc2")(branch)
    return add_residual(x, branch, drop_path, name=f"{name}-mlp")


@keras.saving.register_keras_serializable("maskzoo")
class PadToWindows(layers.Layer):
    """Pads a map with zeros at the bottom and at the right to whole windows.

    Args:
        window: Elements per side of a window.
    """

    def __init__(self, window: int, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.window = window

    def call(self, x: Tensor) -> Tensor:
        # Never the remainder of a negative number, which converters compute differently from Python.
        missing = [(self.window - size % self.window) % self.window for size in shape_of(x)[1:3]]
        return ops.pad(x, [[0, 0], *([0, size] for size in missing), [0, 0]])

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        sizes = [size and size + -size % self.window for size in input_shape[1:3]]
        return (input_shape[0], *sizes, input_shape[-1])

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "window": self.window}


@keras.saving.register_keras_serializable("maskzoo")
class PatchMerging(layers.Layer):
    """Puts the four elements of every 2x2 patch into the channels of one element, column by column."""

    def call(self, x: Tensor) -> Tensor:
        batch, height, width, _ = shape_of(x)
        channels = x.shape[-1]
        patches = ops.reshape(x, (batch, height // 2, 2, width // 2, 2, channels))
        return ops.reshape(ops.transpose(patches, (0, 1, 3, 4, 2, 5)), (batch, height // 2, width // 2, 4 * channels))

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        sizes = [size and size // 2 for size in input_shape[1:3]]
        return (input_shape[0], *sizes, 4 * input_shape[-1])


@keras.saving.register_keras_serializable("maskzoo")
class WindowAttention(layers.Layer):
    """Lets the elements of every window attend to each other, with a learned bias per relative position.

    Called on `[projections, map]`: query, key and value `(batch, height, width, 3 * channels)`, padded to whole
    windows, and the map before padding, to whose size the result is cut.

    Args:
        heads: Number of heads.
        window: Elements per side of a window.
        shift: Elements by which the windows are shifted; an axis of only one window is never shifted.
    """

    def __init__(self, heads: int, window: int, shift: int = 0, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.heads = heads
        self.window = window
        self.shift = shift
        rows, columns = np.divmod(np.arange(window**2), window)
        rows, columns = (axis[:, None] - axis[None, :] + window - 1 for axis in (rows, columns))
        self._relative_position = rows * (2 * window - 1) + columns

    def build(self, input_shape: TensorShape) -> None:
        self.table = self.add_weight(
            ((2 * self.window - 1) ** 2, self.heads),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            name="relative_position_bias_table",
        )

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        x, unpadded = inputs
        batch, height, width, _ = shape_of(x)
        channels, area = x.shape[-1] // 3, self.window**2
        shifts = [self._shift(size) for size in (height, width)]
        grid = (height // self.window, width // self.window)

        x = self._roll(x, shifts)
        x = ops.reshape(x, (batch, grid[0], self.window, grid[1], self.window, 3 * channels))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (batch * grid[0] * grid[1], area, 3, self.heads, channels // self.heads))
        query: Tensor
        query, key, value = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3)
        scores = ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(key, (0, 1, 3, 2)))
        # Heads first: the gradient of a lookup along the first axis would be sparse.
        bias = ops.take(ops.transpose(self.table), self._relative_position, axis=1)
        scores = scores + ops.cast(bias, scores.dtype)
        if self.shift:
            mask = ops.cast(self._mask(height, width, shifts), scores.dtype)
            scores = ops.reshape(scores, (batch, grid[0] * grid[1], self.heads, area, area)) + mask
            scores = ops.reshape(scores, (batch * grid[0] * grid[1], self.heads, area, area))
        x = ops.transpose(ops.matmul(ops.softmax(scores), value), (0, 2, 1, 3))
        x = ops.reshape(x, (batch, grid[0], grid[1], self.window, self.window, channels))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (batch, height, width, channels))
        x = self._roll(x, [-shift for shift in shifts])
        return x[:, : shape_of(unpadded)[1], : shape_of(unpadded)[2]]

    def _shift(self, size: Tensor) -> Tensor:
        return self.shift * ops.cast(size > self.window, "int32")

    def _roll(self, x: Tensor, shifts: Sequence[Tensor]) -> Tensor:
        if not self.shift:
            return x
        for axis, shift in enumerate(shifts, start=1):
            size = shape_of(x)[axis]
            x = ops.take(x, (ops.arange(size, dtype="int32") + shift) % size, axis=axis)
        return x

    def _mask(self, height: Tensor, width: Tensor, shifts: Sequence[Tensor]) -> Tensor:
        """Keeps apart what the shift brought together from opposite ends of the map: 0, or -100 as published."""
        rows, columns = (self._region(size, shift) for size, shift in zip((height, width), shifts, strict=True))
        region = ops.reshape(3 * rows[:, None] + columns, (-1, self.window, width // self.window, self.window))
        region = ops.reshape(ops.transpose(region, (0, 2, 1, 3)), (-1, 1, self.window**2))
        together = region[..., None] == region[..., None, :]
        return ops.where(together, 0.0, -100.0)

    def _region(self, size: Tensor, shift: Tensor) -> Tensor:
        position = ops.arange(size, dtype="int32")
        return ops.cast(position >= size - self.window, "int32") + ops.cast(position >= size - shift, "int32")

    def compute_output_shape(self, input_shape: Sequence[TensorShape]) -> TensorShape:
        return input_shape[1]

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "heads": self.heads, "window": self.window, "shift": self.shift}


@analysis.register(PadToWindows)
def _pad_to_windows(layer: PadToWindows, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x


@analysis.register(PatchMerging)
def _patch_merging(layer: PatchMerging, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x.gather(2, 2)


@analysis.register(WindowAttention)
def _window_attention(layer: WindowAttention, axis: int, *tracks: analysis.AxisGeometry) -> str:
    return "attends within windows that are laid out from the image's corner"


def _variant(name: str, width: int, depths: Sequence[int], heads: int) -> Builder:
    def builder(
        input_shape: Shape = (None, None, 3),
        *,
        encoder_weights: EncoderWeights = None,
        freeze_encoder: bool = False,
        drop_path: float = 0.0,
        window: int = 7,
    ) -> keras.Model:
        return swin_transformer(
            input_shape,
            width,
            depths,
            heads,
            window=window,
            encoder_weights=encoder_weights,
            freeze_encoder=freeze_encoder,
            drop_path=drop_path,
            name=name,
        )

    builder.__name__ = builder.__qualname__ = name
    builder.__doc__ = f"Builds Swin-{name[5].upper()}; see `swin_transformer` for the arguments."
    return register_encoder(builder)


for _name, _sizes in VARIANTS.items():
    _variant(_name, *_sizes)
