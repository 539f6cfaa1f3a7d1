"""What changes from epoch to epoch of a stage: the learning rate, which layers are frozen, which windows are hard."""

from collections.abc import Callable, Sequence

import keras
import numpy as np

from .. import data
from . import optimisation
from .keras_types import Logs
from .recipe import Recipe
from .step import TrainerCallback


class LearningRate(TrainerCallback):
    """Sets the learning rate before every step, by `optimisation.learning_rate`, and writes it to the log.

    Args:
        recipe: The recipe of the stage.
        first: Number of the stage's first epoch.
        steps: Steps per epoch.
        scores: Function that returns the validation scores of the stage's epochs so far.
    """

    def __init__(self, recipe: Recipe, first: int, steps: int, scores: Callable[[], list[float]]) -> None:
        super().__init__()
        self.recipe, self.first, self.steps, self.scores = recipe, first, steps, scores

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch - self.first
        self.plateaus = optimisation.count_plateaus(self.scores(), self.recipe.plateau_patience)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        step, total = self.epoch * self.steps + batch, self.recipe.epochs * self.steps
        self.rate = optimisation.learning_rate(self.recipe, step, total, self.plateaus)
        self.trainer.optimizer.learning_rate = self.rate

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.rate


class FrozenLayers(TrainerCallback):
    """Freezes layers for the first epochs of a stage; batch norms among them keep their statistics.

    When the layers are released, the optimizer forgets its moments: Adam's would make their first steps three times
    too long. Outside the epochs all are trainable, so that checkpoints say so.

    Args:
        frozen: The layers.
        first: Number of the stage's first epoch.
        epochs: Number of epochs in which they are frozen.
    """

    def __init__(self, frozen: Sequence[keras.Layer], first: int, epochs: int) -> None:
        super().__init__()
        self.frozen, self.first, self.epochs = frozen, first, epochs

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        done = epoch - self.first
        self.set_trainable(done >= self.epochs)
        if done == self.epochs:
            optimisation.inner(self.trainer.optimizer).restart()
        self.trainer.make_train_function(force=done in (0, self.epochs))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.set_trainable(True)

    def set_trainable(self, trainable: bool) -> None:
        """Freezes or releases the layers."""
        for layer in self.frozen:
            layer.trainable = trainable


class HardExamples(TrainerCallback):
    """Weights every window of the grid by its loss before each epoch but the first, so that hard ones are drawn more.

    The losses depend on the network's weights alone, so a resumed run draws what an uninterrupted one would.

    Args:
        training: The windows that are trained on.
        grid: The windows of their grid, in order.
    """

    def __init__(self, training: data.WindowDataset, grid: data.WindowDataset) -> None:
        super().__init__()
        self.training, self.grid = training, grid

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if epoch:
            losses = self.trainer.predict(self.grid, verbose=0)[: len(self.training.grid_windows)]
            self.training.set_hardness(np.maximum(losses, 1e-6))
