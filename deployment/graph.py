"""Trained runs as one TensorFlow graph, from raw pixels to the final mask: as `predict` sees an image in one piece."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from maskzoo.errors import RunError

from ..inference.engines.conversion import network
from ..inference.ensemble import Ensemble
from ..inference.predictor import Predictor
from ..inference.tta import TTATransform, parse_tta
from ..metrics.decision import SMALLEST_PROBABILITY
from ..models import analysis
from .input_region import RegionRule, SizeRule, region_rule, size_rule
from .normalization import normalized
from .tensors import Size, Tensor, mirrored, oriented, oriented_back, resized, scale_size, sizes_of


class BundleGraph(tf.Module):
    """Runs as TensorFlow functions of raw images `(batch, *size, channels)`.

    Args:
        run: A run, or an ensemble of runs.
        dtype: Type of the raw pixels.
        size: Spatial sizes of the images, one at a time; `None` for any size and number.

    Attributes:
        segment: Function to a dictionary with the `mask`.
        score: Function to a dictionary with the `probabilities`.
        both: Function to a dictionary with both.

    Raises:
        RunError: Something in a run has no form in a graph.
    """

    def __init__(self, run: Predictor, dtype: str, size: Sequence[int] | None = None) -> None:
        super().__init__()
        self._run = run
        self._task = run.data.task
        self._members = graph_members(run)
        # TensorFlow saves the variables that it finds in attributes.
        self.networks = [member.network for member in self._members]
        shape = (None, *[None] * run.data.spatial_dims) if size is None else (1, *size)
        signature = tf.TensorSpec((*shape, run.data.channels), dtype, name="images")
        as_function = tf.function(input_signature=[signature], autograph=False)
        self.segment = as_function(lambda images: {"mask": self._mask(self._logits(images))})
        self.score = as_function(lambda images: {"probabilities": activated(self._logits(images), self._task)})
        self.both = as_function(self._both)

    def _both(self, images: Tensor) -> dict[str, Tensor]:
        logits = self._logits(images)
        return {"mask": self._mask(logits), "probabilities": activated(logits, self._task)}

    def _mask(self, logits: Tensor) -> Tensor:
        labels = labels_from(logits, self._task, self._run.thresholds)
        return labels[..., 0] if self._task == "binary" else labels

    def _logits(self, images: Tensor) -> Tensor:
        shape = sizes_of(images)
        if not isinstance(self._run, Ensemble):
            (member,) = self._members
            (transform,) = member.transforms
            return member.logits(normalized(images, member.normalization), shape, transform)
        reduction, temperature, total = self._run.reduction, self._run.temperature, None
        for member in self._members:
            pixels = normalized(images, member.normalization)
            for transform in member.transforms:
                logits = member.logits(pixels, shape, transform)
                score = ensemble_score(logits, member.thresholds, self._task, reduction, temperature)
                score *= np.float32(member.weight / len(member.transforms))
                total = score if total is None else total + score
        return total if reduction == "logits" else logits_from(total, self._task)


@dataclass(frozen=True)
class GraphMember:
    """One run of a bundle.

    Attributes:
        network: Keras model from images to logits.
        call: The same as a TensorFlow function, which a graph with several transforms holds once.
        normalization: As in the run's `data.json`.
        thresholds: As in the run.
        weight: Its weight in the ensemble.
        transforms: The test-time augmentation.
        region: Function from an image's sizes to an `InputRegion`.
        allowed_size: Function from sizes to the next ones that the network takes.
    """

    network: keras.Model
    call: Callable[[Tensor], Tensor]
    # Words and numbers, as JSON holds them.
    normalization: Mapping[str, Any]
    thresholds: tuple[float, ...]
    weight: float
    transforms: tuple[TTATransform, ...]
    region: RegionRule
    allowed_size: SizeRule

    def logits(self, images: Tensor, shape: Sequence[Size], transform: TTATransform) -> Tensor:
        """Logits of normalised images, of their size."""
        region = self.region(shape)
        channels = self.network.inputs[0].shape[-1]
        pixels = oriented(mirrored(images, region.before, region.size), transform)
        size = sizes_of(pixels)
        if transform.scale != 1:
            pixels = resized(pixels, self.allowed_size([scale_size(length, transform.scale) for length in size]))
        pixels = tf.ensure_shape(pixels, (*pixels.shape[:-1], channels))
        logits = self.call(pixels)
        if transform.scale != 1:
            logits = resized(logits, size)
        logits = oriented_back(logits, transform)
        ends = [crop + length for crop, length in zip(region.crop, shape, strict=True)]
        return logits[(slice(None), *map(slice, region.crop, ends))]


def graph_members(run: Predictor) -> list[GraphMember]:
    """Returns the runs of an ensemble that have a weight, or the only one of a run.

    Raises:
        RunError: One has no form in a graph.
    """
    transforms = run.transforms if isinstance(run, Ensemble) else parse_tta("none", run.data.spatial_dims)
    geometries = [analysis.geometry(one.model) for one in run.members]
    symmetric = any(transform.transposes or transform.reverses for transform in transforms)
    found = []
    for one, weight, geometry in zip(run.members, run.weights, geometries, strict=True):
        if one.data.normalization.get("stain"):
            raise RunError(one.path, "a run without stain normalisation, which has no form in a graph", "one with it")
        if None not in one.model.inputs[0].shape[1:-1]:
            raise RunError(one.path, "a model that takes images of any size", "one that takes a single size")
        region = region_rule(geometry, geometries, symmetric)
        if weight:
            model = network(one)
            call = tf.function(partial(model, training=False), autograph=False)
            how_seen = (one.data.normalization, one.thresholds, weight, transforms, region, size_rule(geometry))
            found.append(GraphMember(model, call, *how_seen))
    return found


def activated(logits: Tensor, task: str) -> Tensor:
    """The probabilities of logits."""
    return tf.nn.softmax(logits) if task == "multiclass" else tf.sigmoid(logits)


def labels_from(logits: Tensor, task: str, thresholds: Sequence[float]) -> Tensor:
    """Labels of logits, as `metrics.predicted_labels`."""
    if task == "multiclass":
        return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)
    limits = np.clip(np.asarray(thresholds, np.float64), 1e-7, 1 - 1e-7)
    exact = np.log(limits / (1 - limits))
    least = exact.astype(np.float32)
    # The smallest float32 that is not below it.
    least = np.where(least < exact, np.nextafter(least, np.float32(np.inf)), least)
    return tf.cast(logits >= least, tf.uint8)


def ensemble_score(
    logits: Tensor, thresholds: Sequence[float], task: str, reduction: str, temperature: float
) -> Tensor:
    """What an ensemble averages of one member's logits."""
    if reduction == "votes":
        labels = labels_from(logits, task, thresholds)
        return tf.one_hot(labels, logits.shape[-1]) if task == "multiclass" else tf.cast(labels, tf.float32)
    logits = logits / np.float32(temperature)
    return logits if reduction == "logits" else activated(logits, task)


def logits_from(probabilities: Tensor, task: str) -> Tensor:
    """The logits that have these probabilities."""
    if task == "multiclass":
        return tf.math.log(tf.maximum(probabilities, SMALLEST_PROBABILITY))
    clipped = tf.clip_by_value(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return tf.math.log(clipped) - tf.math.log(1 - clipped)
