"""What every loss starts from: the one place where tasks, class weights and ignored pixels are dealt with."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from maskzoo.errors import OptionError

TASKS = ("binary", "multilabel", "multiclass")

# A floating-point tensor of the current backend. Keras has no common type for those of TensorFlow, JAX and PyTorch.
Tensor: TypeAlias = Any

# `Any`, because what type checkers read off the code of all backends together is that each operation may return None.
ops: Any = keras.ops

# Far beyond any useful logit, and small enough that sums stay finite in float32; bounds infinite logits too.
LARGEST_LOGIT = 1e6


class Target(NamedTuple):
    """Labels, logits and weights of a batch, floating point, with at least one spatial axis.

    Attributes:
        labels: `(batch, *spatial, channels)` in [0, 1]; one-hot for multiclass; 0 where ignored.
        logits: `(batch, *spatial, channels)`, finite.
        valid: 0 where a pixel is ignored, else 1; `(batch, *spatial, channels)`, or 1 channel for multiclass.
        class_weights: `(channels,)`, not negative.
        task: `binary`, `multilabel` or `multiclass`.
    """

    labels: Tensor
    logits: Tensor
    valid: Tensor
    class_weights: Tensor
    task: str

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.logits.shape) - 1))

    @property
    def probabilities(self) -> Tensor:
        return ops.softmax(self.logits) if self.task == "multiclass" else ops.sigmoid(self.logits)


def prepare(
    y_true: Tensor,
    y_pred: Tensor,
    task: str,
    class_weights: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Target:
    """Brings labels and logits of any task into a `Target`; ignored pixels have neither label nor weight.

    Args:
        y_true: binary and multilabel: `(batch, *spatial, channels)` in [0, 1] (a single channel needs no axis);
            multiclass: class numbers, `(batch, *spatial)` or `(batch, *spatial, 1)`. Same dtype as `y_pred`.
        y_pred: Logits `(batch, *spatial, channels)`. Without spatial axes they are image-level labels.
        task: `binary`, `multilabel` or `multiclass`.
        class_weights: One weight per channel.
        ignore_index: Label value of pixels that must not count.

    Raises:
        OptionError: The shapes or the number of class weights do not fit the logits.
    """
    channels = y_pred.shape[-1]
    if len(y_true.shape) == len(y_pred.shape) - 1:
        y_true = ops.expand_dims(y_true, -1)
    expected = (*y_pred.shape[:-1], 1 if task == "multiclass" else channels)
    if len(y_true.shape) != len(expected) or any(
        a is not None and b is not None and a != b for a, b in zip(y_true.shape, expected, strict=True)
    ):
        logits = f"for {task} logits of shape {tuple(y_pred.shape)}"
        raise OptionError("labels", f"shape {tuple(expected)} {logits}", tuple(y_true.shape))
    check_number_of_weights(class_weights, channels)
    if len(y_pred.shape) == 2:
        y_true, y_pred = ops.expand_dims(y_true, 1), ops.expand_dims(y_pred, 1)
    valid = ops.ones_like(y_true) if ignore_index is None else ops.cast(y_true != ignore_index, y_pred.dtype)
    labels = y_true * valid
    if task == "multiclass":
        labels = ops.one_hot(ops.cast(labels[..., 0], "int32"), channels, dtype=y_pred.dtype) * valid
    weights = ops.convert_to_tensor(class_weights or [1.0] * channels, dtype=y_pred.dtype)
    return Target(labels, ops.clip(y_pred, -LARGEST_LOGIT, LARGEST_LOGIT), valid, weights, task)


def check_weighted_classes(task: str, class_weights: Sequence[float]) -> None:
    """Refuses the weight of a single class, which changes nothing, since only ratios of weights matter.

    Raises:
        OptionError: It is alone.
    """
    if task == "binary" or len(class_weights) == 1:
        expected = (
            f"none for a single class, whose foreground and background weighted_bce(positive_weight=0.9) as the loss "
            f"weighs against each other{', and two or more classes' if task != 'binary' else ''}"
        )
        raise OptionError("class_weights", expected, list(class_weights))


def check_number_of_weights(class_weights: Sequence[float] | None, channels: int) -> None:
    """Refuses class weights that are not one per class.

    Raises:
        OptionError: There are more, or fewer.
    """
    if class_weights is not None and len(class_weights) != channels:
        raise OptionError("class_weights", f"one number per class, here {channels}", len(class_weights))


def check_values(y_true: Tensor, task: str, channels: int, ignore_index: int | None) -> None:
    """Refuses labels that no class has, such as 0 and 255 for 0 and 1, where they are there to be looked at.

    While a step is traced they are not; there the windows of a data set have been checked as they were read.

    Args:
        y_true: Labels as the caller gave them.
        task: `binary`, `multilabel` or `multiclass`.
        channels: Number of classes.
        ignore_index: Label value of pixels that do not count.

    Raises:
        OptionError: A label is below 0 or above what the task has.
    """
    values = concrete(y_true)
    if values is None or not values.size:
        return
    if ignore_index is not None:
        values = values[values != ignore_index]
    highest = channels - 1 if task == "multiclass" else 1
    # NaN is neither.
    if values.size and not (values.min() >= 0 and values.max() <= highest):
        ignored = "" if ignore_index is None else f", or {ignore_index} where a pixel does not count"
        kind = f"class numbers from 0 to {highest}" if task == "multiclass" else "values from 0 to 1"
        found = f"values from {values.min():g} to {values.max():g}"
        raise OptionError("labels", f"{kind} for a {task} task{ignored}", found)


def concrete(tensor: Tensor) -> np.ndarray | None:
    """Returns the values of an array or a tensor; `None` for a symbolic one, of a graph or a trace."""
    if isinstance(tensor, (np.ndarray, list, tuple, int, float)):
        return np.asarray(tensor)
    if isinstance(tensor, keras.KerasTensor):
        return None
    try:
        return np.asarray(ops.convert_to_numpy(tensor))
    except Exception:
        return None


def pixel_mean(values: Tensor, target: Target) -> Tensor:
    """Averages values per pixel over the valid pixels of each sample, each pixel weighted by its class.

    Args:
        values: `(batch, *spatial, channels)`, or 1 channel for multiclass.
        target: The batch.

    Returns:
        `(batch,)`; 0 for a sample without a valid pixel.
    """
    if target.task == "multiclass":
        weights = ops.sum(target.labels * target.class_weights, axis=-1, keepdims=True)
    else:
        weights = target.valid * target.class_weights
    axes = (*target.spatial_axes, -1)
    return ops.divide_no_nan(ops.sum(values * weights, axis=axes), ops.sum(weights, axis=axes))


def spatial_sum(values: Tensor, target: Target, batch: bool = False) -> Tensor:
    """Sums over the spatial axes, and over the batch when asked: `(batch, channels)` or `(1, channels)`."""
    values = ops.sum(values, axis=target.spatial_axes)
    return ops.sum(values, axis=0, keepdims=True) if batch else values


def class_mean(values: Tensor, target: Target, batch: bool = False, present: Tensor | None = None) -> Tensor:
    """Averages a value per class by the class weights, over the classes that have valid pixels.

    Args:
        values: `(batch, channels)`, or `(1, channels)` when `batch` says that it is defined over the batch.
        target: The batch.
        batch: Whether the values are defined over the whole batch.
        present: Which classes count, same shape as `values`; by default those with a valid pixel.

    Returns:
        `(batch,)`; 0 where no class counts.
    """
    if present is None:
        present = spatial_sum(target.valid, target, batch) > 0
    weights = target.class_weights * ops.cast(present, values.dtype)
    mean = ops.divide_no_nan(ops.sum(values * weights, axis=-1), ops.sum(weights, axis=-1))
    return ops.broadcast_to(mean, ops.shape(target.logits)[:1])


def nonempty(target: Target) -> Target:
    """Ignores every sample that has no foreground: no positive pixel, or for multiclass no pixel of a class above 0."""
    foreground = target.labels[..., 1:] if target.task == "multiclass" else target.labels
    axes = tuple(range(1, len(foreground.shape)))
    keep = ops.cast(ops.any(foreground > 0, axis=axes, keepdims=True), target.valid.dtype)
    return target._replace(labels=target.labels * keep, valid=target.valid * keep)
