"""Keras metrics that count pixels over an epoch, so that their value does not depend on the batch size."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from maskzoo.errors import OptionError

# A tensor of the current backend, or an array. Keras has no common type for those of TensorFlow, JAX and PyTorch.
Tensor: TypeAlias = Any

# `Any`, because what type checkers read off the code of all backends together is that each operation may return None.
ops: Any = keras.ops

# Counts are kept as high * CHUNK + low: float32 alone stops counting at 2^24 pixels.
CHUNK = 2.0**20


class PixelCounts(keras.metrics.Metric):
    """The base of the metrics: tp, fp and fn per class, summed over samples and replicas.

    Args:
        task: `binary`, `multilabel` (labels `(batch, *spatial, num_classes)` in {0, 1}) or `multiclass` (class numbers
            `(batch, *spatial)` or `(batch, *spatial, 1)`).
        num_classes: Number of logit channels.
        threshold: Probability from which a pixel is positive, one number or one per class; binary and multilabel.
        ignore_index: Label value of pixels that do not count.
        include_background: Whether class 0 of a multiclass task enters the mean.
        only_present: Whether only classes that labels show enter the mean, which is 0 where they show none.
    """

    def __init__(
        self,
        task: str = "binary",
        num_classes: int = 1,
        threshold: float | Sequence[float] = 0.5,
        ignore_index: int | None = None,
        include_background: bool = False,
        only_present: bool = False,
        name: str | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(name=name or type(self).__name__.lower(), dtype=dtype)
        if task not in ("binary", "multilabel", "multiclass"):
            raise OptionError("task", "binary, multilabel or multiclass", repr(task))
        thresholds = [threshold] if isinstance(threshold, int | float) else list(threshold)
        if not all(0 < t < 1 for t in thresholds) or len(thresholds) not in (1, num_classes):
            numbers = "a number" if num_classes == 1 else f"1 or {num_classes} numbers"
            raise OptionError("threshold", f"{numbers} between 0 and 1", threshold)
        self.task, self.num_classes, self.threshold = task, num_classes, threshold
        self.ignore_index, self.include_background = ignore_index, include_background
        self.only_present = only_present
        self._logit_thresholds = [math.log(t / (1 - t)) for t in thresholds]
        self.counts: Tensor = self.add_variable((2, num_classes, 3), "zeros", dtype="float32", name="counts")

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
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
            expected = f"logits with {self.num_classes} and labels with {channels} as the last axis"
            raise OptionError(self.name, expected, f"shapes {tuple(y_pred.shape)} and {tuple(y_true.shape)}")
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

    def per_class(self) -> np.ndarray:
        """Returns the score of each class, background included, as a NumPy array `(num_classes,)`."""
        return ops.convert_to_numpy(self._scores())

    def _scores(self) -> Tensor:
        counts = self._counts()
        return self._score(counts[:, 0], counts[:, 1], counts[:, 2])

    def _counts(self) -> Tensor:
        return self.counts[0] * CHUNK + self.counts[1]

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        """The score of each class `(num_classes,)` from its numbers of pixels."""
        raise NotImplementedError

    def result(self) -> Tensor:
        counts, scores = self._counts(), self._scores()
        if self.task == "multiclass" and not self.include_background:
            counts, scores = counts[1:], scores[1:]
        if not self.only_present:
            return ops.mean(scores)
        present = ops.cast(counts[:, 0] + counts[:, 2] > 0, scores.dtype)
        return ops.sum(scores * present) / ops.maximum(ops.sum(present), 1.0)

    # What Keras writes as JSON.
    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "task": self.task,
            "num_classes": self.num_classes,
            "threshold": self.threshold,
            "ignore_index": self.ignore_index,
            "include_background": self.include_background,
            "only_present": self.only_present,
        }


def _ratio(part: Tensor, whole: Tensor, errors: Tensor) -> Tensor:
    """Returns part / whole; where whole is 0: 1 without any error (empty on empty), else 0."""
    empty = ops.cast(errors == 0, part.dtype)
    return ops.where(whole > 0, part / ops.maximum(whole, 1e-30), empty)


@keras.saving.register_keras_serializable("maskzoo")
class Dice(PixelCounts):
    """Dice `2 tp / (2 tp + fp + fn)` of all pixels of an epoch; 1 for a class that is neither present nor predicted."""

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return _ratio(2 * tp, 2 * tp + fp + fn, fp + fn)


@keras.saving.register_keras_serializable("maskzoo")
class IoU(PixelCounts):
    """Intersection over union `tp / (tp + fp + fn)`; 1 for a class that is neither present nor predicted."""

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return _ratio(tp, tp + fp + fn, fp + fn)


@keras.saving.register_keras_serializable("maskzoo")
class Precision(PixelCounts):
    """Fraction of predicted pixels that are right, `tp / (tp + fp)`; 0 for a class that is only present."""

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return _ratio(tp, tp + fp, fp + fn)


@keras.saving.register_keras_serializable("maskzoo")
class Recall(PixelCounts):
    """Fraction of true pixels that are found, `tp / (tp + fn)`; 0 for a class that is only predicted."""

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return _ratio(tp, tp + fn, fp + fn)
