"""How strongly the features of each level of a decoder answer inside and outside each class of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from scipy.stats import rankdata

from maskzoo.errors import OptionError

from .. import data, inference, metrics
from ..models import analysis
from ..models.heads import decoder_levels, deepest_features

# Share of an element's pixels from which on it belongs to a class; without any pixel it lies outside.
INSIDE = 0.5
# Of fewer elements any features separate a class by chance.
LEAST_ELEMENTS = 8


@dataclass(frozen=True)
class Response:
    """How the features of a level answer to a class.

    The answer of an element is its features' projection on the direction in which the class differs from the rest, in
    standard deviations: 0 on average over the image.

    Attributes:
        level: Name of the layer.
        stride: Pixels per element along the first axis.
        class_name: The class.
        inside: Mean answer of the elements of the class; NaN if it has fewer than eight.
        outside: Mean answer of the other elements; NaN if there are fewer than eight.
        separation: Probability that an element of the class answers more strongly than one of the others: 0.5 is none,
            1 is perfect; NaN where either is.
        elements: Number of the class's elements.
    """

    level: str
    stride: int
    class_name: str
    inside: float
    outside: float
    separation: float
    elements: int

    def as_mapping(self) -> dict[str, str | int | float | None]:
        """Returns the attributes for JSON, which has no NaN."""
        values = asdict(self)
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()
        }


@dataclass(frozen=True, eq=False)
class LevelResponses:
    """What `level_responses` found.

    Attributes:
        window: The part of the image that was looked at.
        image: Its values as the model sees them, `(*size, channels)`.
        truth: Where each class is, bool `(*size, classes)`.
        class_names: The classes, in the order of `truth`.
        levels: The layers, finest first, and their strides along the first axis.
        responses: One per level and class, levels first.
        maps: The answers of each level to each class, by layer: float `(*size of the level, classes)`.
    """

    window: data.Window
    image: np.ndarray
    truth: np.ndarray
    class_names: tuple[str, ...]
    levels: dict[str, int]
    responses: list[Response]
    maps: dict[str, np.ndarray]

    def best_level(self, class_name: str) -> Response | None:
        """Returns the response of the level that separates a class best; `None` where none does."""
        known = [r for r in self.responses if r.class_name == class_name and not math.isnan(r.separation)]
        return max(known, key=lambda response: response.separation, default=None)


def level_responses(
    run: inference.Run, source: data.Source, label: data.Source | None = None, *, size: int = 512
) -> LevelResponses:
    """Measures how the levels of a run's decoder answer to its classes in the middle of an image.

    Args:
        run: The run.
        source: The image.
        label: Its label, in the format of the run's labels; by default what the run itself finds.
        size: Most pixels along each axis that are looked at.

    Raises:
        OptionError: The model has no decoder whose levels follow the image.
    """
    model = run.model
    mask: Any = analysis.outputs_by_name(model).get("mask", model.outputs[0])  # Keras declares no type of it
    if len(model.inputs) != 1 or len(mask.shape) != len(model.inputs[0].shape):
        raise OptionError("run", "a model from one image to a mask", model.name)
    names = levels_of(model)
    tensors = [model.get_layer(name).output for name in names]
    fine, *found = analysis.places(model, [mask, *tensors])
    levels = {
        name: (tensor, place) for name, tensor, place in zip(names, tensors, found, strict=True) if place is not None
    }
    if fine is None or not levels:
        raise OptionError("run", "a model with a decoder whose levels follow the image", model.name)
    window, answer_window = middle_window(model, source, size)
    image = run.reader(source)(window)
    outputs = keras.Model(model.input, [mask, *(tensor for tensor, _ in levels.values())])(image[None])
    logits, *features = (np.asarray(keras.ops.convert_to_numpy(x), np.float64)[0] for x in outputs)
    truth = truth_of(run, label, answer_window, logits)
    classes = list(range(run.data.num_classes))
    first = [start - begin for start, begin in zip(answer_window.offset, window.offset, strict=True)]
    responses: list[Response] = []
    maps: dict[str, np.ndarray] = {}
    for (name, (_, place)), values in zip(levels.items(), features, strict=True):
        answers: list[np.ndarray] = []
        for number in classes:
            shares = shares_of(truth[..., number], place, first, values.shape[:-1])
            answer, inside, outside, separation, elements = response_to(values, shares)
            answers.append(answer)
            stride, class_name = int(place.stride[0]), run.data.class_names[number]
            responses.append(Response(name, stride, class_name, inside, outside, separation, elements))
        maps[name] = np.stack(answers, axis=-1)
    inner = image[tuple(slice(begin, begin + n) for begin, n in zip(first, answer_window.size, strict=True))]
    class_names = tuple(run.data.class_names[number] for number in classes)
    strides = {name: int(place.stride[0]) for name, (_, place) in levels.items()}
    return LevelResponses(answer_window, inner, truth[..., classes], class_names, strides, responses, maps)


def levels_of(model: keras.Model) -> list[str]:
    """Returns the layers that end the levels of a model's decoder, finest first, and that of its deepest features."""
    deepest = analysis.layer_behind(deepest_features(model)).name
    return [name for name in decoder_levels(model) if name != deepest] + [deepest]


