"""Keras as it behaves, for a type checker: what it declares is often missing, or the type of a default alone."""

from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from maskzoo.errors import RunError, readable

# A tensor of the backend, or what stands for one while a step is traced: Keras has no type for all of them.
Tensor = Any
# The values of an epoch or a batch: numbers and tensors, as Keras and other callbacks put them in.
Logs = dict[str, Any] | None
# Many operations are declared to return nothing.
ops: Any = keras.ops
# As base classes: arguments whose default is "auto" are declared as text, and names of arguments differ.
ModelBase: Any = keras.Model
OptimizerBase: Any = keras.optimizers.Optimizer
AdamBase: Any = keras.optimizers.Adam
SgdBase: Any = keras.optimizers.SGD


# What TensorFlow raises when another host does not answer: see `strategy.lost_hosts`.
ERRORS_OF_HOSTS = ("UnavailableError", "AbortedError", "CancelledError", "InternalError")


def load_model(path: Path) -> keras.Model:
    """Returns the model in a `.keras` file, without an optimizer.

    Raises:
        RunError: If it cannot be read.
    """
    try:
        with readable(path, "a Keras model that can be read", RunError):
            return cast(keras.Model, keras.saving.load_model(path, compile=False))
    except RunError as error:
        # That another host is gone is no fault of the file.
        if error.__cause__ is not None and type(error.__cause__).__name__ in ERRORS_OF_HOSTS:
            raise error.__cause__ from None
        raise


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Returns the values of a tensor or a variable."""
    return cast(np.ndarray, keras.ops.convert_to_numpy(tensor))
