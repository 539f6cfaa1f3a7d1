"""How strongly the features of each level of a decoder answer inside and outside each class of an image."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from scipy.special import logsumexp

from maskzoo.errors import OptionError

from .. import data, inference, metrics
from ..models import analysis
from ..models.heads import decoder_levels, deepest_features
from .level_answers import Grid, Sample, mean_separation, response_to, standardised
from .separation import halves, sampled_pixels

MASK = "mask"
# Of the separation: less is within what other halves of an image give.
LEAST_GAIN = 0.001
# What labels have where a pixel does not count.
IGNORED = 255


@dataclass(frozen=True)
class Response:
    """How the features of a level, or the mask itself, answer to a class.

    The answer of an element is its features' projection on the direction in which the class differs from the rest, in
    standard deviations: 0 on average over the image. The direction is fitted on one half of the image and measured on
    the other, and the other way round; the answers of the mask are its logits. Answers are measured at the same pixels
    for all levels, between the elements of coarser ones by linear interpolation, as a side branch enlarges them.

    Attributes:
        level: Name of the layer, or `mask`.
        stride: Pixels per element along the first axis.
        class_name: The class.
        inside: Mean answer of the pixels of the class; NaN if too little of it is there to be measured.
        outside: Mean answer of the other pixels; NaN likewise.
        separation: Probability that a pixel of the class answers more strongly than one of the others, on the half
            that the direction was not fitted on: 0.5 is none, 1 is perfect; NaN likewise.
        fitted: The same where the direction is fitted and measured on the whole image; for the mask as `separation`.
        with_mask: `separation` of the best sum of mask and level, NaN without a label: how much more than the mask's
            own a side branch there can give.
        elements: Number of the level's elements that are of the class.
    """

    level: str
    stride: int
    class_name: str
    inside: float
    outside: float
    separation: float
    fitted: float
    with_mask: float
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
        known: Where that is known, bool `(*size, classes)`.
        by_label: Whether a label says so, and not the run's own prediction.
        class_names: The classes, in the order of `truth`.
        levels: The layers, finest first, and their strides along the first axis.
        responses: One per level and class, levels first; at last those of the mask.
        maps: The answers of each level to each class, fitted on the whole image, by layer; and of the mask: float
            `(*size of the level, classes)`.
    """

    window: data.Window
    image: np.ndarray
    truth: np.ndarray
    known: np.ndarray
    by_label: bool
    class_names: tuple[str, ...]
    levels: dict[str, int]
    responses: list[Response]
    maps: dict[str, np.ndarray]

    def response(self, level: str, class_name: str) -> Response:
        """Returns the response of a level, or of the mask, to a class."""
        return next(r for r in self.responses if (r.level, r.class_name) == (level, class_name))

    def best_level(self, class_name: str) -> Response | None:
        """Returns the response of the level that a side branch for a class would gain most from.

        By a label that is the one with the highest `with_mask`, without one that with the highest `separation`; `None`
        where none is known.
        """

        def rank(response: Response) -> float:
            return response.with_mask if self.by_label else response.separation

        known = [r for r in self.responses if r.class_name == class_name and r.level != MASK]
        return max((r for r in known if not math.isnan(rank(r))), key=rank, default=None)

    def adds_to_mask(self, response: Response) -> bool:
        """Returns whether a level and the mask together separate a class better than the mask alone."""
        return response.with_mask - self.response(MASK, response.class_name).separation >= LEAST_GAIN


