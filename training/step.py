"""One training step: micro-batches, several outputs, gradients summed over replicas, clipped and applied once."""

import keras
from keras import ops

from .. import models
from . import strategy

AUXILIARY_WEIGHT = 0.5


class Objective:
    """What is minimised, per sample: the loss of every mask output and the cross-entropy of the image-level output.

    Labels are brought to the size of each output by taking the nearest pixel. The label output is trained on which
    classes occur in the window's own mask.

    Args:
        loss: Loss of `losses.build_loss`.
        weights: Dict from output names to the weights of their losses; 1 for `mask` and 0.5 for others by default.
        label_weight: Weight of the output `label`.
    """

    def __init__(self, loss, weights=None, label_weight=1.0):
        self.loss, self.weights, self.label_weight = loss, dict(weights or {}), label_weight

    def weight(self, name):
        """The weight of a mask output."""
        return self.weights.get(name, 1.0 if name == "mask" else AUXILIARY_WEIGHT)

    def __call__(self, labels, outputs):
        """Returns one value per sample, from labels, or a dict of the labels of outputs, and a dict of outputs."""
        terms = [
            self.label_weight * self.label_loss(labels, logits)
            if name == "label"
            else self.weight(name) * self.loss.call(nearest_labels(labels_of(labels, name), logits), logits)
            for name, logits in outputs.items()
        ]
        return sum(terms)

    def labels_shown(self, labels, logits):
        """Which classes occur in each window, as many as the label output has."""
        return presence(labels, self.loss.task, logits.shape[-1], self.loss.ignore_index)

    def right_labels(self, labels, logits):
        """The share of the classes whose label is right, for each window."""
        shown = self.labels_shown(labels, logits) > 0.5
        return ops.mean(ops.cast(ops.equal(shown, logits > 0), "float32"), axis=-1)

    def label_loss(self, labels, logits):
        """Binary cross-entropy of the labels of whole windows, a mean over classes."""
        target = self.labels_shown(labels, logits)
        return ops.mean(ops.binary_crossentropy(target, ops.cast(logits, "float32"), from_logits=True), axis=-1)


def labels_of(labels, name):
    """The labels of an output, where outputs have labels of their own."""
    return labels[name] if isinstance(labels, dict) else labels


def presence(labels, task, num_labels, ignore_index=None):
    """Which classes occur in each mask: `(batch, num_labels)` in {0, 1}; a class map's class 0 is none of them."""
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


