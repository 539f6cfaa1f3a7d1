"""Weights of the terms of a loss that follow the epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from maskzoo.errors import OptionError
from maskzoo.names import one_of

from .compound import SegmentationLoss


class WeightSchedule(keras.callbacks.Callback):
    """Moves the weights of a compiled loss along points, and writes them to the log as `weight_<term>`.

    Put it before callbacks that read the log. It looks only at the epoch's number, so a resumed run continues with the
    right weights.

    Args:
        loss: The loss from `build_loss` that the model is compiled with (`model.loss` of a loaded model).
        points: For each term that changes, as written in `loss.terms`: `[[epoch, weight], ...]`, epochs counted from 0,
            ascending. Between two points the weight moves linearly; outside it stays. A jump is two neighbours:
            `[[9, 1], [10, 0.2]]`.

    Raises:
        OptionError: The loss does not have a term, or points are not ascending pairs of numbers.
    """

    def __init__(self, loss: SegmentationLoss, points: Mapping[str, Sequence[Sequence[float]]]) -> None:
        super().__init__()
        self.loss = loss
        self.points: dict[str, np.ndarray] = {}
        self.applied: dict[str, float] | None = None
        for term, pairs in points.items():
            if term not in loss.terms:
                raise OptionError("loss_weights", f"a term of the loss: {one_of(str(term), loss.terms)}", term)
            try:
                table = np.array(pairs, float)
            except (TypeError, ValueError):
                table = np.empty(0)
            is_table = table.size > 0 and table.shape[1:] == (2,) and np.isfinite(table).all()
            if not is_table or (np.diff(table[:, 0]) <= 0).any():
                raise OptionError("loss_weights", f"ascending pairs [epoch, weight] for {term}", pairs)
            self.points[term] = table

    def weights(self, epoch: int) -> dict[str, float]:
        """Returns the weight of each scheduled term in an epoch."""
        return {term: float(np.interp(epoch, table[:, 0], table[:, 1])) for term, table in self.points.items()}

    # Keras gives callbacks the values of the epoch as a dictionary of numbers and tensors.
    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        weights = self.weights(epoch)
        if weights == self.applied:
            return
        self.applied = weights
        for term, weight in weights.items():
            self.loss.weights[self.loss.terms.index(term)].assign(weight)
        if keras.backend.backend() == "jax" and self.model is not None:
            # A jitted step keeps the value that a variable outside the model had when it was traced.
            self.model.make_train_function(force=True)
            self.model.make_test_function(force=True)
            self.model.make_predict_function(force=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs.update({f"weight_{term}": weight for term, weight in self.weights(epoch).items()})
