"""Vision transformers: patches of 16 x 16 pixels and a class token that all attend to one another."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from .. import analysis
from ..blocks import Shape, Tensor, TensorShape, linear_upsample, max_pool, ops, shape_of
from ..checks import check_input_shape
from ..registry import Builder, EncoderWeights, register_encoder
from .attention import TRUNCATED_NORMAL, GlobalAttention, SplitChannels, add_residual, dense, drop_path_rates, gelu
from .coat import ClassToken
from .weights import finish_published

# Channels, blocks, heads.
VARIANTS = {
    "vit_tiny_16": (192, 12, 3),
    "vit_small_16": (384, 12, 6),
    "vit_base_16": (768, 12, 12),
    "vit_large_16": (1024, 24, 16),
}
PATCH = 16


def vision_transformer(
    input_shape: Shape,
    width: int,
    depth: int,
    heads: int,
    *,
    trained_size: int = 224,
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    drop_path: float = 0.0,
    pyramid: bool = True,
    class_tokens: bool = False,
    name: str = "vit",
) -> keras.Model:
    """Builds a vision transformer whose features leave after each quarter of its blocks.

    The layers carry the names of timm (`timm/vit_base_patch16_224` ...), with `-` for `.`. The table of positions is
    resized to other images than those of the trained size by antialiased bicubic interpolation, as there.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        width: Channels.
        depth: Blocks; a multiple of 4.
        heads: Heads of the attention; divides the channels.
        trained_size: Pixels per side of the images that the table of positions is for.
        encoder_weights: `None`, a `.safetensors`, `.pth`, `.pt` or `.bin` file with timm's tensors, or a
            `.weights.h5` file of this encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        drop_path: Rate of stochastic depth at the last block.
        pyramid: Resizes the four maps, all of stride 16, to strides 4, 8, 16 and 32.
        class_tokens: Gives every position of a map the channels of the class token behind its own.
        name: Name of the model.

    Returns:
        A model with four outputs, at strides 4, 8, 16 and 32, or all at 16.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, as in timm.
    """
    check_input_shape(name, input_shape, spatial_dims=(2,), multiple=2 * PATCH, minimum=2 * PATCH)
    inputs = keras.Input(input_shape, name="image")
    patches = layers.Conv2D(width, PATCH, strides=PATCH, name="patch_embed-proj")(inputs)
    token = ClassToken(name="cls_token")(patches)
    x = PositionTable(trained_size // PATCH, name="pos_embed")([patches, token])
    features = []
    for index, rate in enumerate(drop_path_rates(drop_path, (depth,))[0]):
        x = _block(x, heads, rate, name=f"blocks-{index}")
        if (index + 1) % (depth // 4) == 0:
            level = len(features)
            feature = TokenMap(class_tokens, name=f"level{level}_map")([x, patches])
            features.append(_at_level(feature, level) if pyramid else feature)
    return finish_published(
        keras.Model(inputs, features, name=name),
        encoder_weights,
        freeze_encoder,
        prefix=r"(?:(?:module|model|_orig_mod|backbone|encoder)\.)*",
        ignored=r"(norm|head|fc_norm|pre_logits)\.",
    )


def _at_level(x: Tensor, level: int) -> Tensor:
    """Returns a map of stride 16 at stride 4, 8, 16 or 32."""
    if level == 3:
        return max_pool(x, name=f"level{level}")
    return linear_upsample(x, 4 >> level, name=f"level{level}") if level < 2 else x


def _block(x: Tensor, heads: int, drop_path: float, *, name: str) -> Tensor:
    width = x.shape[-1]
    branch = layers.LayerNormalization(epsilon=1e-6, name=f"{name}-norm1")(x)
    branch = dense(3 * width, name=f"{name}-attn-qkv")(branch)
    branch = SplitChannels((width,) * 3, name=f"{name}-attn-split")(branch)
    branch = GlobalAttention(heads, name=f"{name}-attn")(branch)
    branch = dense(width, name=f"{name}-attn-proj")(branch)
    x = add_residual(x, branch, drop_path, name=f"{name}-attn")
    branch = layers.LayerNormalization(epsilon=1e-6, name=f"{name}-norm2")(x)
    branch = dense(4 * width, name=f"{name}-mlp-fc1")(branch)
    branch = layers.Activation(gelu, name=f"{name}-mlp-gelu")(branch)
    branch = dense(width, name=f"{name}-mlp-fc2")(branch)
    return add_residual(x, branch, drop_path, name=f"{name}-mlp")


@keras.saving.register_keras_serializable("maskzoo")
class PositionTable(layers.Layer):
    """Adds a learned vector per position, and puts patches behind the class token: `(batch, 1, 1 + patches, channels)`.

    Called on `[map, token]`.

    Args:
        side: Positions per side of the table, which is resized to maps of other sizes.
    """

    def __init__(self, side: int, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.side = side

    def build(self, input_shape: Sequence[TensorShape]) -> None:
        shape = (1, 1 + self.side**2, input_shape[0][-1])
        self.table = self.add_weight(shape, initializer=TRUNCATED_NORMAL, name="table")

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        x, token = inputs
        batch, height, width, channels = shape_of(x)
        grid = ops.reshape(self.table[0, 1:], (self.side, self.side, channels))
        rows, columns = (_cubic_weights(self.side, size) for size in (height, width))
        grid = ops.einsum("ijc,hi,wj->hwc", ops.cast(grid, "float32"), rows, columns)
        patches = ops.reshape(x + ops.cast(grid, x.dtype), (batch, 1, height * width, channels))
        return ops.concatenate([token + ops.cast(self.table[0, 0], x.dtype), patches], axis=2)

    def compute_output_shape(self, input_shape: Sequence[TensorShape]) -> TensorShape:
        batch, height, width, channels = input_shape[0]
        return (batch, 1, height and width and 1 + height * width, channels)

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "side": self.side}


def _cubic_weights(small: int, large: Tensor) -> Tensor:
    """Returns weights `(large, small)` of antialiased bicubic resizing, with clamped edges."""
    factor = small / ops.cast(large, "float32")
    positions = (ops.cast(ops.arange(large, dtype="int32"), "float32") + 0.5) * factor - 0.5
    distances = ops.abs(positions[:, None] - ops.arange(small, dtype="float32")) / ops.maximum(factor, 1.0)
    near = (1.5 * distances - 2.5) * distances**2 + 1.0
    far = ((-0.5 * distances + 2.5) * distances - 4.0) * distances + 2.0
    weights = ops.where(distances < 1.0, near, ops.where(distances < 2.0, far, 0.0))
    return weights / ops.sum(weights, axis=1, keepdims=True)


@keras.saving.register_keras_serializable("maskzoo")
class TokenMap(layers.Layer):
    """Lays tokens behind a class token out as a map: called on `[tokens, map of that size]`.

    Args:
        class_token: Whether every position gets the channels of the class token behind its own.
    """

    def __init__(self, class_token: bool, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.class_token = class_token

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        tokens, like = inputs
        x = ops.reshape(tokens[:, :, 1:], shape_of(like))
        if not self.class_token:
            return x
        return ops.concatenate([x, ops.zeros_like(x) + tokens[:, :, :1]], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[TensorShape]) -> TensorShape:
        *spatial, channels = input_shape[1]
        return (*spatial, channels * (1 + self.class_token))

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "class_token": self.class_token}


@analysis.register(PositionTable)
def _position_table(layer: PositionTable, axis: int, *tracks: analysis.AxisGeometry) -> str:
    return "knows positions in the whole image"


@analysis.register(TokenMap)
def _token_map(
    layer: TokenMap, axis: int, tokens: analysis.AxisGeometry, like: analysis.AxisGeometry
) -> analysis.AxisGeometry:
    return like


def _variant(name: str, width: int, depth: int, heads: int) -> Builder:
    def builder(
        input_shape: Shape = (None, None, 3),
        *,
        encoder_weights: EncoderWeights = None,
        freeze_encoder: bool = False,
        trained_size: int = 224,
        drop_path: float = 0.0,
        pyramid: bool = True,
        class_tokens: bool = False,
    ) -> keras.Model:
        return vision_transformer(
            input_shape,
            width,
            depth,
            heads,
            trained_size=trained_size,
            encoder_weights=encoder_weights,
            freeze_encoder=freeze_encoder,
            drop_path=drop_path,
            pyramid=pyramid,
            class_tokens=class_tokens,
            name=name,
        )

    builder.__name__ = builder.__qualname__ = name
    builder.__doc__ = f"Builds a vision transformer, {name[4:-3]}; see `vision_transformer` for the arguments."
    return register_encoder(builder)


for _name, _sizes in VARIANTS.items():
    _variant(_name, *_sizes)
