"""A trained run, as prediction needs it: its model, how images are normalised, its classes and decisions."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = "best.keras"


@dataclass(frozen=True)
class Run:
    """A run folder read into memory.

    Attributes:
        path: The folder.
        model: The Keras model of the best epoch; it returns logits.
        data: What `data.json` holds: task, class names, channels, rank, normalisation, names of the held-out images.
        thresholds: Probability from which a class counts as present, one per class (binary and multilabel tasks).
    """

    path: Path
    model: Any
    data: dict
    thresholds: tuple[float, ...]


def check_run(path):
    """Refuses a folder that no finished epoch has left a model in; answers without importing Keras.

    Raises:
        FileNotFoundError: If the folder, its model or one of its descriptions is missing.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"run: expected a run folder; received {path}, which is not a folder")
    for name in (MODEL, "data.json", "decision.json"):
        if not (path / name).is_file():
            raise FileNotFoundError(f"run: expected a trained run with a {name}; received {path}, which has none")
    return path


def load_run(path):
    """Reads a run folder.

    Raises:
        FileNotFoundError: If a part of it is missing.
        ValueError: If its model cannot be read.
    """
    import keras

    # Their import registers the custom layers that a saved model names.
    from maskzoo import models  # noqa: F401

    path = check_run(path)
    try:
        model = keras.saving.load_model(path / MODEL, compile=False)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"run: expected {path / MODEL} to be a readable Keras model; received {error}") from error
    description = json.loads((path / "data.json").read_text(encoding="utf-8"))
    decision = json.loads((path / "decision.json").read_text(encoding="utf-8"))
    return Run(path, model, description, tuple(decision["thresholds"]))
