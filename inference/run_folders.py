"""Run folders: how one of their models is named, and which files they consist of; answers without importing Keras."""

from __future__ import annotations

import os
from pathlib import Path

from maskzoo.errors import MissingFile

MODEL, LAST = "best.keras", "last.keras"
# Behind a folder's name, which model is meant.
EPOCHS = {":best": MODEL, ":last": LAST}
DATA_FILE, DECISION_FILE = "data.json", "decision.json"
# What else a run folder holds than predictions.
RUN_SUFFIXES = (".keras", ".npz", ".yaml", ".json", ".log", ".h5", ".html")
RUN_PICTURES_AND_TABLES = ("history.csv", "scores.csv", "curves.png", "samples.png", "decision.png")


def check_run(path: str | os.PathLike[str]) -> Path:
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
        raise MissingFile(path, "a run folder", "no such folder")
    for name in (model_file, DATA_FILE, DECISION_FILE):
        if not (folder / name).is_file():
            raise MissingFile(folder, f"a trained run with a {name}", "a folder without")
    return Path(path)


def split_epoch(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """The folder and the model's file behind `RUN`, `RUN:best` or `RUN:last`."""
    path = Path(path)
    for ending, model_file in EPOCHS.items():
        if path.name.endswith(ending) and not path.exists():
            return path.with_name(path.name.removesuffix(ending)), model_file
    return path, MODEL


def run_folder(path: str | os.PathLike[str]) -> Path:
    """The folder behind `RUN`, `RUN:best` or `RUN:last`."""
    return split_epoch(path)[0]


def files_of_run(path: str | os.PathLike[str]) -> list[Path]:
    """Returns the files that a run folder consists of; answers without importing Keras.

    Predictions may lie in a run folder too, and are none of them.
    """
    folder = run_folder(path)
    if not folder.is_dir():
        return []
    return [file for file in folder.iterdir() if file.suffix in RUN_SUFFIXES or file.name in RUN_PICTURES_AND_TABLES]
