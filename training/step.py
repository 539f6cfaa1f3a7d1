"""One training step: micro-batches, several outputs, gradients summed over replicas, clipped and applied once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import keras

from .. import losses, models
from . import strategy
from .attention import attention_loss, pooled_foreground
from .keras_types import ModelBase, Tensor, ops

AUXILIARY_WEIGHT = 0.5

# What Keras hands to a step: images `(batch, *spatial, channels)`, labels, and a weight per sample or none.
Batch = tuple[Tensor, ...]
# The labels of a batch, or those of each output by name.
Labels = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Regions:
    """How the classes are divided between the two images of a model such as `fine_grained_unet`.

    Attributes:
        large: Numbers of the classes that are segmented in the whole image.
        fine: Numbers of the small classes, which are segmented in the region around the others.
        region: How the region is cut: `box`, `square` or `mask`.
    """

    large: list[int]
    fine: list[int]
    region: str


class Objective:
    """What is minimised, per sample: the loss of every mask output and the cross-entropy of the image-level output.

    Labels are resized to the size of each output by taking the nearest pixel. The label output is trained on which
    classes occur in the window's own mask.

    Args:
        loss: Loss of `losses.build_loss`.
        weights: Weight of the loss of each output; 1 for `mask` and 0.5 for the others by default.
        label_weight: Weight of the output `label`.
        attention: What `attention_strides` returned. These outputs are trained on where there is any foreground, by
            plain Dice; together they count as much as the mask, unless they have weights of their own.
    """

    def __init__(
        self,
        loss: losses.SegmentationLoss,
        weights: Mapping[str, float] | None = None,
        label_weight: float = 1.0,
        attention: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.loss, self.weights, self.label_weight = loss, dict(weights or {}), label_weight
        self.attention = dict(attention or {})

    def weight(self, name: str) -> float:
        """Returns the weight of a mask output."""
        if name in self.attention:
            return self.weights.get(name, 1 / len(self.attention))
        return self.weights.get(name, 1.0 if name == "mask" else AUXILIARY_WEIGHT)

    def __call__(self, labels: Labels, outputs: Mapping[str, Tensor]) -> Tensor:
        """Returns one value per sample.

        Args:
            labels: The labels of the batch, or those of each output.
            outputs: The outputs of the network by name.
        """
        terms = [
            self.label_weight * self.label_loss(labels, logits)
            if name == "label"
            else self.weight(name) * self.mask_loss(name, labels_of(labels, name), logits)
            for name, logits in outputs.items()
        ]
        return sum(terms)

    def mask_loss(self, name: str, labels: Tensor, logits: Tensor) -> Tensor:
        """Returns the loss of a mask output, or of an attention map, per sample."""
        if name not in self.attention:
            return self.loss.call(nearest_labels(labels, logits), logits)
        shown, counts = pooled_foreground(labels, logits, self.attention[name], self.loss.task, self.loss.ignore_index)
        return attention_loss(shown, counts, ops.cast(logits, "float32"))

    def labels_shown(self, labels: Labels, logits: Tensor) -> Tensor:
        """Returns which classes occur in each window, as many as the label output has."""
        return presence(labels, self.loss.task, logits.shape[-1], self.loss.ignore_index)

    def right_labels(self, labels: Labels, logits: Tensor) -> Tensor:
        """Returns the fraction of the classes whose label is right, for each window."""
        shown = self.labels_shown(labels, logits) > 0.5
        return ops.mean(ops.cast(ops.equal(shown, logits > 0), "float32"), axis=-1)

    def label_loss(self, labels: Labels, logits: Tensor) -> Tensor:
        """Returns the binary cross-entropy of the labels of whole windows, a mean over classes."""
        target = self.labels_shown(labels, logits)
        return ops.mean(ops.binary_crossentropy(target, ops.cast(logits, "float32"), from_logits=True), axis=-1)


def labels_of(labels: Labels, name: str) -> Tensor:
    """Returns the labels of an output, which may have labels of its own."""
    return labels[name] if isinstance(labels, dict) else labels


def presence(labels: Tensor, task: str, num_labels: int, ignore_index: int | None = None) -> Tensor:
    """Returns which classes occur in each mask: `(batch, num_labels)` in {0, 1}; class 0 of a class map is left out.

    Args:
        labels: Labels `(batch, *spatial, classes)`, or class maps `(batch, *spatial)`.
        task: `binary`, `multilabel` or `multiclass`.
        num_labels: Number of classes to look for.
        ignore_index: Label of pixels that do not count, or `None`.
    """
    if task == "multiclass":
        labels = labels[..., 0] if labels.shape[-1] == 1 else labels
        kinds = [ops.equal(ops.cast(labels, "int32"), kind) for kind in range(1, num_labels + 1)]
        shown = ops.stack(kinds, axis=-1)
    else:
        shown = ops.cast(labels, "float32") > 0.5
        if ignore_index is not None:
            shown = ops.logical_and(shown, labels != ignore_index)
    axes = tuple(range(1, len(shown.shape) - 1))
    return ops.cast(ops.any(shown, axis=axes), "float32")


def nearest_labels(labels: Tensor, logits: Tensor) -> Tensor:
    """Returns labels at the size of the logits: along each axis the pixel nearest to the centre of the coarser one.

    Args:
        labels: Labels `(batch, *spatial, classes)`, or class maps `(batch, *spatial)`.
        logits: Logits `(batch, *spatial, classes)`, of the same or a smaller size.
    """
    for axis in range(1, len(logits.shape) - 1):
        if labels.shape[axis] == logits.shape[axis] is not None:
            continue
        size, full = ops.shape(logits)[axis], ops.shape(labels)[axis]
        labels = ops.take(labels, (2 * ops.arange(size) + 1) * full // (2 * size), axis=axis)
    return labels


def named_outputs(outputs: Labels) -> dict[str, Tensor]:
    """Returns a model's outputs by name; a single one is its `mask`."""
    return outputs if isinstance(outputs, dict) else {"mask": outputs}