def middle_window(model: keras.Model, source: data.Source, size: int) -> tuple[data.Window, data.Window]:
    """Returns a window in the middle of an image that a model can take, and the part of it that the mask shows."""
    geometry = analysis.geometry(model)
    shown = tuple(min(length, size) for length in source.shape)
    wanted = tuple(n + lost for n, lost in zip(shown, geometry.crop, strict=True))
    taken = analysis.nearest_size(model, wanted)
    kept = tuple(n - lost for n, lost in zip(taken, geometry.crop, strict=True))
    offset = tuple((length - n) // 2 for length, n in zip(source.shape, kept, strict=True))
    before = tuple(start - skipped for start, skipped in zip(offset, geometry.offset, strict=True))
    return data.Window(before, taken), data.Window(offset, kept)


def truth_of(run: inference.Run, label: data.Source | None, window: data.Window, logits: np.ndarray) -> np.ndarray:
    """Returns where each class is, bool `(*size, classes)`: by a label, or by the run's own logits."""
    task, classes = run.data.task, run.data.num_classes
    if label is not None:
        values = data.LabelScheme.from_dict(run.data.labels).reader(label)(window)
        if task == "multiclass":
            return (
                values[..., None] == np.arange(classes) if values.ndim == window.ndim else values == np.arange(classes)
            )
        return np.asarray(values if values.ndim > window.ndim else values[..., None]) == 1
    probabilities = metrics.probabilities(logits, task)
    if task == "multiclass":
        return probabilities.argmax(-1)[..., None] == np.arange(classes)
    return probabilities > np.asarray(run.thresholds)


def shares_of(truth: np.ndarray, place: analysis.Place, first: Sequence[int], shape: tuple[int, ...]) -> np.ndarray:
    """Returns the share of a class in the pixels of each element of a level; NaN where the mask shows none of them.

    Args:
        truth: Where the class is, bool `(*size,)`.
        place: Where the level's elements lie in the model's input.
        first: First pixel of `truth` in the input, per axis.
        shape: Number of the level's elements per axis.
    """
    shares = truth.astype(np.float64)
    for axis, count in enumerate(shape):
        stride, start = place.stride[axis], round(place.start[axis])
        edges = [math.floor(start + stride * index) - first[axis] for index in range(count + 1)]
        sums = np.concatenate([np.zeros_like(shares.take([0], axis)), np.cumsum(shares, axis)], axis)
        low, high = (
            np.clip(ends, 0, shares.shape[axis]) for ends in (edges[:-1], np.maximum(edges[1:], np.add(edges[:-1], 1)))
        )
        lengths = (high - low).reshape([-1 if each == axis else 1 for each in range(shares.ndim)])
        with np.errstate(invalid="ignore"):
            shares = np.where(
                lengths > 0, (sums.take(high, axis) - sums.take(low, axis)) / np.maximum(lengths, 1), np.nan
            )
    return shares


def response_to(features: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, float, float, float, int]:
    """Returns the answers of features to a class: as a map, inside, outside, their separation, and how many are inside.

    Args:
        features: `(*size, channels)`.
        shares: The share of the class in each element, `(*size,)`, NaN where it is not known.
    """
    seen = ~np.isnan(shares)
    filled = np.nan_to_num(shares)
    inside = seen & (filled >= min(INSIDE, max(filled.max(), 1e-9)))
    outside = seen & (filled == 0)
    flat = features.reshape(-1, features.shape[-1])
    scaled = ((flat - flat.mean(0)) / np.maximum(flat.std(0), 1e-9)).reshape(features.shape)
    if min(inside.sum(), outside.sum()) < LEAST_ELEMENTS:
        return np.zeros(shares.shape), math.nan, math.nan, math.nan, int(inside.sum())
    direction = scaled[inside].mean(0) - scaled[outside].mean(0)
    answers = scaled @ (direction / max(float(np.linalg.norm(direction)), 1e-9))
    answers = (answers - answers.mean()) / max(float(answers.std()), 1e-9)
    ranks = rankdata(np.concatenate([answers[inside], answers[outside]]))[: inside.sum()]
    count = int(inside.sum())
    separation = float((ranks.mean() - (count + 1) / 2) / outside.sum())
    return answers, float(answers[inside].mean()), float(answers[outside].mean()), separation, int(inside.sum())
