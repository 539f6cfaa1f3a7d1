"""Weights of the terms of a loss that follow the epoch."""

import keras
import numpy as np

from .registry import nearest


class WeightSchedule(keras.callbacks.Callback):
    """Moves the weights of a compiled loss along points, and writes them to the log as `weight_<term>`.

    Put it before callbacks that read the log. It looks only at the epoch's number, so a resumed run goes on rightly.

    Args:
        loss: The loss from `build_loss` that the model is compiled with (`model.loss` of a loaded model).
        points: For each term that changes, as written in `loss.terms`: `[[epoch, weight], ...]`, epochs counted from 0,
            ascending. Between two points the weight moves linearly; outside it stays. A jump is two neighbours:
            `[[9, 1], [10, 0.2]]`.

    Raises:
        ValueError: for a term that the loss does not have, or points that are not ascending pairs of numbers.
    """

    def __init__(self, loss, points):
        super().__init__()
        self.loss = loss
        self.points = {}
        self.applied = None
        for term, pairs in points.items():
            if term not in loss.terms:
                raise ValueError(
                    f"weight schedule: expected one of the terms {', '.join(loss.terms)}; received {term!r}"
                    f"{nearest(str(term), loss.terms)}"
                )
            try:
                table = np.array(pairs, float)
            except (TypeError, ValueError):
                table = np.empty(0)
            is_table = table.size > 0 and table.shape[1:] == (2,) and np.isfinite(table).all()
            if not is_table or (np.diff(table[:, 0]) <= 0).any():
                raise ValueError(
                    f"weight schedule of {term}: expected ascending pairs [epoch, weight]; received {pairs}"
                )
            self.points[term] = table

    def weights(self, epoch):
        """Returns the weight of each scheduled term in an epoch."""
        return {term: float(np.interp(epoch, table[:, 0], table[:, 1])) for term, table in self.points.items()}

    def on_epoch_begin(self, epoch, logs=None):
        weights = self.weights(epoch)
        if weights == self.applied:
            return
        self.applied = weights
        for term, weight in weights.items():
            self.loss.weights[self.loss.terms.index(term)].assign(weight)
        if keras.backend.backend() == "jax":
            # A jitted step keeps the value that a variable outside the model had when it was traced.
            self.model.make_train_function(force=True)
            self.model.make_test_function(force=True)
            self.model.make_predict_function(force=True)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs.update({f"weight_{term}": weight for term, weight in self.weights(epoch).items()})
