"""Compares saved models on one backend: `KERAS_BACKEND=jax python tests/check_models.py FOLDER`.

The folder holds `<name>.keras` beside `<name>.npz`: inputs `input0`, ... and expected outputs `output0`, ...
"""

import sys
from pathlib import Path

import keras
import numpy as np

from maskzoo import models  # noqa: F401 (registers the layers)

for path in sorted(Path(sys.argv[1]).glob("*.keras")):
    model = keras.saving.load_model(path)
    values = np.load(path.with_suffix(".npz"))
    images = [values[f"input{index}"] for index in range(len(model.inputs))]
    # Compiled as a whole: operation by operation takes jax minutes.
    outputs = keras.tree.flatten(model.predict_on_batch(images if len(images) > 1 else images[0]))
    for index, output in enumerate(outputs):
        expected = values[f"output{index}"]
        difference = np.abs(output - expected).max()
        assert difference <= 1e-4 * max(1.0, np.abs(expected).max()), (path.stem, index, difference)
print(keras.backend.backend(), "agrees")
