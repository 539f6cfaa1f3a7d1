"""Weights of a trained network in one with larger kernels: enlarged by linear interpolation."""

import keras
import numpy as np

from maskzoo.errors import OptionError


def grow_kernels(small: keras.Model, large: keras.Model) -> None:
    """Puts the weights of a trained model into the same model with larger kernels, such as `mednext` of 5 for 3.

    Kernels are enlarged by linear interpolation along their spatial axes, and not scaled; all other weights are copied.

    Args:
        small: The trained model.
        large: A model of the same layers, whose kernels are larger or equal; its weights are replaced.

    Raises:
        OptionError: The models differ in more than the size of their kernels; no weight is replaced.

    Source: "UpKern" of Roy et al., "MedNeXt", MICCAI 2023.
    """
    theirs = {layer.name: layer.get_weights() for layer in small.layers if layer.weights}
    ours = {layer.name: layer for layer in large.layers if layer.weights}
    if theirs.keys() != ours.keys():
        odd = sorted(theirs.keys() ^ ours.keys())[0]
        raise OptionError("large", f"the layers of {small.name}", f"{large.name}, where {odd} differs")
    grown = {}
    for name, layer in ours.items():
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if not all(map(_fits, [value.shape for value in theirs[name]], shapes)):
            raise OptionError("large", f"kernels of {name} that are as large or larger", shapes[0])
        grown[name] = [_enlarged(value, shape) for value, shape in zip(theirs[name], shapes, strict=True)]
    for name, values in grown.items():
        ours[name].set_weights(values)


def _fits(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    if small == large:
        return True
    spatial = len(large) - 2
    grows = all(one <= other for one, other in zip(small, large, strict=False))
    return spatial > 0 and len(small) == len(large) and small[spatial:] == large[spatial:] and grows


def _enlarged(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    for axis, (old, new) in enumerate(zip(value.shape, shape, strict=True)):
        if old != new:
            centres = (np.arange(new) + 0.5) * old / new - 0.5
            # Each row holds the weights of the old elements in a new one.
            weights = np.stack([np.interp(centres, np.arange(old), unit) for unit in np.eye(old)], axis=-1)
            value = np.moveaxis(np.tensordot(weights, value, (1, axis)), 0, axis)
    return value.astype("float32")
