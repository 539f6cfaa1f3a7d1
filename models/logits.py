"""Outputs are logits: activations at the end of a network are cut off, wherever they sit."""

import logging
from typing import Any

import keras
from keras import layers, tree

from maskzoo.errors import OptionError

from . import analysis
from .alignment import CropTo
from .blocks import LinearUpsampling, Tensor
from .regions import PickChannels
from .slices import UnfoldSlices

logger = logging.getLogger(__name__)

# Activations whose inputs are logits.
OF_LOGITS = ("sigmoid", "softmax", "log_sigmoid", "log_softmax")
# Layers that only move or enlarge values: an activation in front of them is one at the end.
MOVING = (
    layers.Identity,
    layers.Dropout,
    layers.Reshape,
    layers.Permute,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.UpSampling2D,
    layers.UpSampling3D,
    layers.Concatenate,
    LinearUpsampling,
    CropTo,
    PickChannels,
    UnfoldSlices,
)


def with_logits(model: keras.Model) -> keras.Model:
    """Returns a model whose outputs are logits: activations that probabilities come from are cut off.

    An activation may be a layer of its own or part of a convolution or a dense layer, at the end or in front of layers
    that only move or enlarge values, in the model itself or in a model inside of it.

    Args:
        model: A functional model.

    Returns:
        The model itself if no output ends in an activation, or else one that shares its layers.

    Raises:
        OptionError: An output ends in another activation, which has no logits, or its activated values are also used
            elsewhere in the model so that they cannot be cut off.
    """
    if not isinstance(model, keras.Function):
        return model
    found: dict[int, Tensor] = {id(x): _before(x, model) for x in model.outputs}
    if all(found[id(x)] is x for x in model.outputs):
        return model
    outputs: Any = tree.map_structure(lambda x: found[id(x)], model.output)
    logger.debug("%s: activations at the end were cut off; its outputs are logits", model.name)
    return keras.Model(model.input, outputs, name=model.name)


def _before(x: Tensor, model: keras.Model, mover: layers.Layer | None = None) -> Tensor:
    """Returns the logits that a tensor is made of; the tensor itself if it holds logits already.

    Args:
        x: A tensor of the model's graph.
        model: The model.
        mover: The layer on the way to the output that reads the tensor; `None` for the output itself.
    """
    name = model.name
    layer = analysis.layer_behind(x)
    if isinstance(layer, keras.Model):
        return _before_inner(x, layer)
    kind = _activation(layer)
    if kind in OF_LOGITS:
        given = tree.flatten(analysis.arguments_of(x))[0]
        return given if _is_bare(layer) else _linear(x, layer, given, model, mover)
    if kind is not None:
        raise OptionError(
            f"output of {name}", "logits, or a sigmoid or softmax of them", f"{kind} in the layer {layer.name}"
        )
    if not isinstance(layer, MOVING):
        return x
    given = analysis.arguments_of(x)
    read = tree.flatten(given)
    # The last tensor that these layers read gives the size alone.
    sized = isinstance(layer, (CropTo, UnfoldSlices))
    values = read[:1] if sized else read
    cut = [_before(value, model, layer) for value in values]
    if all(new is old for new, old in zip(cut, values, strict=True)):
        return x
    if any(new is old for new, old in zip(cut, values, strict=True)):
        raise OptionError(f"output of {name}", "logits in all channels or in none", f"both, in the layer {layer.name}")
    cut += read[len(values) :]
    return type(layer).from_config(layer.get_config())(cut if isinstance(given, (list, tuple)) else cut[0])


def _before_inner(x: Tensor, inner: keras.Model) -> Tensor:
    cut = with_logits(inner)
    if cut is inner:
        return x
    made = tree.flatten(cut(analysis.arguments_of(x)))
    return made[analysis.output_index(x)]


def _activation(layer: layers.Layer) -> str | None:
    """Returns the name of the activation that a layer ends in; `None` if there is none."""
    if isinstance(layer, layers.Softmax):
        return "softmax"
    name = type(layer).__name__.lower()
    if not isinstance(layer, layers.Layer):  # an operation such as `keras.ops.sigmoid(x)`
        return {
            "sigmoid": "sigmoid",
            "softmax": "softmax",
            "logsoftmax": "log_softmax",
            "logsigmoid": "log_sigmoid",
        }.get(name)
    activation = getattr(layer, "activation", None)
    if activation is None or activation is keras.activations.linear:
        return None
    return getattr(activation, "__name__", type(activation).__name__)


def _is_bare(layer: Any) -> bool:
    """Returns whether a layer or an operation is an activation and nothing else."""
    return isinstance(layer, (layers.Activation, layers.Softmax)) or not isinstance(layer, layers.Layer)


def _linear(x: Tensor, layer: layers.Layer, given: Tensor, model: keras.Model, mover: layers.Layer | None) -> Tensor:
    """Returns the output of a copy of a layer without its activation, with the same weights."""
    others = [reader for reader in analysis.readers(model, x) if reader is not mover]
    if others or not analysis.is_called_once(layer):
        raise OptionError(
            f"output of {model.name}",
            "logits",
            f"values of the layer {layer.name}, activated and used in the model again",
        )
    config = {**layer.get_config(), "activation": "linear"}
    copy = type(layer).from_config(config)
    made = copy(given)
    copy.set_weights(layer.get_weights())
    copy.trainable = layer.trainable
    return made
