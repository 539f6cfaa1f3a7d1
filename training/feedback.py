"""What is said and asked within an epoch: how far it is, how long it takes, and whether the loss is still a number."""

import logging
import time
from collections.abc import Callable

import numpy as np

from maskzoo.names import duration

from .keras_types import Logs
from .recipe import Recipe
from .recorder import check_finite
from .step import TrainerCallback

logger = logging.getLogger(__name__)

# Steps that are timed before a whole epoch is estimated.
ESTIMATED_FROM = 3


def log_epoch_time(seconds: float) -> None:
    """Logs how long an epoch is expected to take."""
    logger.info("time       about %s per epoch, before validation", duration(seconds))


class FiniteLoss(TrainerCallback):
    """Ends a training whose loss is no number within the epoch, instead of hours later at its end.

    The loss so far is asked for now and then only: on a GPU the answer waits for the steps before it.

    Args:
        recipe: The recipe of the stage.
        seconds: Time between two questions.
    """

    def __init__(self, recipe: Recipe, seconds: float = 10.0) -> None:
        super().__init__()
        self.recipe, self.seconds, self.asked = recipe, seconds, time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if time.monotonic() - self.asked >= self.seconds:
            self.asked = time.monotonic()
            check_finite({"loss": float((logs or {}).get("loss", 0.0))}, self.epoch, self.recipe)


class Feedback(TrainerCallback):
    """Logs step, loss and time left now and then, where no bar is drawn; and after a few steps how long an epoch takes.

    The latter is known before the first epoch, unless layers are frozen in it.

    Args:
        epochs: Number of epochs, those before the first included.
        steps: Training steps per epoch.
        piped: Whether there is no terminal, on which a bar says so.
        seconds: Time between two lines.
        clock: A function that gives the time in seconds.
        estimated: Whether it was said before how long an epoch takes.
    """

    def __init__(
        self,
        epochs: int,
        steps: int,
        piped: bool,
        seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        estimated: bool = False,
    ) -> None:
        super().__init__()
        self.epochs, self.steps, self.piped, self.seconds, self.clock = epochs, steps, piped, seconds, clock
        self.said, self.estimated = clock(), estimated
        self.timed: float | None = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.epoch = epoch
        self.began = self.clock()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        now = self.clock()
        if self.timed is None:
            # The first step compiles, and says nothing about the others.
            self.timed, self.first = now, (self.epoch, batch)
            return
        done = (self.epoch - self.first[0]) * self.steps + batch - self.first[1]
        left = (self.epochs - self.epoch) * self.steps - batch - 1
        step = (now - self.timed) / max(done, 1)
        if not self.estimated and (done >= ESTIMATED_FROM or left == 0):
            self.estimated = True
            log_epoch_time(step * self.steps)
        if self.piped and now - self.said >= self.seconds:
            self.said = now
            loss = float((logs or {}).get("loss", np.nan))
            where = f"{self.epoch + 1}/{self.epochs}, step {batch + 1}/{self.steps}"
            logger.info("epoch      %s: loss %.4f, about %s left", where, loss, duration(step * left))

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.piped and self.clock() - self.said >= self.seconds:
            self.said = self.clock()
            logger.info("epoch      %d/%d, validation window batch %d", self.epoch + 1, self.epochs, batch + 1)
