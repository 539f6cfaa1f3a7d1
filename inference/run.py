"""A trained run, as prediction needs it: its model, how images are normalised, its classes and decisions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskzoo.errors import MissingFile, RunError

from .run_files import DATA_FILE, DECISION_FILE, Decision, RunData, read_decision, read_run_data

MODEL, LAST = "best.keras", "last.keras"
EPOCHS = {":best": MODEL, ":last": LAST}


@dataclass(frozen=True)
class Run:
    """A run folder read into memory.

    Attributes:
        path: The folder.
        model: The Keras model of the best or the last epoch; it returns logits.
        data: What the run was trained on: task, classes, channels, normalisation, names of the held-out images.
        thresholds: Probability from which a class counts as present, one per class (binary and multilabel tasks).
        decision: What was chosen for the run: thresholds, and what `decide` found beside them.
        model_file: Name of the model's file in the folder.
        engine: What predicts in the model's place: see `engines.open_engine`.
    """

    path: Path
    model: Any
    data: RunData
    thresholds: tuple[float, ...]
    decision: Decision = field(default_factory=Decision)
    model_file: str = MODEL
    engine: Any = None

    @property
    def name(self):
        """The folder's name, with `:last` behind it for the model of the last epoch."""
        return self.path.resolve().name + (":last" if self.model_file == LAST else "")


def check_run(path):
    """Refuses a folder that no finished epoch has left a model in; answers without importing Keras.

    Args:
        path: A run folder; with `:last` behind its name the model of the last epoch is meant, not that of the best.

    Returns:
        The path, as `load_run` takes it.

    Raises:
        MissingFile: If the folder, its model or one of its descriptions is missing.
    """
    folder, model_file = split_epoch(path)
    if not folder.is_dir():
        raise MissingFile(path, "a run folder", "none of this name")
    for name in (model_file, DATA_FILE, DECISION_FILE):
        if not (folder / name).is_file():
            raise MissingFile(folder, f"a trained run with a {name}", "one without")
    return Path(path)


def split_epoch(path):
    """The folder and the model's file behind `RUN`, `RUN:best` or `RUN:last`."""
    path = Path(path)
    for ending, model_file in EPOCHS.items():
        if path.name.endswith(ending) and not path.exists():
            return path.with_name(path.name.removesuffix(ending)), model_file
    return path, MODEL


def run_spatial_dims(path):
    """The number of spatial axes of a run's images; answers without importing Keras."""
    return read_run_data(split_epoch(path)[0]).spatial_dims


def thresholds_for(run, name):
    """The thresholds for an image: those of its group, where `decide` found groups and its name shows one.

    Args:
        run: A `Run`, or an `Ensemble`.
        name: Name of the image, without folder and suffix.
    """
    from .. import data

    groups = run.decision.groups
    if groups is None:
        return tuple(run.thresholds)
    try:
        group = data.groups_by_pattern([name], groups.pattern)[name]
    except ValueError:
        return tuple(run.thresholds)
    return tuple(groups.thresholds.get(group, run.thresholds))


def load_run(path):
    """Reads a run folder.

    Args:
        path: A run folder, or `RUN:last` for the model of its last epoch.

    Raises:
        MissingFile: If a part of it is missing.
        RunError: If its model or its decisions cannot be read.
    """
    import keras

    # Their import registers the custom layers that a saved model names.
    from .. import models

    folder, model_file = split_epoch(check_run(path))
    try:
        model = keras.saving.load_model(folder / model_file, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(folder / model_file, "a Keras model that can be read", error) from error
    described, decision = read_run_data(folder), read_decision(folder)
    if len(decision.thresholds) != described.num_classes:
        raise RunError(
            folder / DECISION_FILE, f"{described.num_classes} thresholds, one per class", list(decision.thresholds)
        )
    if described.roi_classes is not None:
        model = models.two_stage(model, **described.roi_classes)
    return Run(folder, model, described, decision.thresholds, decision, model_file)
