"""Checkpoints: the last model, and in the same file the state of everything that is not a weight, to resume from."""

import io
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from maskzoo.errors import DiskFull, RunError, readable
from maskzoo.files import written_atomically

from .. import models
from ..inference.scratch import NO_SPACE, in_bytes
from .keras_types import load_model, to_numpy
from .run_folder import LAST
from .step import Trainer

# An entry of the .keras file, which Keras ignores: model and state are there together or not at all.
STATE = "training.npz"

State = Mapping[str, np.ndarray]


@contextmanager
def full_disk_explained(run: Path) -> Iterator[None]:
    """A context that says what to do when a run folder cannot be written because the disk is full.

    Raises:
        DiskFull: If it is.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, DiskFull) or error.errno not in NO_SPACE:
            raise
        free = in_bytes(shutil.disk_usage(run).free)
        resume = "continue with `resume` after the last finished epoch" if (run / LAST).is_file() else "start again"
        raise DiskFull(
            f"{run.absolute()}: no space left: expected room for its models and pictures; received {free} free; make "
            f"room and {resume}"
        ) from error


def save_model(network: keras.Model, path: Path, state: State | None = None) -> None:
    """Saves a model atomically, with arrays beside it in the same file.

    Args:
        network: The model.
        path: A `.keras` file.
        state: The arrays by name, or `None`.
    """
    with written_atomically(path) as unfinished:
        network.save(unfinished)
        if state is not None:
            stored = io.BytesIO()
            arrays: dict[str, Any] = dict(state)  # which could have the name of one of `savez`' own arguments
            np.savez(stored, **arrays)
            with zipfile.ZipFile(unfinished, "a") as file:
                file.writestr(STATE, stored.getvalue())


def load_last(run: Path) -> tuple[keras.Model, State] | None:
    """Returns the model of a run's last checkpoint and its state; `None` if no epoch was finished.

    Raises:
        RunError: If the file cannot be read or holds no state, or its weights are not finite.
    """
    path = run / LAST
    if not path.is_file():
        return None
    with readable(path, "a model with the state of its training", RunError), zipfile.ZipFile(path) as file:
        if STATE not in file.namelist():
            raise RunError(path, "a model with the state of its training, to resume it", "a model alone")
        with np.load(io.BytesIO(file.read(STATE))) as stored:
            state = dict(stored)
    network = load_model(path)
    if (broken := models.broken_weights(network)) is not None:
        raise RunError(path, "finite weights to resume from; start a new run with a smaller `learning_rate`", broken)
    return models.with_logits(network), state


def training_state(trainer: Trainer, epochs: int, stage: int) -> State:
    """Returns what the next epoch depends on apart from weights, recipe and history: optimizer, averages, dropout.

    Args:
        trainer: The trainer.
        epochs: Number of finished epochs.
        stage: Number of the stage, from 1.
    """
    return {
        "epochs": np.array(epochs),
        "stage": np.array(stage),
        **numbered("optimizer", trainer.optimizer.variables),
        **numbered("random", random_states(trainer.network)),
    }


def broken_state(trainer: Trainer) -> str | None:
    """Returns what is not finite in the weights, their averages and the optimizer's moments; `None` if all is finite.

    The learning rate is left out, which is set again before every step.
    """
    broken = models.broken_weights(trainer.network)
    if broken is not None:
        return broken
    for variable in trainer.optimizer.variables:
        values = to_numpy(variable)
        if values.dtype.kind == "f" and variable.name != "learning_rate" and not np.isfinite(values).all():
            return f"no finite number in {variable.path}"
    return None


def restore_optimizer(trainer: Trainer, state: State) -> None:
    """Restores what `training_state` stored of the optimizer.

    Raises:
        RunError: If the optimizer has other variables.
    """
    variables: Sequence[keras.Variable] = trainer.optimizer.variables
    stored = [state[name] for name in sorted(state) if name.startswith("optimizer")]
    if [v.shape for v in stored] != [tuple(v.shape) for v in variables]:
        raise RunError(LAST, "the state of this optimizer", "that of another one")
    for variable, value in zip(variables, stored, strict=True):
        variable.assign(value)


def restore_random(network: keras.Model, state: State) -> None:
    """Restores the random generators of dropout layers."""
    for name, variable in zip(sorted(n for n in state if n.startswith("random")), random_states(network), strict=True):
        variable.assign(state[name])


def random_states(network: keras.Model) -> list[keras.Variable]:
    """Returns the variables that are not weights: the states of random generators."""
    weights = {id(weight) for weight in network.weights}
    return [variable for variable in network.variables if id(variable) not in weights]


def numbered(name: str, variables: Iterable[keras.Variable]) -> dict[str, np.ndarray]:
    """Returns the values of variables under a name with their numbers."""
    return {f"{name}{i:05}": to_numpy(v) for i, v in enumerate(variables)}
