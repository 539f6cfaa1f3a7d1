"""The optimizer, its learning rate by step, and when a training has seen enough: all of it plain arithmetic."""

import math

import keras
import numpy as np
from keras import ops

WARM_UP_STEPS = 50
MOMENTUM = 0.9
WEIGHT_DECAY = 0.01
PLATEAU_FACTOR = 0.5
# One cycle: the share of the steps in which the rate rises, and where it starts and ends relative to its peak.
RISING, START, END = 0.3, 1 / 25, 1e-4


class Extended:
    """What is added to a Keras optimizer: a learning rate per variable, decay of kernels only, and averaged weights.

    All of it happens where a variable is updated, after the gradients of all replicas were added up, so it is the same
    on one device and on several. The rate of a variable scales its update (not its gradient, which Adam would undo) and
    its decay. Averages start as the weights and follow them slower and slower: the decay is at most
    `(1 + step) / (10 + step)`.

    Args:
        factor_of: Function from a variable to the factor of its learning rate, or `None`.
        decay: Decoupled weight decay per step, times the learning rate; of kernels only, not of biases and norms.
        averaging: Decay of the averages, or `None` for none.
    """

    def __init__(self, *args, factor_of=None, decay=0.0, averaging=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.factor_of, self.decay, self.averaging = factor_of or (lambda variable: 1.0), decay, averaging

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.built = True
        self.factors = [self.factor_of(variable) for variable in variables]
        self.decays = [self.decay if is_kernel(variable) else 0.0 for variable in variables]
        self.averages = []
        if self.averaging:
            self.averages = [self.add_variable_from_reference(variable, name="average") for variable in variables]
            for average, variable in zip(self.averages, variables, strict=True):
                # A copy: on jax both would be the same array, which a step could not take over twice.
                average.assign(ops.copy(variable))

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        rate = learning_rate * self.factors[index]
        if self.decays[index]:
            self.assign_sub(variable, variable * ops.cast(rate * self.decays[index], variable.dtype))
        super().update_step(gradient, variable, rate)
        if self.averages:
            step = ops.cast(self.iterations, "float32")
            keep = ops.minimum(self.averaging, (1 + step) / (10 + step))
            self.assign_add(self.averages[index], (variable - self.averages[index]) * (1 - keep))

    def restart(self):
        """Forgets the moments and the number of steps, as when variables join that were frozen so far."""
        kept = {id(variable) for variable in (*self.averages, self._learning_rate)}
        for variable in self.variables:
            if id(variable) not in kept:
                variable.assign(ops.zeros(variable.shape, variable.dtype))


class Adam(Extended, keras.optimizers.Adam):
    """Adam; with decay it is AdamW."""


class Sgd(Extended, keras.optimizers.SGD):
    """Stochastic gradient descent with Nesterov momentum."""


def is_kernel(variable):
    """True for the kernel of a convolution or a dense layer, not for a bias or what a norm learns."""
    return "kernel" in variable.name


def make_optimizer(recipe, variables, factor_of=None):
    """The recipe's optimizer, built for some variables; inside the scope of the strategy."""
    decay = recipe.weight_decay
    if decay is None:
        decay = WEIGHT_DECAY if recipe.optimizer == "adamw" else 0.0
    options = {"factor_of": factor_of, "decay": decay, "averaging": recipe.ema}
    if recipe.optimizer == "sgd":
        optimizer = Sgd(recipe.learning_rate, momentum=MOMENTUM, nesterov=True, **options)
    else:
        optimizer = Adam(recipe.learning_rate, **options)
    if recipe.mixed_precision == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    optimizer.built = True
    return optimizer


def inner(optimizer):
    """The optimizer inside the one that scales the loss, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def learning_rate(recipe, step, total, drops=0):
    """The learning rate of a step, as a function of nothing but the recipe and where the training stands.

    Args:
        recipe: A `Recipe`: its `learning_rate` is the peak.
        step: Number of the step, from 0.
        total: Steps of the whole training, or stage.
        drops: How often the validation has stagnated, for `plateau`.
    """
    peak = recipe.learning_rate
    warm_up = recipe.warm_up
    if recipe.schedule == "one_cycle":
        warm_up = round(RISING * total) if warm_up is None else warm_up
        if step < warm_up:
            return peak * between(START, 1.0, step / warm_up)
        return peak * between(1.0, END, (step - warm_up) / max(1, total - warm_up))
    warm_up = min(WARM_UP_STEPS, total // 10) if warm_up is None else warm_up
    if step < warm_up:
        return peak * (0.1 + 0.9 * step / warm_up)
    if recipe.schedule == "cosine":
        return peak * between(1.0, 0.0, (step - warm_up) / max(1, total - warm_up))
    return peak * PLATEAU_FACTOR**drops if recipe.schedule == "plateau" else peak


def between(first, last, share):
    """A cosine from one value to another, by the share of the way."""
    return last + (first - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


def drops(scores, patience):
    """How often a schedule lowers the rate: each time that no score was the best for `patience` epochs on end."""
    count, best, waited = 0, -np.inf, 0
    for score in scores:
        waited += 1
        if score > best:
            best, waited = score, 0
        if waited == patience:
            count, waited = count + 1, 0
    return count


def is_over(scores, epochs, patience=None, min_epochs=0):
    """Whether a training is done: all epochs, or none was the best for `patience` epochs and `min_epochs` are done."""
    if len(scores) >= epochs:
        return True
    if not patience or len(scores) < min_epochs or not len(scores):
        return False
    return len(scores) - 1 - int(np.argmax(scores)) >= patience
