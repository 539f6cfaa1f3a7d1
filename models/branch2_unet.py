"""A trunk with a side branch that reads one of its levels and corrects chosen logits."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, tree

from maskzoo.errors import OptionError

from . import analysis
from .alignment import CropTo
from .blocks import TRANSPOSED, Shape, Tensor, TensorShape, add, conv, ops, spatial_dims
from .heads import TRUNK, enlargement
from .logits import with_logits
from .registry import build_model, register_model


@register_model
def branch2_unet(
    input_shape: Shape = (None, None, 3),
    num_classes: int = 1,
    *,
    trunk: str | keras.Model = "backbone_unet",
    trunk_options: dict[str, Any] | None = None,  # of whatever types the builder takes
    level: int | str = 4,
    channels: Sequence[int] = (0,),
    activation: str | None = None,
) -> keras.Model:
    """Builds a trunk whose features of one level are added to chosen logits by a branch that starts at zero.

    The branch is a 1x1 convolution with zero weights, then a transposed convolution that starts as linear
    interpolation; over a valid-padded trunk it is cut to where the logits lie. A new model therefore equals its trunk:
    a trained trunk can be given a branch without a loss.

    Args:
        input_shape: `(*spatial, channels)`, with sizes that the trunk takes.
        num_classes: Number of output channels.
        trunk: Name of a registered model with one output of the image's size, or such a `keras.Model`, with logits.
        trunk_options: Dict of options of the trunk, if it is a name.
        level: Stride along the first axis of the features that the branch reads, the last ones of that stride that
            cover the logits; or the name of their layer.
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
    if isinstance(trunk.output, dict) or len(trunk.outputs) != 1 or trunk.outputs[0].shape[-1] != num_classes:
        raise OptionError("trunk of branch2_unet", f"one output of {num_classes} channels", trunk.output)
    channels = tuple(channels)
    if not channels or len(set(channels)) < len(channels) or not set(channels) <= set(range(num_classes)):
        raise OptionError("channels", f"different ones from 0 to {num_classes - 1}", channels)
    trunk = _with_free_names(with_logits(trunk))
    logits = trunk.outputs[0]
    x, factors, start = _features_at(trunk, level)
    x = conv(x, len(channels), 1, kernel_initializer="zeros", dtype="float32", name="branch_conv")
    if max(factors) > 1:
        x = TRANSPOSED[spatial_dims(x)](
            len(channels),
            # A kernel of 2 along an axis that is not enlarged would move it by half an element.
            tuple(2 * factor if factor > 1 else 1 for factor in factors),
            strides=factors,
            padding="same",
            kernel_initializer=LinearInterpolation(),
            dtype="float32",
            name="branch_up",
        )(x)
    if start is not None:
        x = CropTo(start, dtype="float32", name="branch_crop")([x, logits])
    x = PlaceChannels(channels, num_classes, dtype="float32", name="branch_channels")(x)
    x = add([logits, x], name="branch_sum" if activation else "mask")
    if activation:
        x = layers.Activation(activation, dtype="float32", name="mask")(x)
    return keras.Model(trunk.inputs[0], x, name="branch2_unet")


def _with_free_names(trunk: keras.Model) -> keras.Model:
    """Returns a trunk with the same weights in which no layer has a name of an output: `mask` becomes `trunk_mask`."""
    if not any(layer.name.startswith("mask") for layer in trunk.layers):
        return trunk

    def renamed(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if layer.name.startswith("mask"):
            config["name"] = TRUNK + layer.name
        return type(layer).from_config(config)

    copy = keras.models.clone_model(trunk, clone_function=renamed)
    copy.set_weights(trunk.get_weights())
    for layer, other in zip(trunk.layers, copy.layers, strict=True):
        other.trainable = layer.trainable
    return copy


def _features_at(trunk: keras.Model, level: int | str) -> tuple[Tensor, tuple[int, ...], tuple[int, ...] | None]:
    """Returns the features that a stride or a layer's name stands for, and how they are brought to the logits.

    That is: the factors by which they are enlarged and what is then cut off, see `heads.enlargement`.
    """
    maps = {
        layer.name: x
        for layer in trunk.layers
        # A layer that is used twice has no single output.
        if analysis.is_called_once(layer)
        for x in tree.flatten(layer.output)[:1]
        if len(x.shape) == len(trunk.outputs[0].shape)
    }
    fine, *found = analysis.places(trunk, [trunk.outputs[0], *maps.values()])
    places = {name: place for name, place in zip(maps, found, strict=True) if place is not None}
    if isinstance(level, str):
        if level not in places:
            raise OptionError("level", f"a stride, or the name of a layer of {trunk.name}", level)
        return (maps[level], *enlargement("level", level, places[level], fine))
    fitting = {
        name: place.stride[0]
        for name, place in places.items()
        if fine is not None and place.crop(fine) is not None and maps[name] is not trunk.outputs[0]
    }
    names = [name for name, stride in fitting.items() if stride == level]
    if not names:
        expected = ", ".join(map(str, sorted(set(fitting.values()))))
        raise OptionError("level", f"one of the strides {expected} of {trunk.name}", level)
    return (maps[names[-1]], *enlargement("level", names[-1], places[names[-1]], fine))


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

    def __init__(self, channels: Sequence[int], total: int, **kwargs: Any) -> None:  # those of Keras layers
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

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "channels": self.channels, "total": self.total}


@analysis.register(PlaceChannels)
def _place_channels(layer: PlaceChannels, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x
