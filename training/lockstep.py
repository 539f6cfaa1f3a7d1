"""A fit in which replicas on several hosts keep step: every host gives its share of each batch to its own devices."""

import keras
import numpy as np

from . import strategy
from .step import Trainer


class LockstepTrainer(Trainer):
    """A `Trainer` whose fit runs under any tf.distribute strategy, that of several hosts too, where Keras' does not.

    Metrics are those of all hosts together. Data sets give this host its shard: `data.LoadingOptions.shard`.
    """

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            self.train_function = strategy.on_replicas(self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            self.test_function = strategy.on_replicas(self.test_step)
        return self.test_function

    def fit(self, x, validation_data, epochs, initial_epoch=0, callbacks=(), shuffle=False, verbose=0):
        """Trains epoch by epoch, as Keras' `fit` does.

        Args:
            x: Data set of training batches, in their order.
            validation_data: Data set to evaluate on after every epoch.
            epochs: Number of the epoch to end before.
            initial_epoch: Number of the epoch to begin with.
            callbacks: List of Keras callbacks.
            shuffle: `False`.
            verbose: 0, 1 or 2: how progress is shown.

        Raises:
            ConnectionError: If another host ends.
            ValueError: If hosts begin with other weights, or with another epoch.
        """
        with self.distribute_strategy.scope(), strategy.lost_hosts():
            self.check_alike(initial_epoch)
            callbacks = self.listening(callbacks, epochs=epochs, steps=len(x), verbose=verbose, add_history=True)
            self.stop_training = False
            self.make_train_function()
            callbacks.on_train_begin()
            logs = None
            for epoch in range(initial_epoch, epochs):
                # Keras' fit ends an epoch of the data before its first one.
                x.on_epoch_end()
                self.reset_metrics()
                callbacks.on_epoch_begin(epoch)
                for step in range(len(x)):
                    callbacks.on_train_batch_begin(step)
                    self.train_function(x[step])
                    callbacks.on_train_batch_end(step, {})
                logs = self.results()
                scores = self.evaluate(validation_data, callbacks=callbacks)
                logs.update({f"val_{name}": value for name, value in scores.items()})
                callbacks.on_epoch_end(epoch, logs)
                if self.stop_training:
                    break
            callbacks.on_train_end(logs)
        return self.history

    def evaluate(self, x, callbacks=None, verbose=0, return_dict=True):
        """Returns the loss and the metrics of a data set, by name."""
        with self.distribute_strategy.scope(), strategy.lost_hosts():
            callbacks = callbacks or self.listening([], steps=len(x), verbose=verbose)
            self.make_test_function()
            callbacks.on_test_begin()
            self.reset_metrics()
            for step in range(len(x)):
                callbacks.on_test_batch_begin(step)
                self.test_function(x[step])
                callbacks.on_test_batch_end(step, {})
            logs = self.results()
            callbacks.on_test_end(logs)
            return logs

    def listening(self, callbacks, verbose=0, **options):
        return keras.callbacks.CallbackList(
            list(callbacks), add_progbar=verbose != 0, verbose=verbose, model=self, **options
        )

    def results(self):
        """The metrics so far, over all hosts."""
        return {metric.name: float(metric.result()) for metric in self.metrics}

    def check_alike(self, epoch):
        """Refuses hosts that do not begin alike, as when they resume from different folders."""
        weights = [np.asarray(keras.ops.convert_to_numpy(weight), np.float64) for weight in self.network.weights]
        sums = [sum(power(weight).sum() for weight in weights) for power in (np.abs, np.square)]
        mine = np.array([epoch, *sums], np.float32)
        total = strategy.summed_on_hosts(mine)
        if not np.allclose(total, mine * self.distribute_strategy.num_replicas_in_sync, rtol=1e-5):
            raise ValueError(
                f"hosts: expected the same weights on all of them, before epoch {epoch + 1}; received others: do all "
                "of them see the folder of --run?"
            )
