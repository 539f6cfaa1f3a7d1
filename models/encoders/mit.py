"""Mix Transformers, the encoders of SegFormer."""

from collections.abc import Sequence

import keras
from keras import layers

from ..blocks import Shape, Tensor
from ..checks import check_input_shape
from ..registry import Builder, EncoderWeights, register_encoder
from .attention import GlobalAttention, Initializer, add_residual, dense, drop_path_rates, gelu
from .torch_names import transformers_names
from .weights import finish_published

# Channels and blocks per stage.
VARIANTS = {
    "mit_b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "mit_b2": ((64, 128, 320, 512), (3, 4, 6, 3)),
    "mit_b3": ((64, 128, 320, 512), (3, 4, 18, 3)),
    "mit_b4": ((64, 128, 320, 512), (3, 8, 27, 3)),
    "mit_b5": ((64, 128, 320, 512), (3, 6, 40, 3)),
}
HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)


def mix_transformer(
    input_shape: Shape,
    widths: Sequence[int],
    depths: Sequence[int],
    *,
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    drop_path: float = 0.0,
    name: str = "mit",
) -> keras.Model:
    """Builds a Mix Transformer: overlapping patches, attention to a reduced map, and no positional table at all.

    The layers carry the published names of the Hugging Face checkpoints (`nvidia/mit-b0` ...), with `-` for `.`.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        widths: Channels per stage; multiples of 1, 2, 5 and 8.
        depths: Blocks per stage.
        encoder_weights: `None`, `"imagenet"` where an address is known, a `.safetensors` or `.pth` file with the
            tensors of transformers or of the authors, or a `.weights.h5` file of this encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        drop_path: Rate of stochastic depth at the last block; the paper trains with 0.1.
        name: Name of the model.

    Returns:
        A model with four outputs, at strides 4, 8, 16 and 32.

    Source: Xie et al., "SegFormer", NeurIPS 2021, and the NVlabs code (epsilons of the normalisations).
    """
    check_input_shape(name, input_shape, spatial_dims=(2,), multiple=32, minimum=32)
    x = inputs = keras.Input(input_shape, name="image")
    features = []
    rates = drop_path_rates(drop_path, depths)
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        kernel, stride = (3, 2) if stage else (7, 4)
        x = layers.ZeroPadding2D(kernel // 2, name=f"patch_embeddings-{stage}-pad")(x)
        x = _conv(width, kernel, strides=stride, name=f"patch_embeddings-{stage}-proj")(x)
        x = layers.LayerNormalization(epsilon=1e-5, name=f"patch_embeddings-{stage}-layer_norm")(x)
        for index in range(depth):
            block = f"block-{stage}-{index}"
            x = _block(x, HEADS[stage], REDUCTIONS[stage], rates[stage][index], name=block)
        x = layers.LayerNormalization(epsilon=1e-6, name=f"layer_norm-{stage}")(x)
        features.append(x)
    encoder = keras.Model(inputs, features, name=name)
    return finish_published(
        encoder,
        encoder_weights,
        freeze_encoder,
        prefix=r"(segformer\.)?encoder\.",
        ignored=r"classifier\.|decode_head\.|head\.",
        renamed=transformers_names,
    )


def _block(x: Tensor, heads: int, reduction: int, drop_path: float, *, name: str) -> Tensor:
    width = x.shape[-1]
    query = keys = layers.LayerNormalization(epsilon=1e-6, name=f"{name}-layer_norm_1")(x)
    attention = f"{name}-attention-self"
    if reduction > 1:
        keys = _conv(width, reduction, strides=reduction, name=f"{attention}-sr")(keys)
        keys = layers.LayerNormalization(epsilon=1e-5, name=f"{attention}-layer_norm")(keys)
    query = dense(width, name=f"{attention}-query")(query)
    key = dense(width, name=f"{attention}-key")(keys)
    value = dense(width, name=f"{attention}-value")(keys)
    branch = GlobalAttention(heads, name=attention)([query, key, value])
    branch = dense(width, name=f"{name}-attention-output-dense")(branch)
    x = add_residual(x, branch, drop_path, name=f"{name}-attention")
    branch = layers.LayerNormalization(epsilon=1e-6, name=f"{name}-layer_norm_2")(x)
    branch = dense(4 * width, name=f"{name}-mlp-dense1")(branch)
    branch = layers.DepthwiseConv2D(
        3, padding="same", depthwise_initializer=_fan_out(), name=f"{name}-mlp-dwconv-dwconv"
    )(branch)
    branch = layers.Activation(gelu, name=f"{name}-mlp-gelu")(branch)
    branch = dense(width, name=f"{name}-mlp-dense2")(branch)
    return add_residual(x, branch, drop_path, name=f"{name}-mlp")


def _conv(width: int, kernel: int, *, strides: int, name: str) -> layers.Layer:
    return layers.Conv2D(width, kernel, strides=strides, kernel_initializer=_fan_out(), name=name)


def _fan_out() -> Initializer:
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def _variant(name: str, widths: Sequence[int], depths: Sequence[int]) -> Builder:
    def builder(
        input_shape: Shape = (None, None, 3),
        *,
        encoder_weights: EncoderWeights = None,
        freeze_encoder: bool = False,
        drop_path: float = 0.0,
    ) -> keras.Model:
        return mix_transformer(
            input_shape,
            widths,
            depths,
            encoder_weights=encoder_weights,
            freeze_encoder=freeze_encoder,
            drop_path=drop_path,
            name=name,
        )

    builder.__name__ = builder.__qualname__ = name
    builder.__doc__ = f"Builds MiT-{name[-2:].upper()}; see `mix_transformer` for the arguments."
    return register_encoder(builder)


for _name, _sizes in VARIANTS.items():
    _variant(_name, *_sizes)
