"""What a model costs: its parameters, and the multiplications of one forward pass."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, tree

from .graph import COMPOSITE, Call, functional, is_foreign, walk, walk_inside
from .receptive_field import input_specs

Shape = Sequence[int]

CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
MULTIPLYING = (
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    layers.Dense,
    layers.Dot,
    layers.SpectralNormalization,
)


def parameters(model: keras.Model) -> tuple[int, int]:
    """Returns the number of parameters of a model: all of them, and those that training changes."""
    total, trainable = (
        sum(math.prod(weight.shape) for weight in weights) for weights in (model.weights, model.trainable_weights)
    )
    return total, trainable


def multiply_adds(model: keras.Model, input_shape: Sequence[int]) -> int:
    """Counts the multiplications followed by an addition in one forward pass over one image.

    Counted are convolutions and matrix products (dense layers, attention), also inside custom layers; biases,
    normalisation, activations and interpolation are not.

    Args:
        model: A functional `keras.Model`.
        input_shape: `(*spatial, channels)` of an allowed size.

    Raises:
        OptionError: The model cannot take the shape, or a layer does not consist of `keras.ops`.
    """
    count = 0

    def visit(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        nonlocal count
        operation = call.operation
        grouped: Any = operation if isinstance(operation, CONVOLUTIONS) and operation.groups > 1 else None
        opened = isinstance(operation, (*CONVOLUTIONS, *MULTIPLYING, *COMPOSITE))
        if isinstance(operation, layers.Layer) and (is_foreign(operation) or (opened and not grouped)):
            return walk_inside(operation, args, kwargs, visit)
        made = tree.flatten(operation.compute_output_spec(*args, **kwargs))
        if grouped:  # Keras does not follow grouped convolutions symbolically
            count += _convolution_products(grouped, made[0].shape, None, grouped.kernel.shape)
            return made
        product = PRODUCTS.get(type(operation).__name__)
        if product:
            operands = [tuple(value.shape) for value in tree.flatten((args, kwargs)) if hasattr(value, "shape")]
            count += product(operation, made[0].shape, *operands)
        return made

    walk(functional(model), input_specs(model, input_shape), visit)
    return count


def _convolution_products(operation: Any, made: Shape, x: Shape | None, *kernels: Shape) -> int:
    return math.prod(made[:-1]) * sum(map(math.prod, kernels))


def _transposed_products(operation: Any, made: Shape, x: Shape, kernel: Shape) -> int:
    return math.prod(x[:-1]) * math.prod(kernel)


def _matrix_products(operation: Any, made: Shape, x: Shape, y: Shape) -> int:
    return math.prod(made) * x[-1]


def _einsum_products(operation: Any, made: Shape, *operands: Shape) -> int:
    read, kept = operation.subscripts.replace(" ", "").split("->")
    sizes: dict[str, int] = {}
    for labels, shape in zip(read.split(","), operands, strict=True):
        head, _, tail = labels.partition("...")
        sizes.update(zip(head, shape, strict=False))
        sizes.update(zip(reversed(tail), reversed(shape), strict=False))
    return math.prod(made) * math.prod(size for label, size in sizes.items() if label not in kept)


def _attention_products(operation: Any, made: Shape, query: Shape, key: Shape, value: Shape, *masks: Shape) -> int:
    return math.prod(query[:-1]) * key[1] * (query[-1] + value[-1])


# By name, because Keras keeps the classes of its operations private.
PRODUCTS: dict[str, Callable[..., int]] = {
    "Conv": _convolution_products,
    "DepthwiseConv": _convolution_products,
    "SeparableConv": _convolution_products,
    "ConvTranspose": _transposed_products,
    "Matmul": _matrix_products,
    "Einsum": _einsum_products,
    "DotProductAttention": _attention_products,
}
