"""Sums of losses by name, as one Keras loss."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from maskzoo.errors import OptionError
from maskzoo.names import one_of

from .target import TASKS, Tensor, check_number_of_weights, check_values, check_weighted_classes, ops, prepare
from .terms import parse_terms


def build_loss(
    spec: str,
    *,
    task: str = "binary",
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
    dtype: str = "float32",
    **options: float | bool | str,
) -> "SegmentationLoss":
    """Builds a Keras loss from a name or a weighted sum of names, for logits.

    Args:
        spec: A name of `list_losses()` or a sum such as `bce+dice`, `0.5*bce+0.5*dice`, `0.4*(focal(gamma=2)+dice)`;
            `nonempty(...)` around a part scores it only on samples that have foreground.
        task: `binary` or `multilabel` (labels `(batch, *spatial, channels)` in {0, 1}, sigmoid), or `multiclass` (class
            numbers `(batch, *spatial)` or `(batch, *spatial, 1)`, softmax).
        class_weights: One weight per channel, not negative; region losses average classes by them, pixel losses pixels.
            Only their ratios matter.
        ignore_index: Label value of pixels that count in no loss and get no gradient.
        dtype: In which the loss is computed, whatever the model's dtype.
        **options: Options of the named losses; each goes to every term that has it. Options in the text come first.

    Returns:
        A `keras.losses.Loss` of `(labels, logits)`. Per sample: a mean over valid pixels or classes, 0 without any.

    Raises:
        OptionError: A name, the task or an option is unknown; the nearest right one is named.
    """
    return SegmentationLoss(spec, task, class_weights, ignore_index, options, dtype=dtype)


@keras.saving.register_keras_serializable("maskzoo")
class SegmentationLoss(keras.losses.Loss):
    """A weighted sum of registered losses of labels and logits; `build_loss` makes it and describes its arguments.

    Attributes:
        terms: The names of the terms, as written.
        weights: A variable per term; assigning to it changes a compiled loss.
    """

    def __init__(
        self,
        spec: str,
        task: str = "binary",
        class_weights: Sequence[float] | None = None,
        ignore_index: int | None = None,
        options: Mapping[str, float | bool | str] | None = None,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if task not in TASKS:
            raise OptionError("task", one_of(str(task), TASKS), repr(task))
        if class_weights is not None:
            class_weights = [float(weight) for weight in class_weights]
            if min(class_weights, default=0) < 0 or not 0 < sum(class_weights) < math.inf:
                raise OptionError("class_weights", "numbers of at least 0, not all 0", class_weights)
            check_weighted_classes(task, class_weights)
        self.spec, self.task, self.class_weights, self.ignore_index = spec, task, class_weights, ignore_index
        self.options = dict(options or {})
        terms = parse_terms(spec, task, self.options)
        self.terms = [term.text for term in terms]
        self._functions = [term.function for term in terms]
        self.weights = [
            keras.Variable(term.weight, dtype=self.dtype, trainable=False, name="loss_weight") for term in terms
        ]

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        check_values(y_true, self.task, y_pred.shape[-1], self.ignore_index)
        y_true, y_pred = (ops.cast(ops.convert_to_tensor(y), self.dtype) for y in (y_true, y_pred))
        target = prepare(y_true, y_pred, self.task, self.class_weights, self.ignore_index)
        return sum(weight * function(target) for weight, function in zip(self.weights, self._functions, strict=True))

    def check_classes(self, channels: int) -> None:
        """Refuses class weights that are not one for each of a number of classes, before there are any logits.

        Raises:
            OptionError: If they are not.
        """
        check_number_of_weights(self.class_weights, channels)

    # What Keras writes as JSON.
    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "spec": self.spec,
            "task": self.task,
            "class_weights": self.class_weights,
            "ignore_index": self.ignore_index,
            "options": self.options,
            "dtype": self.dtype,
        }
