"""Whether the weights of a network are numbers: what is asked before a model is written, and after one was read."""

import keras
import numpy as np


def broken_weights(network: keras.Model) -> str | None:
    """Returns what is not finite in a network, in words: which weight holds NaN or infinity; `None` if all is finite.

    Args:
        network: Any Keras model.
    """
    for weight in network.weights:
        values = np.asarray(keras.ops.convert_to_numpy(weight))
        if values.dtype.kind in "iub":
            continue
        values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            kind = "NaN" if np.isnan(values).any() else "infinity"
            return f"{kind} in {weight.path}"
    return None
