"""Outputs are logits: activations at the end of a network are cut off, wherever they sit."""

import logging
from typing import Any

import keras
import numpy as np
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
# Activations that are layers or operations of their own: what they answer has no logits either.
ACTIVATIONS = (
    "relu",
    "relu6",
    "leakyrelu",
    "prelu",
    "elu",
    "selu",
    "celu",
    "gelu",
    "silu",
    "mish",
    "softplus",
    "softsign",
    "sparseplus",
    "sparsesigmoid",
    "sparsemax",
    "tanh",
    "hardtanh",
    "hardsigmoid",
    "hardsilu",
    "clip",
    "absolute",
    "exp",
    "square",
)
# How layers of one's own are tried out: pixels per axis where a size is free, and the spread of the noise.
TRIED_SIZE, TRIED_SPREAD = 16, 10.0
# The packages whose layers are known.
OURS = ("keras", "tf_keras", "maskzoo", "models")
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
    if isinstance(layer, keras.Sequential):
        # The same layers as a graph.
        return _before_inner(x, keras.Model(layer.inputs, layer.outputs, name=layer.name))
    if isinstance(layer, keras.Function):
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
        check_values_of(x, layer, model)
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


def check_values_of(x: Tensor, layer: layers.Layer, model: keras.Model) -> None:
    """Refuses values that cannot be logits, of a layer that is no activation itself.

    A layer without weights, such as a pooling or an average, makes no logits of probabilities. What a layer of one's
    own does is not known; it is tried out.

    Args:
        x: What the layer returns.
        layer: The layer, or an operation.
        model: The model.

    Raises:
        OptionError: They are no logits.
    """
    if getattr(layer, "weights", ()):
        return
    read = [value for value in tree.flatten(analysis.arguments_of(x)) if isinstance(value, keras.KerasTensor)]
    if read and all(_is_activated(value, model, layer) for value in read):
        raise OptionError(
            f"output of {model.name}", "logits", f"activated values, which the layer {layer.name} changes"
        )
    if _is_own(layer) and len(read) == 1 and (limits := _limits(layer, read[0])) is not None and limits[0] >= 0:
        received = f"no values below {limits[0]:.2g} from the layer {layer.name}"
        raise OptionError(f"output of {model.name}", "logits, which may be negative", received)


def _is_activated(x: Tensor, model: keras.Model, mover: layers.Layer) -> bool:
    """Returns whether a tensor holds the values of an activation, which are no logits."""
    try:
        return _before(x, model, mover) is not x
    except OptionError:
        return True


def _is_own(layer: Any) -> bool:
    """Returns whether nobody knows what a layer does: its class is neither Keras' nor ours, or it is a `Lambda`."""
    place = type(layer).__module__.partition(".")[0]
    return isinstance(layer, layers.Lambda) or (isinstance(layer, layers.Layer) and place not in OURS)


def _limits(layer: layers.Layer, read: Tensor) -> tuple[float, float] | None:
    """Returns the least and the greatest value that a layer makes of noise; `None` where it cannot be tried out."""
    shape = [TRIED_SIZE if size is None else size for size in read.shape[1:]]
    noise = TRIED_SPREAD * np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    try:
        values = np.asarray(keras.ops.convert_to_numpy(layer(noise)))
    except Exception:  # whatever somebody's layer raises
        return None
    return float(values.min()), float(values.max())


def _activation(layer: layers.Layer) -> str | None:
    """Returns the name of the activation that a layer ends in; `None` if there is none."""
    if isinstance(layer, layers.Wrapper):
        kind = _activation(layer.layer)
        return None if kind is None else f"{kind} inside of {type(layer).__name__}"
    if isinstance(layer, layers.Softmax):
        return "softmax"
    name = type(layer).__name__.lower()
    if not isinstance(layer, layers.Layer):  # an operation such as `keras.ops.sigmoid(x)`
        known = {
            "sigmoid": "sigmoid",
            "softmax": "softmax",
            "logsoftmax": "log_softmax",
            "logsigmoid": "log_sigmoid",
        }
        return known.get(name, name if name in ACTIVATIONS else None)
    if name in ACTIVATIONS:
        return name
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
