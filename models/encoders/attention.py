"""What the transformer encoders share: exact GELU, stochastic depth, splitting of channels, global attention."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from .. import analysis
from ..blocks import Tensor, TensorShape, ops, shape_of

# Any: Keras gives its initialiser parameters no types, so that checkers infer str from their defaults.
Initializer = Any

TRUNCATED_NORMAL: Initializer = keras.initializers.TruncatedNormal(stddev=0.02)


@keras.saving.register_keras_serializable("maskzoo")
def gelu(x: Tensor) -> Tensor:
    """Returns the exact Gaussian error linear unit, from operations that every export format knows."""
    return 0.5 * x * (1.0 + ops.erf(x / math.sqrt(2.0)))


@keras.saving.register_keras_serializable("maskzoo")
class SplitChannels(layers.Layer):
    """Splits a tensor into tensors of the given numbers of channels.

    Args:
        sizes: Channels of each part; their sum is that of the input.
    """

    def __init__(self, sizes: Sequence[int], **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.sizes = tuple(sizes)

    def call(self, x: Tensor) -> list[Tensor]:
        parts, start = [], 0
        for size in self.sizes:
            parts.append(x[..., start : start + size])
            start += size
        return parts

    def compute_output_shape(self, input_shape: TensorShape) -> list[TensorShape]:
        return [(*input_shape[:-1], size) for size in self.sizes]

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "sizes": self.sizes}


@keras.saving.register_keras_serializable("maskzoo")
class GlobalAttention(layers.Layer):
    """Lets every element of the query map attend to every element of the key and value maps, in several heads.

    Called on `[query, key, value]`, maps `(batch, height, width, channels)`; key and value may be smaller than query.

    Args:
        heads: Number of heads; divides the channels.
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        query, key, value = (self._split(x) for x in inputs)
        scores: Tensor = ops.matmul(query * query.shape[-1] ** -0.5, ops.transpose(key, (0, 1, 3, 2)))
        # Keras warns of a softmax over one element, which a map as small as the reduction leaves.
        weights = ops.softmax(scores) if scores.shape[-1] != 1 else ops.ones_like(scores)
        x = ops.matmul(weights, value)
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), shape_of(inputs[0]))

    def _split(self, x: Tensor) -> Tensor:
        tokens = ops.reshape(x, (shape_of(x)[0], -1, self.heads, x.shape[-1] // self.heads))
        return ops.transpose(tokens, (0, 2, 1, 3))

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "heads": self.heads}


@analysis.register(SplitChannels)
def _split_channels(layer: SplitChannels, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x


@analysis.register(GlobalAttention)
def _global_attention(layer: GlobalAttention, axis: int, *tracks: analysis.AxisGeometry) -> str:
    return "attends to the whole image"


def dense(channels: int, *, use_bias: bool = True, name: str) -> layers.Layer:
    """Makes a dense layer with the initialisation of vision transformers."""
    return layers.Dense(channels, use_bias=use_bias, kernel_initializer=TRUNCATED_NORMAL, name=name)


def add_residual(x: Tensor, branch: Tensor, drop_path: float, *, name: str) -> Tensor:
    """Adds a residual branch, dropped for whole samples at the rate `drop_path` while training."""
    if drop_path:
        branch = layers.Dropout(drop_path, noise_shape=(None, 1, 1, 1), name=f"{name}_drop_path")(branch)
    return layers.Add(name=f"{name}_add")([x, branch])


def drop_path_rates(last: float, depths: Sequence[int]) -> list[list[float]]:
    """Returns, stage by stage, rates of stochastic depth that grow linearly over the blocks from 0 to `last`."""
    blocks = sum(depths)
    rates = iter([last * index / max(blocks - 1, 1) for index in range(blocks)])
    return [[next(rates) for _ in range(depth)] for depth in depths]
