"""How long a training step takes: measured on one batch, after which everything is as it was."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import numpy as np

from .keras_types import Logs, to_numpy
from .step import Trainer


class OneBatch(keras.utils.PyDataset):
    """A single batch, several times, in copies: TensorFlow may write into arrays that it is given.

    Args:
        batch: The arrays.
        times: How many times.
    """

    def __init__(self, batch: Sequence[np.ndarray], times: int = 1) -> None:
        super().__init__()
        self.batch, self.times = batch, times

    def __len__(self) -> int:
        return self.times

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        return tuple(array.copy() for array in self.batch)


class BatchTimes(keras.callbacks.Callback):
    """Notes when each batch was done."""

    def on_train_begin(self, logs: Logs = None) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self.ends.append(time.perf_counter())


def step_seconds(trainer: Trainer, batch: Sequence[np.ndarray], steps: int = 2) -> float:
    """Returns how many seconds a training step takes, without the first one, which compiles.

    It is the compiled step that the training goes on with; weights, moments and random states are put back.

    Args:
        trainer: The trainer, compiled.
        batch: A batch of the training windows.
        steps: How many steps are timed.
    """
    times = BatchTimes()
    with put_back([*trainer.network.variables, *trainer.optimizer.variables]):
        trainer.fit(OneBatch(batch, steps + 1), epochs=1, verbose=0, shuffle=False, callbacks=[times])
    return statistics.median(np.diff(times.ends))


@contextmanager
def put_back(variables: Sequence[keras.Variable]) -> Iterator[None]:
    """A context after which variables have the values that they had before.

    Replicas that have different ones, such as statistics of batch norms after some steps, would get those of the first.
    """
    before = [to_numpy(variable).copy() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
