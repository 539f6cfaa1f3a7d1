"""Keras metrics that count pixels over an epoch, so that their value does not depend on the batch size."""

import math

import keras
from keras import ops

# Counts are kept as high * CHUNK + low: float32 alone stops counting at 2^24 pixels.
CHUNK = 2.0**20


class _Counts(keras.metrics.Metric):
    """True positives, false positives and false negatives per class, summed over samples and replicas.

    Args:
        task: `binary`, `multilabel` (labels `(batch, *spatial, num_classes)` in {0, 1}) or `multiclass` (class numbers
            `(batch, *spatial)` or `(batch, *spatial, 1)`).
        num_classes: Number of logit channels.
        threshold: Probability from which a pixel is positive, one number or one per class; binary and multilabel.
        ignore_index: Label value of pixels that do not count.
        include_background: Whether class 0 of a multiclass task enters the mean.
    """

    def __init__(
        self,
        task="binary",
        num_classes=1,
        threshold=0.5,
        ignore_index=None,
        include_background=False,
        name=None,
        dtype="float32",
    ):
        super().__init__(name=name or type(self).__name__.lower(), dtype=dtype)
        if task not in ("binary", "multilabel", "multiclass"):
            raise ValueError(f"task: expected binary, multilabel or multiclass; received {task!r}")
        thresholds = [threshold] if isinstance(threshold, int | float) else list(threshold)
        if not all(0 < t < 1 for t in thresholds) or len(thresholds) not in (1, num_classes):
            raise ValueError(f"threshold: expected 1 or {num_classes} numbers between 0 and 1; received {threshold}")
        self.task, self.num_classes, self.threshold = task, num_classes, threshold
        self.ignore_index, self.include_background = ignore_index, include_background
        self._logit_thresholds = [math.log(t / (1 - t)) for t in thresholds]
        self.counts = self.add_variable((2, num_classes, 3), "zeros", dtype="float32", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds the counts of a batch.

        Args:
            y_true: Labels, see the class.
            y_pred: Logits `(batch, *spatial, num_classes)`.
            sample_weight: `(batch,)`; a sample of weight 0 does not count.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if len(y_true.shape) == len(y_pred.shape) - 1:
            y_true = ops.expand_dims(y_true, -1)
        channels = 1 if self.task == "multiclass" else self.num_classes
        if (len(y_true.shape), y_true.shape[-1], y_pred.shape[-1]) != (len(y_pred.shape), channels, self.num_classes):
            raise ValueError(
                f"{self.name}: expected {self.num_classes} logit channels and {channels} label channels; "
                f"received shapes {tuple(y_pred.shape)} and {tuple(y_true.shape)}"
            )
        # uint8 labels would wrap around in arithmetic.
        y_true = ops.cast(y_true, "int32" if self.task == "multiclass" else "float32")
        valid = ops.ones_like(y_true)
        if self.ignore_index is not None:
            valid = ops.cast(y_true != self.ignore_index, y_true.dtype)
        if self.task == "multiclass":
            truth = ops.one_hot((y_true * valid)[..., 0], self.num_classes, dtype="float32")
            guess = ops.one_hot(ops.argmax(y_pred, axis=-1), self.num_classes, dtype="float32")
        else:
            truth = ops.cast(y_true * valid > 0.5, "float32")
            guess = ops.cast(ops.cast(y_pred, "float32") >= ops.convert_to_tensor(self._logit_thresholds), "float32")
        valid = ops.cast(valid, "float32")
        truth, guess = truth * valid, guess * valid
        both = truth * guess
        axes = tuple(range(1, len(y_pred.shape) - 1))
        # One sum per sample and class: exact as long as a sample has fewer than 2^24 pixels.
        counts = [ops.sum(c, axis=axes) if axes else c for c in (both, guess - both, truth - both)]
        counts = ops.stack(counts, axis=-1)
        if sample_weight is not None:
            counts = counts * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1, 1))
        high, low = self.counts[0], self.counts[1] + ops.sum(counts, axis=0)
        carry = ops.floor(low / CHUNK)
        self.counts.assign(ops.stack([high + carry, low - carry * CHUNK]))

    def per_class(self):
        """Returns the score of each class, background included, as a NumPy array `(num_classes,)`."""
        return ops.convert_to_numpy(self._scores())

    def _scores(self):
        counts = self.counts[0] * CHUNK + self.counts[1]
        return self._score(counts[:, 0], counts[:, 1], counts[:, 2])

    def result(self):
        scores = self._scores()
        if self.task == "multiclass" and not self.include_background:
            scores = scores[1:]
        return ops.mean(scores)

    def get_config(self):
        return {
            **super().get_config(),
            "task": self.task,
            "num_classes": self.num_classes,
            "threshold": self.threshold,
            "ignore_index": self.ignore_index,
            "include_background": self.include_background,
        }


def _ratio(part, whole, errors):
    """Returns part / whole; where whole is 0: 1 without any error (empty on empty), else 0."""
    empty = ops.cast(errors == 0, part.dtype)
    return ops.where(whole > 0, part / ops.maximum(whole, 1e-30), empty)


@keras.saving.register_keras_serializable("maskzoo")
class Dice(_Counts):
    """Dice `2 tp / (2 tp + fp + fn)` of all pixels of an epoch; 1 for a class that is neither there nor predicted."""

    def _score(self, tp, fp, fn):
        return _ratio(2 * tp, 2 * tp + fp + fn, fp + fn)


@keras.saving.register_keras_serializable("maskzoo")
class IoU(_Counts):
    """Intersection over union `tp / (tp + fp + fn)`; 1 for a class that is neither there nor predicted."""

    def _score(self, tp, fp, fn):
        return _ratio(tp, tp + fp + fn, fp + fn)


@keras.saving.register_keras_serializable("maskzoo")
class Precision(_Counts):
    """Share of predicted pixels that are right, `tp / (tp + fp)`; 0 for a class that is there but never predicted."""

    def _score(self, tp, fp, fn):
        return _ratio(tp, tp + fp, fp + fn)


@keras.saving.register_keras_serializable("maskzoo")
class Recall(_Counts):
    """Share of true pixels that are found, `tp / (tp + fn)`; 0 for a class that is predicted but never there."""

    def _score(self, tp, fp, fn):
        return _ratio(tp, tp + fn, fp + fn)
