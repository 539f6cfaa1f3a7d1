"""Strided convolutions that are padded on both sides, as in PyTorch: their kernels lie around an element."""

from collections.abc import Sequence

import numpy as np
from keras import layers

from .blocks import Tensor, conv, spatial_dims

ZERO_PADDING = {2: layers.ZeroPadding2D, 3: layers.ZeroPadding3D}


def centred_conv(
    x: Tensor,
    filters: int,
    kernel_size: int | Sequence[int] = 3,
    *,
    strides: int | Sequence[int] = 1,
    use_bias: bool = True,
    name: str,
) -> Tensor:
    """Convolves with odd kernels that lie around every `strides`-th element, as PyTorch does, without normalisation.

    Keras pads strided convolutions at the end, where sizes are even: theirs lie one element further.
    """
    padding = "same"
    if max(per_axis(strides, x)) > 1:
        x = zero_pad(x, [(size // 2, size // 2) for size in per_axis(kernel_size, x)], name=f"{name}_pad")
        padding = "valid"
    return conv(
        x,
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=name,
    )


def per_axis(value: int | Sequence[int], x: Tensor) -> tuple[int, ...]:
    """Returns one number per spatial axis of a tensor, from one for all or one for each."""
    return (value,) * spatial_dims(x) if isinstance(value, int) else tuple(value)


def zero_pad(x: Tensor, padding: Sequence[tuple[int, int]], *, name: str) -> Tensor:
    """Puts zeros before and behind the elements along each spatial axis; nothing to do where there are none."""
    return ZERO_PADDING[spatial_dims(x)](tuple(padding), name=name)(x) if np.any(padding) else x
