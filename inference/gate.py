"""The presence gate: a class whose image-level label is unlikely is left out of the mask altogether."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskzoo.errors import OptionError

from .. import metrics
from .predictor import Predictor
from .run import Run


class LabelRecorder:
    """A model whose image-level labels are recorded while it predicts masks.

    Attributes:
        largest: The largest probability of each class's label over all tiles so far, `(classes,)`; 1 for the background
            of a multiclass task.

    Raises:
        OptionError: If the run has no label head.
    """

    def __init__(self, run: Run) -> None:
        if "label" not in run.model.output_names:
            raise OptionError("gate", "runs that were trained with a label head", run.path)
        self._model = run.model
        self._background = [1.0] if run.data.task == "multiclass" else []
        self.largest = np.zeros(run.data.num_classes)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of the masks of some tiles, and records their labels."""
        outputs = self._model.predict_on_batch(images)
        found = metrics.probabilities(outputs["label"], "binary").max(axis=0)
        self.record(np.array([*self._background, *found]))
        return outputs["mask"]

    def record(self, probabilities: np.ndarray) -> None:
        """Records the probability of each class's label on some more tiles."""
        self.largest = np.maximum(self.largest, probabilities)


def label_recorders(predictor: Predictor) -> list[LabelRecorder]:
    """Returns a recorder for each member of an ensemble, or for a run."""
    return [LabelRecorder(member) for member in predictor.members]


def absent_classes(predictor: Predictor, recorders: Sequence[LabelRecorder], gate: Sequence[float]) -> list[int]:
    """Returns the numbers of the classes whose labels stayed below the gate, after all tiles: the members' mean.

    Args:
        predictor: A `Run`, or an `Ensemble`.
        recorders: What `label_recorders` returned, and what the tiles were predicted with.
        gate: Least probability of each class, 0 for classes without a gate.
    """
    mean = np.average([recorder.largest for recorder in recorders], axis=0, weights=predictor.weights)
    return np.flatnonzero(mean < np.asarray(gate)).tolist()
