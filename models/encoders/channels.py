"""First kernels carried to another number of input channels, or turned to another order of colours."""

import keras
import numpy as np


def carry_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Carries a kernel `(*size, 3, filters)` for colour images to another number of input channels.

    Every channel gets the average of the three kernels, scaled so that a grey image repeated over the channels
    gives what it gave as a grey colour image.
    """
    if kernel.shape[-2] != 3 or channels == 3:
        return kernel
    return np.repeat(kernel.mean(axis=-2, keepdims=True) * (3 / channels), channels, axis=-2)


def copy_weights(published: keras.Model, encoder: keras.Model) -> None:
    """Copies weights between encoders whose layers have the same names, from 3 input channels to any number."""
    for layer in encoder.layers:
        if layer.weights:
            values = published.get_layer(layer.name).get_weights()
            layer.set_weights(
                [_carried(value, tuple(weight.shape)) for value, weight in zip(values, layer.weights, strict=True)]
            )


def _carried(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if value.shape == shape:
        return value
    if value.ndim == 1:
        return np.full(shape, value.mean())
    return carry_channels(value, shape[-2])


def reverse_channels(encoder: keras.Model) -> None:
    """Turns a first convolution that was trained on blue, green, red into one for red, green, blue."""
    first = next(layer for layer in encoder.layers if layer.weights)
    kernel, *others = first.get_weights()
    first.set_weights([kernel[..., ::-1, :], *others])