class Trainer(ModelBase):
    """Fits a functional model, which stays as it is and is what gets saved.

    The batch of a replica is split into micro-batches that are computed one after the other; their gradients sum to
    that of the whole batch, since the loss is a mean over samples. This does not hold for losses and layers that look
    at several samples at once: batch normalisation sees one micro-batch at a time. Gradients are summed over the
    replicas before they are clipped, so that a step is as long on several devices as on one.

    Args:
        network: The functional model.
        objective: What is minimised.
        scores: Metrics of `(labels, logits, sample_weight)` for the output `mask`.
        accumulate: Micro-batches per replica and step.
        clip_norm: Maximum norm of all gradients together, or `None`.
        regions: How a network with two inputs divides the classes between them; `None` for a network with one.
    """

    def __init__(
        self,
        network: keras.Model,
        objective: Objective,
        scores: Sequence[keras.metrics.Metric],
        *,
        accumulate: int = 1,
        clip_norm: float | None = None,
        regions: Regions | None = None,
    ) -> None:
        super().__init__(name=f"{network.name}_trainer")
        self.network, self.objective, self.scores = network, objective, scores
        self.accumulate, self.clip_norm, self.regions = accumulate, clip_norm, regions
        self.loss_mean = keras.metrics.Mean("loss")
        has_label = "label" in network.output_names
        self.label_accuracy = keras.metrics.Mean("label_accuracy") if has_label else None
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self.loss_mean, *self.scores, *([self.label_accuracy] if self.label_accuracy else [])]

    def call(self, images: Tensor, training: bool | None = None) -> Labels:
        return self.network(images, training=training)

    # How gradients are computed depends on the backend.
    gradients_of = staticmethod(strategy.gradients)
    after = staticmethod(strategy.after)

    def masks(self, images: Tensor) -> Tensor:
        """Returns the logits of all classes, as prediction gives them."""
        network, regions = self.network, self.regions
        if regions:
            network = models.two_stage(network, regions.large, regions.fine, regions.region)
        return named_outputs(network(images, training=False))["mask"]

    def run_network(self, images: Tensor, labels: Tensor, training: bool) -> tuple[Labels, dict[str, Tensor]]:
        """Returns the labels, one set per output if these have their own, and the network's outputs by name."""
        regions = self.regions
        if not regions:
            return labels, named_outputs(self.network(images, training=training))
        enlarged, parts = models.cut_regions(images, labels, regions.large, regions.fine, regions.region)
        return parts, self.network([images, enlarged], training=training)

    def measure(self, batch: Batch, training: bool) -> Tensor:
        """Returns the mean loss of a batch, and updates the metrics."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        labels, outputs = self.run_network(images, labels, training)
        values = self.objective(labels, outputs)
        self.loss_mean.update_state(values, sample_weight=weights)
        names = list(labels) if isinstance(labels, dict) else ["mask"]
        truth = [labels_of(labels, name) for name in names]
        logits = [outputs[name] for name in names]
        for score in self.scores:
            score.update_state(joined(truth), joined(logits), sample_weight=weights)
        if self.label_accuracy:
            right = self.objective.right_labels(labels, outputs["label"])
            self.label_accuracy.update_state(right, sample_weight=weights)
        return ops.mean(values if weights is None else values * ops.cast(weights, values.dtype))

    # Steps return what Keras logs: a value per metric.
    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        self.optimizer.apply(self.shared(self.gradients(batch)), self.network.trainable_variables)
        return {metric.name: metric.result() for metric in self.metrics}

    def gradients(self, batch: Batch) -> list[Tensor | None]:
        """Returns a replica's part of the gradients of the mean loss: the parts of all replicas sum to the gradients.

        With float16 they are multiplied by the optimizer's scale.
        """
        variables = self.network.trainable_variables
        parts = self.accumulate * strategy.replicas()

        def loss_of(micro: Batch) -> Callable[[], Tensor]:
            return lambda: self.optimizer.scale_loss(self.measure(micro, training=True) / parts)

        total: list[Tensor | None] | None = None
        for micro in micro_batches(batch, self.accumulate):
            # The next micro-batch waits for the gradients of the one before: only one is in memory at a time.
            micro = micro if total is None else self.after(total, micro)
            gradients = self.gradients_of(loss_of(micro), variables)
            total = gradients if total is None else added(total, gradients)
        return total or []

    def shared(self, gradients: list[Tensor | None]) -> list[Tensor | None]:
        """Returns gradients as the optimizer expects them, which sums them over the replicas itself."""
        scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        if not self.clip_norm and not scaled:
            return gradients
        # Whether they are too long, or not finite, is decided on the sum: every replica comes to the same result.
        gradients = strategy.summed(gradients)
        if self.clip_norm:
            gradients = clipped(gradients, self.clip_norm * (self.optimizer.dynamic_scale if scaled else 1.0))
        return [g if g is None else g / strategy.replicas() for g in gradients]

    def predict_step(self, batch: Batch) -> Tensor:
        """Returns the loss of each sample, by which hard examples are found."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
        return self.objective(*self.run_network(images, labels, training=False))

    def test_step(self, batch: Batch) -> dict[str, Tensor]:
        self.measure(batch, training=False)
        return {metric.name: metric.result() for metric in self.metrics}


class TrainerCallback(keras.callbacks.Callback):
    """A callback of a `Trainer`."""

    @property
    def trainer(self) -> Trainer:
        """The trainer that calls it."""
        return cast(Trainer, self.model)


def micro_batches(batch: Batch, number: int) -> Iterator[Batch]:
    """Yields a number of equal parts of a batch's arrays, along their first axis."""
    if number == 1:
        yield batch
        return
    size = ops.shape(batch[0])[0] // number
    for part in range(number):
        yield tuple(None if x is None else x[part * size : (part + 1) * size] for x in batch)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Returns the channels of several arrays in one array."""
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def added(some: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Returns the sums of gradients; `None` stands for zeros."""
    return [a if b is None else b if a is None else a + b for a, b in zip(some, others, strict=True)]


def clipped(gradients: Sequence[Tensor | None], limit: float | Tensor) -> list[Tensor | None]:
    """Returns gradients scaled by a common factor so that their norm is at most a limit."""
    norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients if g is not None))
    factor = limit / ops.maximum(norm, limit)
    return [g if g is None else g * factor for g in gradients]