def level_responses(
    run: inference.Run, source: data.Source, label: data.Source | None = None, *, size: int = 512, seed: int = 0
) -> LevelResponses:
    """Measures how the levels of a run's decoder answer to its classes in the middle of an image.

    Args:
        run: The run.
        source: The image.
        label: Its label, in the format of the run's labels; by default what the run itself finds.
        size: Most pixels along each axis that are looked at.
        seed: Of the halves of the image on which directions are fitted and measured.

    Raises:
        OptionError: The model has no decoder whose levels follow the image.
    """
    model = run.model
    mask: Any = analysis.outputs_by_name(model).get(MASK, model.outputs[0])  # Keras declares no type of it
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
    truth, known = truth_of(run, label, answer_window, logits)
    first = [start - begin for start, begin in zip(answer_window.offset, window.offset, strict=True)]
    coarsest = [max(math.ceil(place.stride[axis]) for _, place in levels.values()) for axis in range(len(first))]
    odds = log_odds(logits, run.data.task)
    rows: dict[str, list[Response]] = {name: [] for name in (*levels, MASK)}
    maps: dict[str, list[np.ndarray]] = {name: [] for name in (*levels, MASK)}
    for number, class_name in enumerate(run.data.class_names[: run.data.num_classes]):
        inside, seen = truth[..., number], known[..., number]
        pixels = sampled_pixels(inside, seen, seed)
        sample = Sample(
            pixels,
            inside[tuple(pixels.T)],
            halves(inside & seen, coarsest, seed),
            odds[..., number][tuple(pixels.T)] if label is not None else None,
        )
        for (name, (_, place)), values in zip(levels.items(), features, strict=True):
            grid = Grid(place, first, values.shape[:-1])
            response, answers = response_to(values, grid, sample, inside, seen)
            rows[name].append(Response(name, int(place.stride[0]), class_name, *response))
            maps[name].append(answers)
        scaled = standardised(odds[..., number], seen)
        inner = scaled[tuple(pixels.T)]
        measured = mean_separation(inner, inner, sample)
        known_here = not math.isnan(measured)
        mean_inside = float(inner[sample.inside].mean()) if known_here else math.nan
        mean_outside = float(inner[~sample.inside].mean()) if known_here else math.nan
        own = measured if label is not None else math.nan
        rows[MASK].append(
            Response(
                level=MASK,
                stride=int(fine.stride[0]),
                class_name=class_name,
                inside=mean_inside,
                outside=mean_outside,
                separation=measured,
                fitted=measured,
                with_mask=own,
                elements=int((inside & seen).sum()),
            )
        )
        maps[MASK].append(scaled)
    inner_image = image[tuple(slice(begin, begin + n) for begin, n in zip(first, answer_window.size, strict=True))]
    return LevelResponses(
        window=answer_window,
        image=inner_image,
        truth=truth,
        known=known,
        by_label=label is not None,
        class_names=tuple(run.data.class_names[: run.data.num_classes]),
        levels={name: int(place.stride[0]) for name, (_, place) in levels.items()},
        responses=[response for responses in rows.values() for response in responses],
        maps={name: np.stack(answers, axis=-1) for name, answers in maps.items()},
    )


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


def truth_of(
    run: inference.Run, label: data.Source | None, window: data.Window, logits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns where each class is, by a label or the run's logits, and where that is known: bool `(*size, classes)`."""
    task, classes = run.data.task, run.data.num_classes
    if label is not None:
        scheme = data.LabelScheme.from_dict(run.data.labels)
        values = scheme.reader(label)(window)
        truth = scheme.masks(values)
        counted = values != IGNORED
        return truth, np.broadcast_to(counted[..., None] if task == "multiclass" else counted, truth.shape)
    probabilities = metrics.probabilities(logits, task)
    if task == "multiclass":
        truth = probabilities.argmax(-1)[..., None] == np.arange(classes)
    else:
        truth = probabilities > np.asarray(run.thresholds)
    return truth, np.ones(truth.shape, bool)


def log_odds(logits: np.ndarray, task: str) -> np.ndarray:
    """Returns the logarithm of the odds of each class from logits `(*size, classes)`."""
    if task != "multiclass":
        return logits
    rest = [np.delete(logits, number, axis=-1) for number in range(logits.shape[-1])]
    return logits - np.stack([logsumexp(others, axis=-1) for others in rest], axis=-1)
