"""Averages of weights: the exponential one that follows them step by step, and the mean of the best epochs' models."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from .checkpoints import save_model
from .keras_types import Logs, load_model, to_numpy
from .optimisation import inner
from .step import Trainer, TrainerCallback

AVERAGED = "averaged.keras"
KEPT = "kept"


class AveragedWeights(TrainerCallback):
    """Validates with the exponential averages of the weights in their place."""

    def on_test_begin(self, logs: Logs = None) -> None:
        inner(self.trainer.optimizer).exchange_averages()

    def on_test_end(self, logs: Logs = None) -> None:
        inner(self.trainer.optimizer).exchange_averages()


@contextmanager
def averaged(trainer: Trainer) -> Iterator[None]:
    """A context in which the weights are their averages, if the optimizer keeps any."""
    optimizer = inner(trainer.optimizer)
    optimizer.exchange_averages()
    try:
        yield
    finally:
        optimizer.exchange_averages()


def keep_model(trainer: Trainer, run: Path, epoch: int, best: Sequence[int]) -> None:
    """Keeps the model of an epoch if it is among the best, and deletes those that no longer are.

    Args:
        trainer: The trainer, after the epoch.
        run: The run folder.
        epoch: Number of the epoch.
        best: Numbers of the best epochs, whose models are kept.
    """
    folder = run / KEPT
    folder.mkdir(exist_ok=True)
    if epoch in best:
        with averaged(trainer):
            save_model(trainer.network, kept_model(run, epoch))
    kept = [kept_model(run, number) for number in best]
    for path in folder.glob("epoch*.keras"):
        if path not in kept:
            path.unlink()


def kept_model(run: Path, epoch: int) -> Path:
    """Returns the path of the model that is kept of an epoch."""
    return run / KEPT / f"epoch{epoch:04}.keras"


def average_kept(run: Path, best: Sequence[int]) -> keras.Model:
    """Writes `averaged.keras`, the mean of the models of the best epochs, and returns it."""
    network = average_models(kept_model(run, epoch) for epoch in best)
    save_model(network, run / AVERAGED)
    return network


def average_models(paths: Iterable[Path]) -> keras.Model:
    """Returns the model whose weights and batch norm statistics are the means of those of several files."""
    models = [load_model(path) for path in paths]
    for weights in zip(*(model.weights for model in models), strict=True):
        values = [to_numpy(weight) for weight in weights]
        weights[0].assign(np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype))
    return models[0]
