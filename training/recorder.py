"""What is recorded of every epoch: the history, the best model, the checkpoint from which to resume, and the speed."""

import math
import time
from collections.abc import Mapping

import keras
import numpy as np

from maskzoo.errors import TrainingError
from maskzoo.files import JSON

from . import optimisation
from .averaging import averaged, keep_model, kept_model
from .checkpoints import broken_state, save_model, training_state
from .choice import Choice, minimum_of, ranked
from .history import MONITOR, History, score_of
from .keras_types import Logs
from .recipe import Recipe
from .run_folder import BEST, LAST
from .step import Trainer, TrainerCallback
from .windows import TimedWindows

# What has to be finite.
LOSSES = ("loss", "val_loss", MONITOR)
# Why an epoch is the best where there is nothing to judge it by.
LATEST = "the last epoch: nothing is held out"
NOTHING_FOUND = f"the last epoch with a {MONITOR} of 0: no class was found, or none is held out"


class RunRecorder(TrainerCallback):
    """Writes `history.csv`, then `last.keras`, then `best.keras` and `best.json` if the epoch is the best.

    Where nothing is held out, no epoch is known to be better than another: the last one is kept as the best.

    The table is written before the checkpoint, and a resumed run cuts it to the epochs of the checkpoint; the best
    model is written after it, and a resumed run writes it again if it is that of the checkpoint: whenever the process
    is killed, all of them agree again. Whether a stage stops early is decided from the table too.

    Args:
        history: The finished epochs.
        recipe: The recipe of the stage.
        stage: Its number, from 1.
        choice: What is chosen so far.
        measured: What the validation measures: see `choice.measured_on`.
    """

    def __init__(
        self,
        history: History,
        recipe: Recipe,
        stage: int,
        choice: Choice,
        measured: Mapping[str, JSON] | None = None,
    ) -> None:
        super().__init__()
        self.history, self.recipe, self.stage = history, recipe, stage
        self.choice, self.measured = choice, dict(measured or {})

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        seconds = round(time.perf_counter() - self.started, 2)
        values = {name: float(value) for name, value in (logs or {}).items()}
        # Before anything is written: the last finite checkpoint stays, to go on from.
        check_finite(values, epoch, self.recipe, self.trainer)
        self.history.add({"epoch": epoch + 1, "stage": self.stage, **values, "seconds": seconds})
        state = training_state(self.trainer, epoch + 1, self.stage)
        save_model(self.trainer.network, self.history.run / LAST, state)
        self.keep()
        if self.is_over:
            self.trainer.stop_training = True

    @property
    def is_over(self) -> bool:
        """Whether the stage is over."""
        recipe, scores = self.recipe, self.history.stage_scores(self.stage)
        return optimisation.is_over(scores, recipe.epochs, recipe.patience, recipe.min_epochs)

    def keep(self) -> None:
        """Keeps the model of the last epoch if it is the best so far, or one of the best that are averaged."""
        recipe, run, epoch = self.recipe, self.history.run, len(self.history)
        scores = self.choice.scores(self.history, self.stage, minimum_of(recipe))
        best = ranked(scores)
        if best[0] == epoch:
            with averaged(self.trainer):
                save_model(self.trainer.network, run / BEST)
            is_measured = not math.isnan(score_of(self.history.rows[-1]))
            reason = why(len(scores), self.stage, minimum_of(recipe)) if scores[epoch] > 0 else NOTHING_FOUND
            self.choice.described = {
                "epoch": epoch,
                "stage": self.stage,
                "why": reason if is_measured else LATEST,
                "measured_on": self.measured,
            } | ({MONITOR: scores[epoch]} if is_measured else {})
            self.choice.write()
        if recipe.average_best:
            keep_model(self.trainer, run, epoch, best[: recipe.average_best])


def lacks_kept(history: History, choice: Choice, stage: int, recipe: Recipe) -> bool:
    """Returns whether a run was stopped before it had kept the model of its last epoch, which it would have.

    Args:
        history: The finished epochs, at least one of the stage.
        choice: What is chosen so far.
        stage: Number of the stage.
        recipe: Its recipe.
    """
    epoch, best = len(history), ranked(choice.scores(history, stage, minimum_of(recipe)))
    is_averaged = epoch in best[: recipe.average_best or 0]
    return (best[0] == epoch and not choice.has(epoch)) or (
        is_averaged and not kept_model(history.run, epoch).is_file()
    )


def why(number: int, stage: int, minimum: int) -> str:
    """Returns in words why an epoch is the best."""
    after = f", from epoch {minimum} of the stage on" if minimum > 1 else ""
    earlier = ", and of earlier stages measured again on its windows" if stage > 1 else ""
    return f"highest {MONITOR} of {number} in stage {stage}{after}{earlier}"


def check_finite(values: Mapping[str, float], epoch: int, recipe: Recipe, trainer: Trainer | None = None) -> None:
    """Refuses to go on with a loss, weights or moments that are no finite numbers.

    Args:
        values: Losses and metrics of the epoch by name.
        epoch: Number of the epoch, from 0.
        recipe: The recipe of the stage.
        trainer: Whose weights are looked at, or `None`.

    Raises:
        TrainingError: With what to do.
    """
    bad = next((f"{values[name]} as {name}" for name in LOSSES if not np.isfinite(values.get(name, 0.0))), None)
    if bad is None and trainer is not None:
        bad = broken_state(trainer)
    if bad is None:
        return
    if epoch:
        advice = f"the checkpoint of epoch {epoch} is kept: go on from it with `resume` and a smaller `learning_rate`"
    else:
        advice = "start again with a smaller `learning_rate`"
    if recipe.mixed_precision == "float16":
        advice += ", or start a new run with `mixed_precision` bfloat16"
    raise TrainingError(f"training: expected finite losses and weights; received {bad} in epoch {epoch + 1}; {advice}")


class Throughput(keras.callbacks.Callback):
    """Logs how many windows were trained on per second, and which fraction of the time was spent waiting for them.

    It comes after the callback that writes the history: these numbers differ from run to run.

    Args:
        training: The windows.
        batch_size: Windows per batch.
    """

    def __init__(self, training: TimedWindows, batch_size: int) -> None:
        super().__init__()
        self.training, self.batch_size = training, batch_size

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self.training.waited = 0.0
        self.started, self.ended, self.batches = 0.0, 0.0, 0

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self.started = self.started or time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.batches, self.ended = batch + 1, time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        seconds = max(self.ended - self.started, 1e-9)
        if logs is not None:
            logs["windows_per_second"] = self.batches * self.batch_size / seconds
            logs["input_wait"] = min(1.0, self.training.waited / seconds)
