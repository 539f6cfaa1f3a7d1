"""What the layers of Keras do along a spatial axis; `register` declares what other layers do."""

from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np
from keras import layers

from .tracks import AxisGeometry

# `rule(layer, axis, *tracks)`: the track behind a layer, or the reason why it sees the whole image.
Rule = Callable[..., AxisGeometry | str]
AnyRule = TypeVar("AnyRule", bound=Rule)

RULES: dict[type, Rule] = {}
FOLDED_AXES: dict[type, int] = {}

Convolution = (
    layers.Conv1D
    | layers.Conv2D
    | layers.Conv3D
    | layers.DepthwiseConv1D
    | layers.DepthwiseConv2D
    | layers.SeparableConv1D
    | layers.SeparableConv2D
)
TransposedConvolution = layers.Conv1DTranspose | layers.Conv2DTranspose | layers.Conv3DTranspose
Pooling = (
    layers.MaxPooling1D
    | layers.MaxPooling2D
    | layers.MaxPooling3D
    | layers.AveragePooling1D
    | layers.AveragePooling2D
    | layers.AveragePooling3D
)
UpSampling = layers.UpSampling1D | layers.UpSampling2D | layers.UpSampling3D
ZeroPadding = layers.ZeroPadding1D | layers.ZeroPadding2D | layers.ZeroPadding3D
Cropping = layers.Cropping1D | layers.Cropping2D | layers.Cropping3D


def register(*classes: type, folded_axes: int | None = None) -> Callable[[AnyRule], AnyRule]:
    """Declares what layers do along a spatial axis: decorates `rule(layer, axis, *tracks) -> AxisGeometry`.

    `axis` counts the spatial axes from 0; there is one track for each input tensor of the layer that has spatial axes.
    A rule may also return a string, which says why the layer sees the whole image.

    Args:
        classes: Classes of layers.
        folded_axes: Of layers that move the last axes into the batch, or back: how many lie there afterwards.
    """

    def decorate(rule: AnyRule) -> AnyRule:
        RULES.update(dict.fromkeys(classes, rule))
        if folded_axes is not None:
            FOLDED_AXES.update(dict.fromkeys(classes, folded_axes))
        return rule

    return decorate


def folded_axes_of(operation: keras.Operation) -> int | None:
    """Returns how many axes lie in the batch after a layer that moves them there or back; `None` for all others."""
    return next((FOLDED_AXES[kind] for kind in type(operation).__mro__ if kind in FOLDED_AXES), None)


def track_behind(operation: keras.Operation, axis: int, tracks: tuple[AxisGeometry, ...]) -> AxisGeometry | str:
    """Returns the track behind a layer, or why it has none.

    Args:
        operation: The layer or operation.
        axis: A spatial axis, counted from 0.
        tracks: That axis of every input tensor that has spatial axes.
    """
    while isinstance(operation, layers.SpectralNormalization):
        operation = operation.layer
    if getattr(operation, "data_format", "channels_last") != "channels_last":  # few layers of Keras have one
        return "has channels first"
    for kind in type(operation).__mro__:
        if kind in RULES:
            return RULES[kind](operation, axis, *tracks)
    if not isinstance(operation, layers.Layer):
        if type(operation).__name__ in POINTWISE_OPERATIONS:
            return AxisGeometry.united(tracks)
        if type(operation).__name__ in ("Concatenate", "Softmax"):
            return _along_channels(operation, axis, *tracks)
    return "is not known to the analysis"


@register(
    layers.Identity,
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Dropout,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.ActivityRegularization,
    layers.Dense,
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)
def _pointwise(layer: layers.Layer, axis: int, *tracks: AxisGeometry) -> AxisGeometry:
    return AxisGeometry.united(tracks)


@register(
    layers.Concatenate,
    layers.Softmax,
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
    layers.Normalization,
)
def _along_channels(layer: Any, axis: int, *tracks: AxisGeometry) -> AxisGeometry | str:
    crosses = any(each == axis + 1 or each < -1 for each in np.atleast_1d(layer.axis))
    return "works along a spatial axis" if crosses else AxisGeometry.united(tracks)


