"""Squeeze and excitation: channels and positions weighed by what the image holds."""

from .blocks import Tensor, add, conv, multiply, spatial_dims
from .heads import GLOBAL_POOLING

# What `attention` of a decoder may be.
ATTENTION = (None, "scse")


def channel_weights(x: Tensor, reduction: int = 16, *, name: str) -> Tensor:
    """Returns one weight from 0 to 1 per image and channel, `(batch, 1, ..., channels)`, from the channels' means.

    Args:
        x: Features `(batch, *spatial, channels)`.
        reduction: How many times narrower the layer between is; at least one channel is left.
        name: Beginning of the layers' names.

    Source: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018.
    """
    channels = x.shape[-1]
    pooled = GLOBAL_POOLING[spatial_dims(x)](keepdims=True, name=f"{name}_pool")(x)
    squeezed = conv(pooled, max(channels // reduction, 1), 1, activation="relu", name=f"{name}_squeeze")
    return conv(squeezed, channels, 1, activation="sigmoid", name=f"{name}_excite")


def scse(x: Tensor, *, name: str) -> Tensor:
    """Weighs features twice, once by channel and once by position, and adds both.

    Where all the weights' kernels and biases are zero, features pass unchanged.

    Args:
        x: Features `(batch, *spatial, channels)`.
        name: Beginning of the layers' names.

    Source: Roy, Navab, Wachinger, "Concurrent Spatial and Channel Squeeze & Excitation", MICCAI 2018.
    """
    by_channel = multiply([x, channel_weights(x, name=f"{name}_channel")], name=f"{name}_channels")
    position = conv(x, 1, 1, activation="sigmoid", name=f"{name}_position")
    return add([by_channel, multiply([x, position], name=f"{name}_positions")], name=f"{name}_scse")


def attend(x: Tensor, attention: str | None, *, name: str) -> Tensor:
    """Returns the features after the attention of this name, one of `ATTENTION`; `None` leaves them as they are."""
    return scse(x, name=name) if attention == "scse" else x
