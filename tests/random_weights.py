"""Models in which far pixels matter, so that a missing halo shows."""

import numpy as np


def randomised(model):
    """Gives a model He-normal kernels and statistics that are not those of the start, so that no path is dead."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "gamma" in weight.path or "moving_variance" in weight.path:
            weight.assign(rng.uniform(0.5, 2, weight.shape))
        elif "kernel" in weight.path:
            weight.assign(rng.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape))
        elif "seed" not in weight.path:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    return model
