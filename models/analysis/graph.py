"""Walks through the graph of a functional model. No other file touches what Keras keeps private."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
from keras import layers, tree

from maskzoo.errors import OptionError

# What stands for a tensor on a walk through a graph: what an output sees, a specification, ...
Value = TypeVar("Value")

# Layers of Keras whose large tensors and products are inside them: counting looks in there. Of the last one Keras knows
# the output shape only in part.
COMPOSITE = (
    layers.Attention,
    layers.AdditiveAttention,
    layers.MultiHeadAttention,
    layers.GroupQueryAttention,
    layers.EinsumDense,
)


@dataclass(frozen=True)
class Call:
    """One call of a layer, or of an operation such as `x + y`, in a graph.

    Attributes:
        operation: What is called.
        inputs: The symbolic tensors that it was called on.
        outputs: The symbolic tensors that it returned.
        node: Keras' private record of the call.
    """

    operation: keras.Operation
    inputs: tuple[keras.KerasTensor, ...]
    outputs: tuple[keras.KerasTensor, ...]
    node: Any  # a class that Keras does not export

    def arguments(self, values: Mapping[int, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the call's arguments, each input tensor replaced by the value under its identity.

        Any: arguments are whatever the layer takes, and the values whatever stands for tensors.
        """
        return self.node.arguments.fill_in(values)


# What a walk does at a call: takes the call and its filled-in arguments, returns what stands for its outputs.
Visit = Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]


def functional(model: keras.Model) -> keras.Function:
    """Returns a model whose graph can be walked.

    Raises:
        OptionError: The model is not functional.
    """
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs, model.outputs, name=model.name)
    if not isinstance(model, keras.Function):
        raise OptionError(model.name, "a functional model", type(model).__name__)
    return model


def walk(model: keras.Function, values: Sequence[Value], visit: Visit) -> list[Value]:
    """Runs values through a model's graph in the order in which Keras executes it.

    Keras keeps its graph of nodes private; its public way around (`clone_model`) copies layers or calls them, and here
    neither is wanted. Models inside the model are walked through as well.

    Args:
        model: A functional model.
        values: What stands for its input tensors, in the order of `model.inputs`.
        visit: `visit(call, args, kwargs)` returns what stands for the call's output tensors.

    Returns:
        What stands for the model's output tensors, as a flat list.
    """
    known = dict(zip(map(id, model.inputs), values, strict=True))
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input or all(id(tensor) in known for tensor in node.outputs):
                continue
            operation = node.operation
            call = Call(operation, tuple(node.arguments.keras_tensors), tuple(node.outputs), node)
            args, kwargs = call.arguments(known)
            if isinstance(operation, (keras.Sequential, keras.Function)):
                made = walk(functional(operation), tree.flatten(args[0]), visit)
            else:
                made = tree.flatten(visit(call, args, kwargs))
            known.update(zip(map(id, node.outputs), made, strict=True))
    return [known[id(tensor)] for tensor in model.outputs]


def walk_inside(operation: layers.Layer, args: tuple[Any, ...], kwargs: dict[str, Any], visit: Visit) -> list[Any]:
    """Follows what a layer does inside itself, as `walk` follows a model, and returns its output tensors.

    Any: arguments are whatever the layer takes; what is returned is what `visit` returns.

    Raises:
        OptionError: The layer does not consist of `keras.ops`.
    """
    read = symbolic((args, kwargs))
    try:
        made = tree.flatten(operation.call(*args, **kwargs))
        if all(any(tensor is given for given in read) for tensor in made):
            return made
        # An input of which the layer reads the shape alone takes no part in its graph.
        read = [tensor for tensor in read if hasattr(tensor, "_keras_history")]
        graph = keras.Function(read, made)
    except Exception as error:  # any layer may stand here
        reason = str(error).strip().splitlines()
        raise OptionError(
            operation.name,
            "a layer made of keras.ops",
            f"{type(operation).__name__}, which cannot be followed inside "
            f"({reason[0] if reason else type(error).__name__})",
        ) from error
    return walk(graph, read, visit)


def symbolic(arguments: object) -> list[keras.KerasTensor]:
    """Returns the symbolic tensors in a structure of any kind."""
    return [value for value in tree.flatten(arguments) if isinstance(value, keras.KerasTensor)]


def concrete(tensor: keras.KerasTensor, shape: Sequence[int]) -> keras.KerasTensor:
    """Returns a tensor's specification with batch 1 and free sizes taken from `shape`, which counts the batch."""
    # Not strict: a model may take a vector of known size beside the image.
    sizes = (free if size is None else size for size, free in zip(tensor.shape[1:], shape[1:], strict=False))
    return keras.KerasTensor((1, *sizes), dtype=tensor.dtype)


