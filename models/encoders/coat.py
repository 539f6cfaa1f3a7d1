"""CoaT and CoaT-Lite: transformers with convolutional position encodings and factorised attention."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers

from .. import analysis
from ..blocks import LinearUpsampling, Shape, Tensor, TensorShape, ops, shape_of
from ..checks import check_input_shape
from ..registry import Builder, EncoderWeights, register_encoder
from .attention import TRUNCATED_NORMAL, SplitChannels, add_residual, dense, gelu
from .weights import finish_published

# Channels, blocks and expansion of the MLP per stage; parallel blocks over the three coarsest stages.
VARIANTS = {
    "coat_tiny": ((152, 152, 152, 152), (2, 2, 2, 2), (4, 4, 4, 4), 6),
    "coat_mini": ((152, 216, 216, 216), (2, 2, 2, 2), (4, 4, 4, 4), 6),
    "coat_small": ((152, 320, 320, 320), (2, 2, 2, 2), (4, 4, 4, 4), 6),
    "coat_lite_tiny": ((64, 128, 256, 320), (2, 2, 2, 2), (8, 8, 4, 4), 0),
    "coat_lite_mini": ((64, 128, 320, 512), (2, 2, 2, 2), (8, 8, 4, 4), 0),
    "coat_lite_small": ((64, 128, 320, 512), (3, 4, 6, 3), (8, 8, 4, 4), 0),
    "coat_lite_medium": ((128, 256, 320, 512), (3, 6, 10, 8), (4, 4, 4, 4), 0),
}
HEADS = 8
# The convolution that encodes the positions of a map, and those that encode the positions of its values, per window.
Encodings = tuple[layers.Layer, Sequence[layers.Layer]]
# Kernel size -> heads that see their relative positions through it.
WINDOWS = {3: 2, 5: 3, 7: 3}


def coat(
    input_shape: Shape,
    widths: Sequence[int],
    depths: Sequence[int],
    expansions: Sequence[int],
    parallel_depth: int = 0,
    *,
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    drop_path: float = 0.0,
    name: str = "coat",
) -> keras.Model:
    """Builds a CoaT (with parallel blocks) or CoaT-Lite (without), as published for dense prediction.

    Every stage is a map and a class token; the blocks of a stage share its position encodings. The layers carry the
    published names of mlpc-ucsd/CoaT, which are timm's too (`timm/coat_lite_small.in1k` ...), with `-` for `.`.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        widths: Channels per stage; multiples of 8, the last three equal where there are parallel blocks.
        depths: Serial blocks per stage.
        expansions: Hidden channels of the MLPs over the stage's channels, per stage.
        parallel_depth: Blocks that exchange features between strides 8, 16 and 32.
        encoder_weights: `None`, a `.safetensors` file with the published tensors, or a `.weights.h5` file of this
            encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        drop_path: Rate of stochastic depth, the same in every block.
        name: Name of the model.

    Returns:
        A model with four outputs, at strides 4, 8, 16 and 32.

    Source: Xu et al., "Co-Scale Conv-Attentional Image Transformers", ICCV 2021, and its code.
    """
    check_input_shape(name, input_shape, spatial_dims=(2,), multiple=32, minimum=32)
    x = inputs = keras.Input(input_shape, name="image")
    states, positions = [], []
    for stage, (width, depth, expansion) in enumerate(zip(widths, depths, expansions, strict=True), start=1):
        patch = 2 if states else 4
        x = layers.Conv2D(width, patch, strides=patch, name=f"patch_embed{stage}-proj")(x)
        x = layers.LayerNormalization(epsilon=1e-5, name=f"patch_embed{stage}-norm")(x)
        token = ClassToken(name=f"cls_token{stage}")(x)
        positions.append(_position_encodings(stage))
        for index in range(depth):
            x, token = _serial_block(
                x, token, expansion, positions[-1], drop_path, name=f"serial_blocks{stage}-{index}"
            )
        states.append((x, token))
    for index in range(parallel_depth):
        states[1:] = _parallel_block(
            states[1:], expansions[1], positions[1:], drop_path, name=f"parallel_blocks-{index}"
        )
    return finish_published(
        keras.Model(inputs, [x for x, _ in states], name=name),
        encoder_weights,
        freeze_encoder,
        # The shared encodings appear once more under every block, and the shared MLP under its other two names.
        ignored=r"(norm\d|aggregate|head)\.|(serial|parallel)_blocks.*\.(cpes?|crpe)\.|parallel_blocks\.\d+\.mlp[34]\.",
    )


@keras.saving.register_keras_serializable("maskzoo")
class ClassToken(layers.Layer):
    """Returns a learned token `(batch, 1, 1, channels)` for a map `(batch, height, width, channels)`."""

    def build(self, input_shape: TensorShape) -> None:
        self.token = self.add_weight((1, 1, input_shape[-1]), initializer=TRUNCATED_NORMAL, name="token")

    def call(self, x: Tensor) -> Tensor:
        return ops.zeros_like(x[:, :1, :1]) + ops.cast(self.token, x.dtype)[None]

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return (input_shape[0], 1, 1, input_shape[-1])


@keras.saving.register_keras_serializable("maskzoo")
class FactorizedAttention(layers.Layer):
    """Attends in time linear in the number of elements: queries meet a summary of softmaxed keys and values.

    Called on `[map, token]`, each holding query, key and value `(batch, height, width, 3 * channels)`; returns the
    attended map and token.

    Args:
        heads: Number of heads; divides the channels.
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        channels = inputs[0].shape[-1] // 3
        batch = shape_of(inputs[0])[0]
        tokens = ops.concatenate([ops.reshape(x, (batch, -1, 3 * channels)) for x in reversed(inputs)], axis=1)
        tokens = ops.reshape(tokens, (batch, -1, 3, self.heads, channels // self.heads))
        query: Tensor
        query, key, value = ops.unstack(ops.transpose(tokens, (2, 0, 3, 1, 4)), 3)
        summary = ops.matmul(ops.transpose(ops.softmax(key, axis=2), (0, 1, 3, 2)), value)
        x = ops.matmul(query * query.shape[-1] ** -0.5, summary)
        x = ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (batch, -1, channels))
        _, height, width, _ = shape_of(inputs[0])
        return [
            ops.reshape(x[:, 1:], (batch, height, width, channels)),
            ops.reshape(x[:, :1], (batch, 1, 1, channels)),
        ]

    def compute_output_shape(self, input_shape: Sequence[TensorShape]) -> list[TensorShape]:
        return [(*shape[:-1], shape[-1] // 3) for shape in input_shape]

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "heads": self.heads}


@analysis.register(ClassToken)
def _class_token(layer: ClassToken, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x.detached(1)


@analysis.register(FactorizedAttention)
def _factorized_attention(layer: FactorizedAttention, axis: int, *tracks: analysis.AxisGeometry) -> str:
    return "attends to the whole image"


def _position_encodings(stage: int) -> Encodings:
    """Makes the depthwise convolutions that all blocks of a stage share: of the map, and of the values per window."""
    of_map = layers.DepthwiseConv2D(3, padding="same", name=f"cpe{stage}-proj")
    of_values = [
        layers.DepthwiseConv2D(window, padding="same", name=f"crpe{stage}-conv_list-{index}")
        for index, window in enumerate(WINDOWS)
    ]
    return of_map, of_values


def _serial_block(
    x: Tensor, token: Tensor, expansion: int, positions: Encodings, drop_path: float, *, name: str
) -> tuple[Tensor, Tensor]:
    branch, branch_token, x = _attend(x, token, positions, norm=f"{name}-norm1", name=f"{name}-factoratt_crpe")
    x = add_residual(x, branch, drop_path, name=f"{name}-factoratt_crpe")
    token = add_residual(token, branch_token, drop_path, name=f"{name}-factoratt_crpe_token")
    mlp = _mlp(x.shape[-1], expansion, name=f"{name}-mlp")
    return _feed_forward(x, token, mlp, drop_path, norm=f"{name}-norm2", name=f"{name}-mlp")


def _parallel_block(
    states: Sequence[tuple[Tensor, Tensor]],
    expansion: int,
    positions: Sequence[Encodings],
    drop_path: float,
    *,
    name: str,
) -> list[tuple[Tensor, Tensor]]:
    scales = range(2, 2 + len(states))
    branches, residuals = [], []
    for scale, (x, token), encodings in zip(scales, states, positions, strict=True):
        branch, branch_token, x = _attend(
            x, token, encodings, norm=f"{name}-norm1{scale}", name=f"{name}-factoratt_crpe{scale}"
        )
        branches.append((branch, branch_token))
        residuals.append((x, token))
    mixed_token = layers.Add(name=f"{name}-tokens")([token for _, token in branches])
    mlp = _mlp(branches[0][0].shape[-1], expansion, name=f"{name}-mlp2")
    mixed = []
    for target, (x, token) in zip(scales, residuals, strict=True):
        resized = [
            _resize(branch, source - target, name=f"{name}-scale{source}to{target}")
            for source, (branch, _) in zip(scales, branches, strict=True)
        ]
        branch = layers.Add(name=f"{name}-mix{target}")(resized)
        x = add_residual(x, branch, drop_path, name=f"{name}-factoratt_crpe{target}")
        token = add_residual(token, mixed_token, drop_path, name=f"{name}-factoratt_crpe{target}_token")
        mixed.append(_feed_forward(x, token, mlp, drop_path, norm=f"{name}-norm2{target}", name=f"{name}-mlp{target}"))
    return mixed


def _attend(x: Tensor, token: Tensor, positions: Encodings, *, norm: str, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the attended map and token, and the map with its position encoding, to which they are to be added."""
    of_map, of_values = positions
    width = x.shape[-1]
    x = layers.Add(name=f"{norm}-position")([x, of_map(x)])
    normalise = layers.LayerNormalization(epsilon=1e-6, name=norm)
    project = dense(3 * width, name=f"{name}-qkv")
    output = dense(width, name=f"{name}-proj")
    qkv, qkv_token = project(normalise(x)), project(normalise(token))
    attended, attended_token = FactorizedAttention(HEADS, name=f"{name}-attention")([qkv, qkv_token])
    per_window = [width // HEADS * heads for heads in WINDOWS.values()]
    query, _, *values = SplitChannels([width, width, *per_window], name=f"{name}-split")(qkv)
    encoded = [convolve(value) for convolve, value in zip(of_values, values, strict=True)]
    encoded = layers.Concatenate(name=f"{name}-crpe")(encoded)
    encoded = layers.Multiply(name=f"{name}-query_crpe")([query, encoded])
    attended = layers.Add(name=f"{name}-add_crpe")([attended, encoded])
    return output(attended), output(attended_token), x


def _mlp(width: int, expansion: int, *, name: str) -> Callable[[Tensor], Tensor]:
    steps = [
        dense(expansion * width, name=f"{name}-fc1"),
        layers.Activation(gelu, name=f"{name}-gelu"),
        dense(width, name=f"{name}-fc2"),
    ]

    def apply(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return apply


def _feed_forward(
    x: Tensor, token: Tensor, mlp: Callable[[Tensor], Tensor], drop_path: float, *, norm: str, name: str
) -> tuple[Tensor, Tensor]:
    normalise = layers.LayerNormalization(epsilon=1e-6, name=norm)
    x = add_residual(x, mlp(normalise(x)), drop_path, name=name)
    return x, add_residual(token, mlp(normalise(token)), drop_path, name=f"{name}_token")


def _resize(x: Tensor, octaves: int, *, name: str) -> Tensor:
    """Resizes bilinearly by `2 ** octaves`, half-pixel centres, without smoothing."""
    if octaves > 0:
        return LinearUpsampling(2**octaves, name=name)(x)
    if octaves < -1:
        # The centre of every 4x4 patch lies between its two middle rows and columns.
        x = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(x)
    return layers.AveragePooling2D(2, strides=2**-octaves, name=name)(x) if octaves else x


def _variant(
    name: str, widths: Sequence[int], depths: Sequence[int], expansions: Sequence[int], parallel_depth: int
) -> Builder:
    def builder(
        input_shape: Shape = (None, None, 3),
        *,
        encoder_weights: EncoderWeights = None,
        freeze_encoder: bool = False,
        drop_path: float = 0.0,
    ) -> keras.Model:
        return coat(
            input_shape,
            widths,
            depths,
            expansions,
            parallel_depth,
            encoder_weights=encoder_weights,
            freeze_encoder=freeze_encoder,
            drop_path=drop_path,
            name=name,
        )

    builder.__name__ = builder.__qualname__ = name
    title = name.replace("coat", "CoaT").replace("_lite", "-Lite").replace("_", " ").title().replace("Coat", "CoaT")
    builder.__doc__ = f"Builds {title}; see `coat` for the arguments."
    return register_encoder(builder)


for _name, _sizes in VARIANTS.items():
    _variant(_name, *_sizes)
