"""The classification gate: a class whose image-level label is unlikely is left out of the mask altogether."""

import numpy as np

from .. import metrics


class Listener:
    """A model whose image-level labels are noted while it predicts masks.

    Attributes:
        chances: The largest probability of each class's label over all tiles so far; 1 for the background
            of a multiclass task.
    """

    def __init__(self, run):
        if "label" not in run.model.output_names:
            raise ValueError(f"--gate: expected runs trained with --label-head; received {run.path}")
        self._model = run.model
        self._background = [1.0] if run.data.task == "multiclass" else []
        self.chances = np.zeros(len(run.data.class_names))

    def predict(self, images):
        outputs = self._model.predict_on_batch(images)
        found = metrics.probabilities(outputs["label"], "binary").max(axis=0)
        self.chances = np.maximum(self.chances, [*self._background, *found])
        return outputs["mask"]


def listen(run):
    """A `Listener` for each member of an ensemble, or for a run."""
    return [Listener(member) for member in getattr(run, "runs", [run])]


def absent_classes(run, listeners, gate):
    """The numbers of the classes whose labels stayed below the gate, after all tiles: the members' weighted mean.

    Args:
        run: A `Run`, or an `Ensemble`.
        listeners: What `listen` returned, and what the tiles were predicted with.
        gate: Least probability of each class, 0 for classes without a gate.
    """
    weights = getattr(run, "weights", None)
    chances = np.average([listener.chances for listener in listeners], axis=0, weights=weights)
    return np.flatnonzero(chances < np.asarray(gate)).tolist()


def without(values, absent, task, band=None):
    """Labels without some classes: of a class map, of one band of a mask, or of all bands, classes last."""
    if not absent:
        return values
    if task == "multiclass":
        return np.where(np.isin(values, absent), 0, values).astype(values.dtype)
    if band is not None:
        return np.zeros_like(values) if band in absent else values
    values = values.copy()
    values[..., absent] = 0
    return values


def gate_of(decision, classes, asked=None):
    """The gate that was decided, or asked for instead: a tuple with a number per class, or `None`."""
    gate = (decision.gate or (0,) * classes) if asked is None else tuple(asked)
    if len(gate) == 1:
        gate *= classes
    if len(gate) != classes or not all(0 <= least < 1 for least in gate):
        raise ValueError(f"--gate: expected a probability, or one for each of {classes} classes; received {gate}")
    return gate if any(gate) else None