def nearest_labels(labels, logits):
    """Labels at the size of the logits: along each axis the pixel nearest to the centre of the coarser one."""
    for axis in range(1, len(logits.shape) - 1):
        if labels.shape[axis] == logits.shape[axis] is not None:
            continue
        size, full = ops.shape(logits)[axis], ops.shape(labels)[axis]
        labels = ops.take(labels, (2 * ops.arange(size) + 1) * full // (2 * size), axis=axis)
    return labels


def named_outputs(outputs):
    """A model's outputs as a dict; a single one is its `mask`."""
    return outputs if isinstance(outputs, dict) else {"mask": outputs}


class Trainer(keras.Model):
    """Fits a functional model, which stays as it is and is what gets saved.

    The batch of a replica is cut into micro-batches that are computed one after the other; their gradients add up to
    that of the whole batch, since the loss is a mean over samples. Not equal are losses and layers that look at several
    samples at once: batch normalisation sees a micro-batch at a time. Gradients are added up over the replicas before
    they are clipped, so that a step is as long on several devices as on one.

    Args:
        network: The functional model.
        objective: An `Objective`.
        scores: Metrics of `(labels, logits, sample_weight)` for the output `mask`.
        accumulate: Micro-batches per replica and step.
        clip_norm: Largest norm of all gradients together, or `None`.
        regions: For a network of two images, what `models.cut_regions` is told; `None` for one of one image.
    """

    def __init__(self, network, objective, scores, *, accumulate=1, clip_norm=None, regions=None):
        super().__init__(name=f"{network.name}_trainer")
        self.network, self.objective, self.scores = network, objective, scores
        self.accumulate, self.clip_norm, self.regions = accumulate, clip_norm, regions
        self.loss_mean = keras.metrics.Mean("loss")
        has_label = "label" in network.output_names
        self.label_accuracy = keras.metrics.Mean("label_accuracy") if has_label else None
        self.built = True

    @property
    def metrics(self):
        return [self.loss_mean, *self.scores, *([self.label_accuracy] if self.label_accuracy else [])]

    def call(self, images, training=None):
        return self.network(images, training=training)

    # How gradients are taken is a matter of the backend.
    gradients_of = staticmethod(strategy.gradients)
    after = staticmethod(strategy.after)

    def masks(self, images):
        """Logits of all classes, as prediction gives them."""
        network = models.two_stage(self.network, **self.regions) if self.regions else self.network
        return named_outputs(network(images, training=False))["mask"]

    def answers(self, images, labels, training):
        """The labels, for each output where these have their own, and the network's outputs by name."""
        if not self.regions:
            return labels, named_outputs(self.network(images, training=training))
        regions, labels = models.cut_regions(images, labels, **self.regions)
        return labels, self.network([images, regions], training=training)

    def measure(self, batch, training):
        """Returns the mean loss of a batch, and counts the batch in the metrics."""
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(batch)
        labels, outputs = self.answers(images, labels, training)
        values = self.objective(labels, outputs)
        self.loss_mean.update_state(values, sample_weight=weights)
        names = list(labels) if self.regions else ["mask"]
        truth = [labels_of(labels, name) for name in names]
        logits = [outputs[name] for name in names]
        for score in self.scores:
            score.update_state(joined(truth), joined(logits), sample_weight=weights)
        if self.label_accuracy:
            right = self.objective.right_labels(labels, outputs["label"])
            self.label_accuracy.update_state(right, sample_weight=weights)
        return ops.mean(values if weights is None else values * ops.cast(weights, values.dtype))

    def train_step(self, batch):
        self.optimizer.apply(self.shared(self.gradients(batch)), self.network.trainable_variables)
        return {metric.name: metric.result() for metric in self.metrics}

    def gradients(self, batch):
        """A replica's part of the gradients of the mean loss by the trainable variables: the parts add up to them.

        With float16 they are multiplied by the optimizer's scale.
        """
        variables = self.network.trainable_variables
        parts = self.accumulate * strategy.replicas()

        def loss_of(micro):
            return lambda: self.optimizer.scale_loss(self.measure(micro, training=True) / parts)

        total = None
        for micro in micro_batches(batch, self.accumulate):
            # The next micro-batch waits for the gradients of the one before: only one is in memory at a time.
            micro = micro if total is None else self.after(total, micro)
            gradients = self.gradients_of(loss_of(micro), variables)
            total = gradients if total is None else added(total, gradients)
        return total

    def shared(self, gradients):
        """Gradients as the optimizer is to have them, which adds them up over the replicas itself."""
        scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        if not self.clip_norm and not scaled:
            return gradients
        # Whether they are too long, or not finite, must be asked of the sum: every replica gets the same answer.
        gradients = strategy.summed(gradients)
        if self.clip_norm:
            gradients = clipped(gradients, self.clip_norm * (self.optimizer.dynamic_scale if scaled else 1.0))
        return [g if g is None else g / strategy.replicas() for g in gradients]

    def predict_step(self, batch):
        """The loss of each sample, by which hard windows are told."""
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
        return self.objective(*self.answers(images, labels, training=False))

    def test_step(self, batch):
        self.measure(batch, training=False)
        return {metric.name: metric.result() for metric in self.metrics}


def micro_batches(batch, number):
    """Yields equal parts of a batch's arrays along their first axis."""
    if number == 1:
        yield batch
        return
    size = ops.shape(batch[0])[0] // number
    for part in range(number):
        yield tuple(None if x is None else x[part * size : (part + 1) * size] for x in batch)


def joined(parts):
    """Channels of several arrays in one."""
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def added(some, others):
    return [a if b is None else b if a is None else a + b for a, b in zip(some, others, strict=True)]


def clipped(gradients, limit):
    """Gradients shortened, all by the same factor, so that their norm is at most the limit."""
    norm = ops.sqrt(sum(ops.sum(ops.square(g)) for g in gradients if g is not None))
    factor = limit / ops.maximum(norm, limit)
    return [g if g is None else g * factor for g in gradients]
