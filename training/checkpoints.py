"""What a training is resumed from: the last model, and in the same file the state of all that is not a weight."""

import io
import os
import zipfile

import keras
import numpy as np

from .run_folder import LAST

# An entry of the .keras file, which Keras leaves alone: model and state are there together or not at all.
STATE = "training.npz"


def save_model(network, path, state=None):
    """Saves a model under a temporary name, then renames it; with a dict of arrays beside it in the same file."""
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        network.save(unfinished)
        if state is not None:
            stored = io.BytesIO()
            np.savez(stored, **state)
            with zipfile.ZipFile(unfinished, "a") as file:
                file.writestr(STATE, stored.getvalue())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load_last(run):
    """The model of a run's last checkpoint and its state; two `None` where no epoch was finished.

    Raises:
        ValueError: If the file holds no state.
    """
    path = run / LAST
    if not path.is_file():
        return None, None
    with zipfile.ZipFile(path) as file:
        if STATE not in file.namelist():
            raise ValueError(f"{path}: expected the state of a training in it, to go on; received a model alone")
        with np.load(io.BytesIO(file.read(STATE))) as stored:
            state = dict(stored)
    return keras.saving.load_model(path, compile=False), state


def training_state(trainer, epochs, stage):
    """Everything that the next epoch depends on, beside weights, recipe and history: optimizer, averages, dropout."""
    return {
        "epochs": np.array(epochs),
        "stage": np.array(stage),
        **numbered("optimizer", trainer.optimizer.variables),
        **numbered("random", random_states(trainer.network)),
    }


def restore_optimizer(trainer, state):
    """Puts back what `training_state` took of the optimizer.

    Raises:
        ValueError: If the optimizer has other variables.
    """
    variables = trainer.optimizer.variables
    stored = [state[name] for name in sorted(state) if name.startswith("optimizer")]
    if [v.shape for v in stored] != [tuple(v.shape) for v in variables]:
        raise ValueError(f"{LAST}: expected the state of this optimizer; received that of another")
    for variable, value in zip(variables, stored, strict=True):
        variable.assign(value)


def restore_random(network, state):
    """Puts back where the generators of dropout layers stood."""
    for name, variable in zip(sorted(n for n in state if n.startswith("random")), random_states(network), strict=True):
        variable.assign(state[name])


def random_states(network):
    """The variables that are no weights: the states of random generators."""
    weights = {id(weight) for weight in network.weights}
    return [variable for variable in network.variables if id(variable) not in weights]


def numbered(name, variables):
    return {f"{name}{i:05}": keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}


def average_models(paths):
    """The model whose weights, and statistics of batch norms, are the means of those of several files."""
    models = [keras.saving.load_model(path, compile=False) for path in paths]
    for weights in zip(*(model.weights for model in models), strict=True):
        values = [keras.ops.convert_to_numpy(weight) for weight in weights]
        weights[0].assign(np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype))
    return models[0]
