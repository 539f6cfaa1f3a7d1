"""A trained run, as prediction needs it: its model, how images are normalised, its classes and decisions."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MODEL, LAST = "best.keras", "last.keras"
EPOCHS = {":best": MODEL, ":last": LAST}


@dataclass(frozen=True)
class Run:
    """A run folder read into memory.

    Attributes:
        path: The folder.
        model: The Keras model of the best or the last epoch; it returns logits.
        data: What `data.json` holds: task, class names, channels, rank, normalisation, names of the held-out images.
        thresholds: Probability from which a class counts as present, one per class (binary and multilabel tasks).
        decision: What `decision.json` holds: thresholds, and what `decide` found beside them.
        model_file: Name of the model's file in the folder.
        engine: What predicts in the model's place: see `engines.open_engine`.
    """

    path: Path
    model: Any
    data: dict
    thresholds: tuple[float, ...]
    decision: dict = field(default_factory=dict)
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
        FileNotFoundError: If the folder, its model or one of its descriptions is missing.
    """
    folder, model_file = split_epoch(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"run: expected a run folder; received {path}, which is not a folder")
    for name in (model_file, "data.json", "decision.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"run: expected a trained run with a {name}; received {folder}, which has none")
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
    return json.loads((split_epoch(path)[0] / "data.json").read_text(encoding="utf-8"))["rank"]


def thresholds_for(run, name):
    """The thresholds for an image: those of its group, where `decide` found groups and its name shows one.

    Args:
        run: A `Run`, or an `Ensemble`.
        name: Name of the image, without folder and suffix.
    """
    from .. import data

    groups = run.decision.get("groups")
    if groups is None:
        return tuple(run.thresholds)
    try:
        group = data.groups_by_pattern([name], groups["pattern"])[name]
    except ValueError:
        return tuple(run.thresholds)
    return tuple(groups["thresholds"].get(group, run.thresholds))


def load_run(path):
    """Reads a run folder.

    Args:
        path: A run folder, or `RUN:last` for the model of its last epoch.

    Raises:
        FileNotFoundError: If a part of it is missing.
        ValueError: If its model or its decisions cannot be read.
    """
    import keras

    # Their import registers the custom layers that a saved model names.
    from .. import models

    folder, model_file = split_epoch(check_run(path))
    try:
        model = keras.saving.load_model(folder / model_file, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"run: expected {folder / model_file} to be a readable Keras model; received {error}"
        ) from error
    description = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    decision = json.loads((folder / "decision.json").read_text(encoding="utf-8"))
    if "fine" in description:
        model = models.serial(model, **description["fine"])
    return Run(folder, model, description, tuple(decision["thresholds"]), decision, model_file)
