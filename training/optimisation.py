"""The optimizer, its learning rate by step, and when a training is over: all of it plain arithmetic."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from .keras_types import AdamBase, OptimizerBase, SgdBase, Tensor, ops
from .options import OptimizerOptions

# From a variable to the factor of its learning rate.
FactorOf = Callable[[keras.Variable], float]

WARM_UP_STEPS = 50
MOMENTUM = 0.9
WEIGHT_DECAY = 0.01
PLATEAU_FACTOR = 0.5
# One cycle: the fraction of the steps in which the rate rises, and where it starts and ends relative to its peak.
RISING, START, END = 0.3, 1 / 25, 1e-4


class Extended(OptimizerBase):
    """What is added to a Keras optimizer: a learning rate per variable, decay of kernels only, and averaged weights.

    All of it happens where a variable is updated, after the gradients of all replicas have been summed, so it is the
    same on one device and on several. The rate of a variable scales its update (not its gradient, which Adam would
    undo) and its decay. Averages start as the weights and follow them more and more slowly: their decay is at most
    `(1 + step) / (10 + step)`.

    Args:
        *args: Positional arguments of the Keras optimizer.
        factor_of: Function from a variable to the factor of its learning rate, or `None`.
        decay: Decoupled weight decay per step, times the learning rate; of kernels only, not of biases and norms.
        averaging: Decay of the averages, or `None` for none.
        **kwargs: Keyword arguments of the Keras optimizer.
    """

    def __init__(
        self,
        *args: Any,  # those of the Keras optimizer that this one is mixed into
        factor_of: FactorOf | None = None,
        decay: float = 0.0,
        averaging: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.factor_of, self.decay, self.averaging = factor_of or (lambda variable: 1.0), decay, averaging

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.built = True
        self.factors = [self.factor_of(variable) for variable in variables]
        self.decays = [self.decay if is_kernel(variable) else 0.0 for variable in variables]
        self.averages: list[keras.Variable] = []
        if self.averaging:
            self.averages = [self.add_variable_from_reference(variable, name="average") for variable in variables]
            for average, variable in zip(self.averages, variables, strict=True):
                # A copy: on jax both would be the same array, which a step could not take over twice.
                average.assign(ops.copy(variable))

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        index = self._get_variable_index(variable)
        rate = learning_rate * self.factors[index]
        if self.decays[index]:
            self.assign_sub(variable, variable * ops.cast(rate * self.decays[index], variable.dtype))
        super().update_step(gradient, variable, rate)
        if self.averages:
            step = ops.cast(self.iterations, "float32")
            keep = ops.minimum(self.averaging, (1 + step) / (10 + step))
            self.assign_add(self.averages[index], (variable - self.averages[index]) * (1 - keep))

    def exchange_averages(self) -> None:
        """Exchanges the weights with their averages, if there are any; a second call puts both back."""
        if not self.averages:
            return
        for average, variable in zip(self.averages, self._trainable_variables, strict=True):
            value = ops.convert_to_numpy(variable)
            variable.assign(ops.convert_to_numpy(average))
            average.assign(value)

    def restart(self) -> None:
        """Forgets the moments and the number of steps, as when variables join that were frozen so far."""
        kept = {id(variable) for variable in (*self.averages, self._learning_rate)}
        for variable in self.variables:
            if id(variable) not in kept:
                variable.assign(ops.zeros(variable.shape, variable.dtype))


class Adam(Extended, AdamBase):
    """Adam; with decay it is AdamW."""


class Sgd(Extended, SgdBase):
    """Stochastic gradient descent with Nesterov momentum."""


def is_kernel(variable: keras.Variable) -> bool:
    """Returns whether a variable is the kernel of a convolution or a dense layer, not a bias or part of a norm."""
    return "kernel" in variable.name


def make_optimizer(
    options: OptimizerOptions,
    variables: list[keras.Variable],
    factor_of: FactorOf | None = None,
    scale_loss: bool = False,
) -> keras.optimizers.Optimizer:
    """Returns an optimizer that is built for some variables; to be called inside the scope of the strategy.

    Args:
        options: A recipe, or options of the optimizer alone.
        variables: The trainable variables.
        factor_of: Function from a variable to the factor of its learning rate.
        scale_loss: Whether the loss is scaled, as float16 needs it.
    """
    decay = options.weight_decay
    if decay is None:
        decay = WEIGHT_DECAY if options.optimizer == "adamw" else 0.0
    extras = {"factor_of": factor_of, "decay": decay, "averaging": options.ema}
    optimizer: keras.optimizers.Optimizer
    if options.optimizer == "sgd":
        optimizer = Sgd(options.learning_rate, momentum=MOMENTUM, nesterov=True, **extras)
    else:
        optimizer = Adam(options.learning_rate, **extras)
    if scale_loss:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    optimizer.built = True
    return optimizer


def inner(optimizer: Any) -> Extended:  # as Keras declares a model's optimizer
    """Returns the optimizer inside the one that scales the loss, or the optimizer itself."""
    return optimizer.inner_optimizer if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) else optimizer


def learning_rate(options: OptimizerOptions, step: int, total: int, plateaus: int = 0) -> float:
    """Returns the learning rate of a step, which depends only on the options and on how far the training is.

    Args:
        options: A recipe, or options of the optimizer alone; their `learning_rate` is the peak.
        step: Number of the step, from 0.
        total: Steps of the whole training, or stage.
        plateaus: How often the validation score has stagnated, for the schedule `plateau`.
    """
    peak = options.learning_rate
    warm_up = options.warm_up
    if options.schedule == "one_cycle":
        warm_up = round(RISING * total) if warm_up is None else warm_up
        if step < warm_up:
            return peak * cosine(START, 1.0, step / warm_up)
        return peak * cosine(1.0, END, (step - warm_up) / max(1, total - warm_up))
    warm_up = min(WARM_UP_STEPS, total // 10) if warm_up is None else warm_up
    if step < warm_up:
        return peak * (0.1 + 0.9 * step / warm_up)
    if options.schedule == "cosine":
        return peak * cosine(1.0, 0.0, (step - warm_up) / max(1, total - warm_up))
    return peak * PLATEAU_FACTOR**plateaus if options.schedule == "plateau" else peak


def cosine(first: float, last: float, fraction: float) -> float:
    """Returns a value on half a cosine wave from one value to another, at a fraction of the way."""
    return last + (first - last) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2


def count_plateaus(scores: Sequence[float], patience: int) -> int:
    """Counts how often a schedule lowers the rate: whenever `patience` epochs in a row have brought no better score."""
    count, best, waited = 0, -np.inf, 0
    for score in scores:
        waited += 1
        if score > best:
            best, waited = score, 0
        if waited == patience:
            count, waited = count + 1, 0
    return count


def is_over(scores: Sequence[float], epochs: int, patience: int | None = None, min_epochs: int = 0) -> bool:
    """Returns whether a training is over.

    Args:
        scores: The validation scores of the finished epochs.
        epochs: The number of epochs after which it is over in any case.
        patience: Epochs without a better score after which it stops early, or `None`.
        min_epochs: Number of epochs before which it does not; the patience begins with the last of them.
    """
    if len(scores) >= epochs:
        return True
    if not patience or len(scores) < min_epochs or not len(scores):
        return False
    counted = scores[max(0, min_epochs - 1) :]
    return len(counted) - 1 - int(np.argmax(counted)) >= patience
