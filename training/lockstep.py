"""A fit in which replicas on several hosts keep step: every host gives its part of each batch to its own devices."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from maskzoo.errors import TrainingError

from .. import data
from . import strategy
from .step import Trainer
from .step_time import OneBatch

Callbacks = keras.callbacks.CallbackList
Step = Callable[[Sequence[np.ndarray]], object]


class LockstepTrainer(Trainer):
    """A `Trainer` whose fit runs under any tf.distribute strategy, also of several hosts, where Keras' fit does not.

    Metrics are those of all hosts together. Data sets yield the part of each batch that belongs to this host.
    """

    def make_train_function(self, force: bool = False) -> Step:
        if self.train_function is None or force:
            self.train_function = strategy.on_replicas(self.train_step)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Step:
        if self.test_function is None or force:
            self.test_function = strategy.on_replicas(self.test_step)
        return self.test_function

    def fit(
        self,
        x: data.WindowDataset | OneBatch,
        validation_data: data.WindowDataset | None = None,
        epochs: int = 1,
        initial_epoch: int = 0,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        shuffle: bool = False,
        verbose: int = 0,
    ) -> keras.callbacks.History:
        """Trains epoch by epoch, as Keras' `fit` does.

        Args:
            x: Data set of training batches, in their order.
            validation_data: Data set to evaluate on after every epoch; `None` if nothing is held out.
            epochs: Number of the epoch to end before.
            initial_epoch: Number of the epoch to begin with.
            callbacks: List of Keras callbacks.
            shuffle: `False`.
            verbose: 0, 1 or 2: how progress is shown.

        Raises:
            ConnectionLost: If another host ends.
            TrainingError: If hosts start with different weights, or at different epochs.
        """
        with self.distribute_strategy.scope(), strategy.lost_hosts():
            self.check_equal_start(initial_epoch)
            called = self.callback_list(callbacks, steps=len(x), epochs=epochs, verbose=verbose)
            self.stop_training = False
            train = self.make_train_function()
            called.on_train_begin()
            logs: dict[str, float] = {}
            for epoch in range(initial_epoch, epochs):
                # Keras' fit ends an epoch of the data before its first one.
                x.on_epoch_end()
                self.reset_metrics()
                called.on_epoch_begin(epoch)
                for step in range(len(x)):
                    called.on_train_batch_begin(step)
                    train(x[step])
                    called.on_train_batch_end(step, {})
                logs = self.results()
                if validation_data is not None:
                    scores = self.evaluate(validation_data, callbacks=called)
                    logs.update({f"val_{name}": value for name, value in scores.items()})
                called.on_epoch_end(epoch, logs)
                if self.stop_training:
                    break
            called.on_train_end(logs)
        return self.history

    def evaluate(
        self,
        x: data.WindowDataset | OneBatch,
        callbacks: Callbacks | None = None,
        verbose: int = 0,
        return_dict: bool = True,
    ) -> dict[str, float]:
        """Returns the loss and the metrics of a data set, by name.

        Args:
            x: Data set of batches, in their order.
            callbacks: The callbacks of a fit in progress.
            verbose: 0, 1 or 2: how progress is shown.
            return_dict: `True`.
        """
        with self.distribute_strategy.scope(), strategy.lost_hosts():
            called = callbacks or self.callback_list((), steps=len(x), verbose=verbose)
            test = self.make_test_function()
            called.on_test_begin()
            self.reset_metrics()
            for step in range(len(x)):
                called.on_test_batch_begin(step)
                test(x[step])
                called.on_test_batch_end(step, {})
            logs = self.results()
            called.on_test_end(logs)
            return logs

    def callback_list(
        self, callbacks: Sequence[keras.callbacks.Callback], steps: int, epochs: int | None = None, verbose: int = 0
    ) -> Callbacks:
        """Returns callbacks as Keras calls them; with a history for a fit, which has a number of epochs."""
        progress: dict[str, Any] = {"steps": steps} | ({} if epochs is None else {"epochs": epochs})
        return Callbacks(
            list(callbacks),
            add_history=epochs is not None,
            add_progbar=verbose != 0,
            model=self,
            verbose=verbose,
            **progress,
        )

    def results(self) -> dict[str, float]:
        """Returns the metrics so far, over all hosts."""
        return {metric.name: float(metric.result()) for metric in self.metrics}

    def check_equal_start(self, epoch: int) -> None:
        """Refuses hosts that do not start with the same weights, as when they resume from different folders."""
        weights = [np.asarray(keras.ops.convert_to_numpy(weight), np.float64) for weight in self.network.weights]
        sums = [sum(power(weight).sum() for weight in weights) for power in (np.abs, np.square)]
        mine = np.array([epoch, *sums], np.float32)
        total = strategy.summed_on_hosts(mine)
        if not np.allclose(total, mine * self.distribute_strategy.num_replicas_in_sync, rtol=1e-5):
            raise TrainingError(
                f"hosts: expected the same weights on all of them before epoch {epoch + 1}; received different ones: "
                "do all hosts see the same folder as `run`?"
            )
