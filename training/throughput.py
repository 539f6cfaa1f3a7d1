"""How many windows are trained on per second, and for how long the training waits for them."""

import time

import keras

from .. import data
from ..data.sampling.case_grid import Batch
from .keras_types import Logs


class TimedWindows(data.WindowDataset):
    """Windows that add up how many seconds the training waited for them."""

    waited = 0.0

    def __getitem__(self, index: int) -> Batch:
        started = time.perf_counter()
        try:
            return super().__getitem__(index)
        finally:
            self.waited += time.perf_counter() - started


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
