"""A copy of a model that computes one part of its mask, without what that part does not depend on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import keras
from keras import tree

from . import analysis
from .analysis import Span


@dataclass(frozen=True, eq=False)
class _Part:
    """A tensor of the copy.

    Attributes:
        tensor: What stands for it.
        spans: Which part of the original tensor it is.
    """

    tensor: keras.KerasTensor
    spans: tuple[Span, ...]

    def cut(self, spans: tuple[Span, ...], name: str) -> keras.KerasTensor:
        """A part of it, by an operation of this name."""
        if spans == self.spans:
            return self.tensor
        kept = [slice(a - start, b - start) for (a, b), (start, _) in zip(spans, self.spans, strict=True)]
        tensor: Any = self.tensor  # Keras does not type what slicing returns
        part = tensor[(slice(None), *kept)]
        analysis.layer_behind(part).name = name
        return part


# The copies of a model that are kept, for as long as the model is: images of one size have one plan.
KEPT = 4
# Images that are predicted side by side share a model, whose layers are called while it is copied.
COPYING = Lock()
COPIES: WeakKeyDictionary[keras.Model, dict[tuple[object, ...], keras.Model]] = WeakKeyDictionary()


def is_no_retracing(record: logging.LogRecord) -> bool:
    """Whether a message of TensorFlow is another than that many functions were traced: every copy is one of its own."""
    return "triggered tf.function retracing" not in record.getMessage()


def cropped(model: keras.Model, size: Sequence[int], part: Sequence[Span]) -> keras.Model:
    """Returns a model of images of one size that gives a part of another model's mask, with less work.

    Every layer is computed only where the part depends on it. The layers, and with them the weights, are those of the
    model. The answers are equal but for the rounding of sums in another order. The last copies are kept, as their first
    answer takes long.

    Args:
        model: A functional model from images to a mask.
        size: Spatial size of the images, one that the model takes.
        part: The elements of the mask along each axis: the first, and the one behind the last.

    Raises:
        OptionError: If the mask has no such part.
    """
    key = (tuple(size), tuple(part))
    with COPYING:
        logging.getLogger("tensorflow").addFilter(is_no_retracing)
        copies = COPIES.setdefault(model, {})
        if key not in copies:
            while len(copies) >= KEPT:
                del copies[next(iter(copies))]
            copies[key] = _copy(model, size, part)
        return copies[key]


def _copy(model: keras.Model, size: Sequence[int], part: Sequence[Span]) -> keras.Model:
    steps = {step.number: step for step in analysis.needed(model, size, part).steps}
    numbers, cuts = count(), count()
    inputs: list[Any] = [
        keras.Input((*tuple(size)[: x.ndim - 2], x.shape[-1]), dtype=x.dtype, name=f"cropped.{place}")
        for place, x in enumerate(model.inputs)
    ]

    def visit(call: analysis.Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        step = steps.get(next(numbers))
        if step is None:
            return [None] * len(call.outputs)
        given = iter(step.given)
        cut: Any = tree.map_structure(
            lambda value: value.cut(next(given), f"cut.{next(cuts)}") if isinstance(value, _Part) else value,
            (args, kwargs),
        )
        made: list[Any] = tree.flatten(call.operation(*cut[0], **cut[1]))
        return [_Part(made[place], piece.computed) for place, piece in enumerate(step.made)]

    wholes = [_Part(x, tuple((0, n) for n in tuple(size)[: x.ndim - 2])) for x in inputs]
    place = next(number for number, x in enumerate(model.outputs) if x is analysis.mask_of(model))
    with analysis.calls_forgotten(model):
        outputs = analysis.walk(analysis.functional(model), wholes, visit)
        mask = outputs[place].cut(tuple(part), "cut.mask")
        with analysis.names_apart(step.call.operation for step in steps.values()):
            return keras.Model(inputs, mask, name=f"{model.name}_cropped")
