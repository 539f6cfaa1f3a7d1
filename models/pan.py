"""Pyramid attention network over any encoder."""

from typing import Any

import keras
import numpy as np
from keras import layers

from . import analysis
from .blocks import (
    Shape,
    Tensor,
    TensorShape,
    add,
    conv_block,
    linear_upsample,
    multiply,
    ops,
    shape_of,
)
from .checks import check_choice
from .encoders import encode
from .heads import auxiliary_head
from .pspnet import ResizeLike
from .registry import EncoderWeights, register_model


@register_model
def pan(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    encoder: str | keras.Model = "resnet34",
    encoder_weights: EncoderWeights = None,
    freeze_encoder: bool = False,
    output_stride: int = 16,
    decoder_filters: int = 32,
    activation: str | None = None,
) -> keras.Model:
    """Builds a PAN: a pyramid weighs the deepest features by position, and these weigh finer ones by channel.

    Args:
        input_shape: `(height, width, channels)`. Each size is `None` or a multiple of 32.
        num_classes: Number of output channels.
        encoder: A name among `list_encoders()`, or a `keras.Model` with feature maps as outputs, finest first. Features
            finer than stride 4 are not read.
        encoder_weights: `None`, `"imagenet"`, or a file; see the encoder.
        freeze_encoder: Whether training leaves the encoder as it is.
        output_stride: 8 or 16 dilates the encoder's last stages instead of striding them, in encoders that know this
            option (ResNet); others keep their stride of 32.
        decoder_filters: Filters of every part of the decoder.
        activation: Activation of the head; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed.

    Source: Li et al., "Pyramid Attention Network for Semantic Segmentation", BMVC 2018, as in
    segmentation_models_pytorch 0.6.0.
    """
    check_choice("output_stride", output_stride, (8, 16, 32))
    encoder, strides = encode(
        "pan",
        encoder,
        input_shape,
        encoder_weights=encoder_weights,
        freeze_encoder=freeze_encoder,
        output_stride=output_stride,
    )
    strides, features = strides[-4:], encoder.outputs[-4:]
    x = _pyramid_attention(features[-1], decoder_filters)
    for level in reversed(range(len(features) - 1)):
        factor = strides[level + 1] // strides[level]
        x = _attention_upsample(features[level], x, factor, name=f"decoder{level}")
    x = auxiliary_head(x, num_classes, activation, 3, factor=strides[0], name="mask")
    return keras.Model(encoder.inputs[0], x, name="pan")


def _pyramid_attention(x: Tensor, filters: int) -> Tensor:
    """Weighs features by a map of one channel, seen through kernels of 7, 5 and 3 on ever coarser maps."""
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="pyramid_pool")(x)
    pooled = conv_block(pooled, filters, 1, name="pyramid_pooled")
    middle = conv_block(x, filters, 1, name="pyramid_middle")
    down1 = conv_block(HalvingMaxPool(name="pyramid_pool1")(x), 1, 7, name="pyramid_down1")
    down2 = conv_block(HalvingMaxPool(name="pyramid_pool2")(down1), 1, 5, name="pyramid_down2")
    down3 = conv_block(HalvingMaxPool(name="pyramid_pool3")(down2), 1, 3, name="pyramid_down3")
    weights = conv_block(down3, 1, 3, name="pyramid_up3")
    for level, down, kernel, like in ((2, down2, 5, down2), (1, down1, 7, down1)):
        weights = ResizeLike(name=f"pyramid_resize{level}")([weights, like])
        weights = add([conv_block(down, 1, kernel, name=f"pyramid_up{level}"), weights], name=f"pyramid_add{level}")
    weights = ResizeLike(name="pyramid_resize0")([weights, x])
    return add([multiply([middle, weights], name="pyramid_weighed"), pooled], name="pyramid")


def _attention_upsample(low: Tensor, high: Tensor, factor: int, *, name: str) -> Tensor:
    """Weighs finer features by what coarser ones hold on average, and adds these, enlarged."""
    low = conv_block(low, high.shape[-1], name=f"{name}_low")
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(high)
    weights = conv_block(weights, high.shape[-1], 1, activation="sigmoid", name=f"{name}_weights")
    if factor > 1:
        high = linear_upsample(high, factor, name=f"{name}_up")
    return add([high, multiply([low, weights], name=f"{name}_weighed")], name=name)


@keras.saving.register_keras_serializable("maskzoo")
class HalvingMaxPool(layers.Layer):
    """Pools the maximum of 2x2 elements; an odd row or column at the end is left out, unless it is the only one."""

    def call(self, x: Tensor) -> Tensor:
        rows, columns = (self._half(size) for size in shape_of(x)[1:3])
        return ops.max_pool(x, 2, 2, padding="same")[:, :rows, :columns]

    @staticmethod
    def _half(size: Any) -> Any:  # a whole number, or a symbol of the backend
        return max(size // 2, 1) if isinstance(size, int) else ops.maximum(size // 2, 1)

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        halves = (size and self._half(size) for size in input_shape[1:3])
        return (input_shape[0], *halves, input_shape[-1])

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(self.compute_output_shape(tuple(x.shape)), dtype=x.dtype)


@analysis.register(HalvingMaxPool)
def _halving_max_pool(layer: HalvingMaxPool, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    pooled = x.gather(2, 2, padding="same")
    return pooled.pad(0, np.maximum(x.size // 2, 1) - pooled.size)