@register(layers.Rescaling)
def _rescaling(layer: layers.Rescaling, axis: int, x: AxisGeometry) -> AxisGeometry | str:
    shapes = [np.shape(numbers) for numbers in (layer.scale, layer.offset)]
    return "has numbers for every position" if any(n != 1 for shape in shapes for n in shape[:-1]) else x


@register(layers.PReLU)
def _prelu(layer: layers.PReLU, axis: int, x: AxisGeometry) -> AxisGeometry | str:
    return x if layer.alpha.shape[axis] == 1 else "has weights for every position"


@register(
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
def _convolution(layer: Convolution, axis: int, x: AxisGeometry) -> AxisGeometry:
    kernel, stride, dilation = layer.kernel_size[axis], layer.strides[axis], layer.dilation_rate[axis]
    if layer.padding == "causal":
        return x.pad((kernel - 1) * dilation, 0).gather(kernel, stride, dilation)
    return x.gather(kernel, stride, dilation, layer.padding)


@register(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def _transposed_convolution(layer: TransposedConvolution, axis: int, x: AxisGeometry) -> AxisGeometry:
    per_axis: Any = layer.output_padding  # a number per axis once the layer is built
    output_padding = per_axis and per_axis[axis]
    return x.scatter(
        layer.kernel_size[axis], layer.strides[axis], layer.dilation_rate[axis], layer.padding, output_padding
    )


@register(
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
)
def _pooling(layer: Pooling, axis: int, x: AxisGeometry) -> AxisGeometry:
    return x.gather(layer.pool_size[axis], layer.strides[axis], padding=layer.padding)


@register(layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D)
def _upsampling(layer: UpSampling, axis: int, x: AxisGeometry) -> AxisGeometry:
    taps = {"nearest": 1, "bilinear": 2, "bicubic": 4, "lanczos3": 6, "lanczos5": 10}
    return x.enlarge(int(np.atleast_1d(layer.size)[axis]), taps[getattr(layer, "interpolation", "nearest")])


@register(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
def _padding(layer: ZeroPadding, axis: int, x: AxisGeometry) -> AxisGeometry:
    before, after = np.reshape(layer.padding, (-1, 2))[axis]
    return x.pad(int(before), int(after))


@register(layers.Cropping1D, layers.Cropping2D, layers.Cropping3D)
def _cropping(layer: Cropping, axis: int, x: AxisGeometry) -> AxisGeometry:
    before, after = np.reshape(layer.cropping, (-1, 2))[axis]
    return x.pad(-int(before), -int(after))


@register(
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
    layers.AdaptiveAveragePooling1D,
    layers.AdaptiveAveragePooling2D,
    layers.AdaptiveAveragePooling3D,
    layers.AdaptiveMaxPooling1D,
    layers.AdaptiveMaxPooling2D,
    layers.AdaptiveMaxPooling3D,
)
def _global_pooling(layer: layers.Layer, axis: int, x: AxisGeometry) -> str:
    return "pools the whole image"


@register(layers.GroupNormalization)
def _group_normalization(layer: layers.Layer, axis: int, x: AxisGeometry) -> str:
    return "normalises over the whole image"


@register(layers.Attention, layers.AdditiveAttention, layers.MultiHeadAttention, layers.GroupQueryAttention)
def _attention(layer: layers.Layer, axis: int, *tracks: AxisGeometry) -> str:
    return "attends to the whole image"


# Operations of `keras.ops` that people put into a functional graph by writing `x + y` or `keras.ops.relu(x)`; Keras
# keeps their classes private, so that they are known by name.
# fmt: off
POINTWISE_OPERATIONS = {
    "Absolute", "Add", "Cast", "Clip", "Divide", "Elu", "Equal", "Erf", "Exp", "Expm1", "Gelu", "Greater",
    "GreaterEqual", "HardSigmoid", "HardSilu", "Identity", "LeakyRelu", "Less", "LessEqual", "Log", "Log1p",
    "LogSigmoid", "Maximum", "Minimum", "Multiply", "Negative", "NotEqual", "Power", "Reciprocal", "Relu",
    "Relu6", "Rsqrt", "Selu", "Sigmoid", "Sign", "Silu", "Softplus", "Softsign", "Sqrt", "Square", "StopGradient",
    "Subtract", "Tanh", "TrueDivide", "Where",
}
# fmt: on
