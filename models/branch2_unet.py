"""A trunk with a side branch that reads one of its levels and corrects chosen logits."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, tree

from maskzoo.errors import OptionError

from . import analysis
from .blocks import TRANSPOSED, Shape, Tensor, TensorShape, add, conv, ops, spatial_dims
from .registry import build_model, register_model


@register_model
def branch2_unet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    trunk: str | keras.Model = "backbone_unet",
    trunk_options: dict[str, Any] | None = None,
    level: int | str = 4,
    channels: Sequence[int] = (0,),
    activation: str | None = None,
) -> keras.Model:
    """Builds a trunk whose features of one level are added to chosen logits by a branch that starts at zero.

    The branch is a 1x1 convolution with zero weights, then a transposed convolution that starts as linear
    interpolation. A new model therefore equals its trunk: a trained trunk can be given a branch without a loss.

    Args:
        input_shape: `(*spatial, channels)`, with sizes that the trunk takes.
        num_classes: Number of output channels.
        trunk: Name of a registered model with one output of the image's size, or such a `keras.Model`, with logits.
        trunk_options: Dict of options of the trunk, if it is a name.
        level: Stride of the features that the branch reads, the last ones of that stride, or the name of their layer.
        channels: Output channels to which the branch adds, each once.
        activation: Activation of the sum; `None` gives logits.

    Raises:
        OptionError: A size or an option is not among those allowed, or the trunk has no features of this stride.

    Source: the second branch of Fully Convolutional Networks (Long et al., CVPR 2015) on a U-Net; transposed
    convolutions initialised as there.
    """
    if isinstance(trunk, keras.Model):
        if tuple(trunk.inputs[0].shape[1:]) != tuple(input_shape):
            raise OptionError(
                "trunk of branch2_unet",
                f"a model for images {tuple(input_shape)}",
                f"one for {tuple(trunk.inputs[0].shape[1:])}",
            )
    else:
        trunk = build_model(trunk, input_shape, num_classes, **(trunk_options or {}))
    logits = trunk.outputs[0]
    if isinstance(trunk.output, dict) or len(trunk.outputs) != 1 or logits.shape[-1] != num_classes:
        raise OptionError("trunk of branch2_unet", f"one output of {num_classes} channels", trunk.output)
    channels = tuple(channels)
    if not channels or len(set(channels)) < len(channels) or not set(channels) <= set(range(num_classes)):
        raise OptionError("channels", f"different ones from 0 to {num_classes - 1}", channels)
    x, stride = _features_at(trunk, level)
    x = conv(x, len(channels), 1, kernel_initializer="zeros", dtype="float32", name="branch_conv")
    if stride > 1:
        x = TRANSPOSED[spatial_dims(x)](
            len(channels),
            2 * stride,
            strides=stride,
            padding="same",
            kernel_initializer=LinearInterpolation(),
            dtype="float32",
            name="branch_up",
        )(x)
    x = PlaceChannels(channels, num_classes, dtype="float32", name="branch_channels")(x)
    x = add([logits, x], name="branch_sum")
    if activation:
        x = layers.Activation(activation, dtype="float32", name=f"branch_{activation}")(x)
    return keras.Model(trunk.inputs[0], x, name="branch2_unet")


def _features_at(trunk: keras.Model, level: int | str) -> tuple[Tensor, int]:
    """Returns the features that a stride or a layer's name stands for, and their stride."""
    maps = {
        layer.name: x
        for layer in trunk.layers
        # A layer that is used twice has no single output.
        if analysis.is_called_once(layer)
        for x in tree.flatten(layer.output)[:1]
        if len(x.shape) == len(trunk.outputs[0].shape)
    }
    image = keras.KerasTensor((1, *(size or 512 for size in trunk.inputs[0].shape[1:])))
    made = analysis.output_specs(trunk, list(maps.values()), [image])
    strides = {name: image.shape[1] // x.shape[1] for name, x in zip(maps, made, strict=True) if x.shape[1] > 1}
    if isinstance(level, str):
        if level not in strides:
            raise OptionError("level", f"a stride, or the name of a layer of {trunk.name}", level)
        return maps[level], strides[level]
    names = [name for name, stride in strides.items() if stride == level and maps[name] is not trunk.outputs[0]]
    if not names:
        expected = ", ".join(map(str, sorted(set(strides.values()))))
        raise OptionError("level", f"one of the strides {expected} of {trunk.name}", level)
    return maps[names[-1]], level


@keras.saving.register_keras_serializable("maskzoo")
class LinearInterpolation(keras.initializers.Initializer):
    """Draws the kernel of a transposed convolution that interpolates every channel linearly, from itself alone."""

    def __call__(self, shape: Sequence[int], dtype: str | None = None) -> Tensor:
        *sizes, channels, _ = shape
        kernel = ops.eye(channels, dtype=dtype)
        for axis, size in enumerate(sizes):
            tent = 1.0 - ops.abs(ops.arange(size, dtype="float32") - (size - 1) / 2) / math.ceil(size / 2)
            tent = ops.reshape(tent, [-1 if each == axis else 1 for each in range(len(shape))])
            kernel = kernel * ops.cast(tent, kernel.dtype)
        return kernel


@keras.saving.register_keras_serializable("maskzoo")
class PlaceChannels(layers.Layer):
    """Puts a tensor's channels at the given places among `total` channels; the others are zero.

    Args:
        channels: Place of every channel.
        total: Number of channels of the result.
    """

    def __init__(self, channels: Sequence[int], total: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = tuple(channels)
        self.total = total

    def call(self, x: Tensor) -> Tensor:
        absent = ops.zeros_like(x[..., :1])
        places = [
            x[..., self.channels.index(place)][..., None] if place in self.channels else absent
            for place in range(self.total)
        ]
        return ops.concatenate(places, axis=-1)

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return (*input_shape[:-1], self.total)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels, "total": self.total}


@analysis.register(PlaceChannels)
def _place_channels(layer: PlaceChannels, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x
