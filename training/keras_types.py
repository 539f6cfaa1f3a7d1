"""Keras as it behaves, for a type checker: what it declares is often missing, or the type of a default alone."""

from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

# A tensor of the backend, or what stands for one while a step is traced: Keras has no type for all of them.
Tensor = Any
# Many operations are declared to return nothing.
ops: Any = keras.ops
# As base classes: arguments whose default is "auto" are declared as text.
ModelBase: Any = keras.Model
OptimizerBase: Any = keras.optimizers.Optimizer


def load_model(path: Path) -> keras.Model:
    """Returns the model in a `.keras` file, without an optimizer."""
    return cast(keras.Model, keras.saving.load_model(path, compile=False))


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Returns the values of a tensor or a variable."""
    return cast(np.ndarray, keras.ops.convert_to_numpy(tensor))
