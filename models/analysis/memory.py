"""How much memory a model's activations take, in prediction and in training."""

import math
from collections.abc import Sequence
from typing import Any, TypeGuard

import keras
from keras import layers, tree

from maskzoo.errors import OptionError

from .graph import COMPOSITE, Call, Visit, functional, is_foreign, symbolic, walk, walk_inside
from .receptive_field import input_specs

# The tensors that a layer reads, and those that it makes.
ReadAndMade = tuple[list[keras.KerasTensor], list[keras.KerasTensor]]
# By identity of a view: the view, to keep its identity from being given away, and what it is a view of.
Views = dict[int, tuple[keras.KerasTensor, keras.KerasTensor]]

# In prediction these return their input, or a view of it, and need no new memory.
IDLE = (
    layers.Identity,
    layers.Dropout,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.ActivityRegularization,
    layers.Reshape,
    layers.Flatten,
)
IDLE_OPERATIONS = ("Identity", "StopGradient", "Reshape", "ExpandDims", "Squeeze")


def peak_activation_bytes(model: keras.Model, input_shape: Sequence[int]) -> int:
    """Returns the memory that activations take at the worst moment of inference: batch 1, float32.

    A tensor lives from the layer that makes it to the last layer that reads it, in the order in which Keras runs the
    graph. What a layer needs inside itself is seen only in attention and in custom layers that have weights.

    Args:
        model: A functional `keras.Model`.
        input_shape: `(*spatial, channels)` of an allowed size.

    Raises:
        OptionError: The model cannot take the shape.
    """
    return _peak(_calls(model, input_shape))


def inner_bytes(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Returns the memory that one call takes at its worst moment beside what it reads and makes: batch 1, float32.

    Args:
        call: A call of a graph.
        args: Its arguments, with specifications in place of tensors. Any: arguments are whatever the layer takes.
        kwargs: The same by name.
    """
    if not _has_inside(call.operation):
        return 0
    calls: list[ReadAndMade] = []
    views: Views = {}
    made = _follow(calls, views)(call, args, kwargs)
    around = {id(tensor): _bytes(tensor) for tensor in (*symbolic((args, kwargs)), *made)}
    return max(0, _peak([*calls, (made, [])]) - sum(around.values()))


def _peak(calls: Sequence[ReadAndMade]) -> int:
    last_read = {id(tensor): moment for moment, (read, _) in enumerate(calls) for tensor in read}
    alive = {}
    peak = 0
    for moment, (read, made) in enumerate(calls):
        alive.update({id(tensor): _bytes(tensor) for tensor in (*read, *made)})
        peak = max(peak, sum(alive.values()))
        alive = {key: size for key, size in alive.items() if last_read.get(key, moment) > moment}
    return peak


def training_activation_bytes(model: keras.Model, input_shape: Sequence[int]) -> int:
    """Returns the memory of all activations of one image together, as training keeps them: float32.

    Args:
        model: A functional `keras.Model`.
        input_shape: `(*spatial, channels)` of an allowed size.

    Raises:
        OptionError: The model cannot take the shape.
    """
    tensors = {id(tensor): tensor for read, made in _calls(model, input_shape) for tensor in (*read, *made)}
    return sum(map(_bytes, tensors.values()))


def _bytes(tensor: keras.KerasTensor) -> int:
    return 4 * math.prod(tensor.shape)


def _calls(model: keras.Model, input_shape: Sequence[int]) -> list[ReadAndMade]:
    """Returns the tensors that each layer reads and makes in a forward pass, in order, as specifications.

    The last entry reads the outputs of the model.
    """
    calls: list[ReadAndMade] = []
    views: Views = {}
    outputs = walk(functional(model), input_specs(model, input_shape), _follow(calls, views))
    return [*calls, ([views.get(id(tensor), (tensor, tensor))[1] for tensor in outputs], [])]


def _has_inside(operation: keras.Operation) -> TypeGuard[layers.Layer]:
    """Whether what an operation does inside itself is counted."""
    is_followed = isinstance(operation, layers.Layer) and is_foreign(operation) and bool(operation.weights)
    return isinstance(operation, COMPOSITE) or is_followed


def _follow(calls: list[ReadAndMade], views: Views) -> Visit:
    """Returns what a walk does at a call to add it, or those inside of it, to a list of calls."""

    def visit(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operation = call.operation
        if _has_inside(operation):
            try:
                return walk_inside(operation, args, kwargs, visit)
            except OptionError:
                pass  # then only its outputs are known
        made = tree.flatten(operation.compute_output_spec(*args, **kwargs))
        read = [views.get(id(tensor), (tensor, tensor))[1] for tensor in symbolic((args, kwargs))]
        if isinstance(operation, IDLE) or type(operation).__name__ in IDLE_OPERATIONS:
            views.update((id(tensor), (tensor, read[0])) for tensor in made)
        elif type(operation).__name__ == "DotProductAttention":
            query, key = read[0].shape, read[1].shape
            calls.append((read, [*made, keras.KerasTensor((*query[:-1], key[1]))]))
        else:
            calls.append((read, made))
        return made

    return visit