def is_foreign(operation: keras.Operation) -> bool:
    """Returns whether an operation is a layer that is not one of Keras."""
    return isinstance(operation, layers.Layer) and not type(operation).__module__.startswith("keras.")


def all_layers(model: keras.Model) -> Iterator[layers.Layer]:
    """Yields the layers of a model, and the layers inside of them."""
    yield from model._flatten_layers(include_self=False)


def layer_behind(tensor: Any) -> layers.Layer:
    """Returns the layer that made a tensor of a graph.

    Args:
        tensor: A `keras.KerasTensor`; Any, because only those of a graph know their layer.
    """
    return tensor._keras_history.operation


def arguments_of(tensor: Any) -> Any:
    """Returns the tensors that the call which made a tensor of a graph was given, in their structure.

    Args:
        tensor: A `keras.KerasTensor` of a graph; Any, see `layer_behind`.

    Returns:
        Tensors in lists and dicts, however the layer takes them.
    """
    history = tensor._keras_history
    given = history.operation._inbound_nodes[history.node_index].arguments.args
    return given[0] if len(given) == 1 else list(given)


def output_index(tensor: Any) -> int:
    """Returns the place of a tensor of a graph among the outputs of the call that made it.

    Args:
        tensor: A `keras.KerasTensor` of a graph; Any, see `layer_behind`.
    """
    return tensor._keras_history.tensor_index


@contextmanager
def calls_forgotten(model: keras.Model) -> Iterator[None]:
    """Has the layers of a model forget, as a context, the calls that are made inside it.

    A graph that is built in there still runs; the layers are known as they were, called at so many places.
    """
    operations = {id(call.operation): call.operation for call in _all_calls(model)}.values()
    known = [(len(each._inbound_nodes), len(each._outbound_nodes)) for each in operations]
    try:
        yield
    finally:
        for each, (inbound, outbound) in zip(operations, known, strict=True):
            del each._inbound_nodes[inbound:], each._outbound_nodes[outbound:]


@contextmanager
def names_apart(operations: Iterable[keras.Operation]) -> Iterator[None]:
    """Renames, as a context, layers and operations that are called as another: models inside a model have own names."""
    known: set[str] = set()
    renamed: list[tuple[keras.Operation, str]] = []
    for each in {id(each): each for each in operations}.values():
        if each.name in known:
            renamed.append((each, each.name))
            each.name = f"{each.name}.{len(renamed)}"
        known.add(each.name)
    try:
        yield
    finally:
        for each, name in renamed:
            each.name = name


def _all_calls(model: keras.Model) -> list[Call]:
    """Returns the calls in a model's graph."""
    calls: list[Call] = []

    def visit(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[None]:
        calls.append(call)
        return [None] * len(call.outputs)

    graph = functional(model)
    walk(graph, [None] * len(graph.inputs), visit)
    return calls


def readers(model: keras.Model, tensor: keras.KerasTensor) -> list[keras.Operation]:
    """Returns the layers and operations of a functional model that read a tensor of its graph."""
    nodes = (node for at_depth in functional(model)._nodes_by_depth.values() for node in at_depth)
    return [node.operation for node in nodes if any(tensor is given for given in node.input_tensors)]


def is_called_once(operation: keras.Operation) -> bool:
    """Returns whether a layer is called at one place only, so that it has a single `output`."""
    return len(operation._inbound_nodes) == 1


def outputs_by_name(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Returns a model's outputs by their names in its dict of outputs, or else by those of their layers.

    A single output is the mask, whatever its layer is called.
    """
    if not isinstance(model, keras.Sequential) and isinstance(model.output, dict):
        return model.output
    if len(model.outputs) == 1:
        return {"mask": model.outputs[0]}
    return dict(zip(model.output_names, model.outputs, strict=True))


def output_specs(
    model: keras.Model, tensors: Sequence[keras.KerasTensor], images: Sequence[keras.KerasTensor]
) -> list[keras.KerasTensor]:
    """Returns specifications of tensors of a model's graph for inputs of known size.

    Args:
        model: A functional model.
        tensors: Outputs of its layers.
        images: Specifications of its inputs.
    """
    return tree.flatten(keras.Function(model.inputs, list(tensors)).compute_output_spec(list(images)))


def output_names(model: keras.Function) -> list[str]:
    """Returns the name of each output: its key in a dict of outputs, else its layer's name."""
    paths = tree.flatten_with_path(model._outputs_struct)
    keys = [str(path[-1]) if path and isinstance(path[-1], str) else None for path, _ in paths]
    return [key or layer_behind(x).name for key, x in zip(keys, model.outputs, strict=True)]
