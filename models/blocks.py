"""Blocks that models are made of: functions from tensor to tensor; 2D or 3D is read from the tensor's rank."""

from collections.abc import Sequence
from typing import Any, cast

import keras
from keras import layers

from maskzoo.errors import OptionError

from . import analysis

# A symbolic `keras.KerasTensor` while a model is built, or a tensor of the current backend when a layer runs: the two
# have no type in common.
Tensor = Any
# Keras does not say what its operations return, so that a type checker guesses, by its backends, and wrongly.
ops: Any = keras.ops
# `(*spatial, channels)`; `None` stands for a free spatial size.
Shape = Sequence[int | None]
# `(batch, *spatial, channels)` of a tensor: whole numbers. All but the last may be `None`, which no type can say.
TensorShape = tuple[Any, ...]

CONV = {2: layers.Conv2D, 3: layers.Conv3D}
TRANSPOSED = {2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
AVERAGE_POOL = {2: layers.AveragePooling2D, 3: layers.AveragePooling3D}
MAX_POOL = {2: layers.MaxPooling2D, 3: layers.MaxPooling3D}
UPSAMPLING = {2: layers.UpSampling2D, 3: layers.UpSampling3D}
CROPPING = {2: layers.Cropping2D, 3: layers.Cropping3D}


# Keras's default of 0.99 needs 500 steps to forget the initial statistics, so short runs, and the first epochs of long
# ones, would be validated with wrong statistics. This is the default of PyTorch.
BATCH_NORM_MOMENTUM = 0.9


@keras.saving.register_keras_serializable("maskzoo")
class LinearUpsampling(layers.Layer):
    """Enlarges the spatial axes by linear interpolation between half-pixel centres, with clamped edges.

    Equal to bilinear resizing in 2D and to trilinear resizing in 3D, for free sizes too: each axis is enlarged by
    weighted sums of neighbours, interleaved.

    Args:
        size: Integer factor of every spatial axis, or one factor per axis.
    """

    def __init__(self, size: int | Sequence[int] = 2, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.size = size if isinstance(size, int) else tuple(size)

    def factors(self, spatial_dims: int) -> tuple[int, ...]:
        """Returns one factor per spatial axis of a tensor with `spatial_dims` spatial axes."""
        factors = (self.size,) * spatial_dims if isinstance(self.size, int) else self.size
        if len(factors) != spatial_dims or any(factor < 1 for factor in factors):
            raise OptionError(self.name, f"size to hold {spatial_dims} factors of at least 1", self.size)
        return factors

    def build(self, input_shape: TensorShape) -> None:
        self.factors(len(input_shape) - 2)  # refused here, because Keras rewrites errors from `call`

    def call(self, x: Tensor) -> Tensor:
        for axis, factor in enumerate(self.factors(len(x.shape) - 2), start=1):
            if factor > 1:
                x = _enlarge(x, axis, factor)
        return x

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        factors = self.factors(len(input_shape) - 2)
        spatial = [size and size * factor for size, factor in zip(input_shape[1:-1], factors, strict=True)]
        return (input_shape[0], *spatial, input_shape[-1])

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "size": self.size}


def _enlarge(x: Tensor, axis: int, factor: int) -> Tensor:
    shape = list(shape_of(x))
    size = shape[axis]

    # The gradient of `ops.slice` takes a third of the time of an index's.
    def part(tensor: Tensor, start: Tensor, length: int) -> Tensor:
        starts = [0] * len(shape)
        starts[axis] = start
        return ops.slice(tensor, starts, [*shape[:axis], length, *shape[axis + 1 :]])

    padded = ops.concatenate([part(x, 0, 1), x, part(x, size - 1, 1)], axis)
    phases = []
    for phase in range(factor):
        position = (phase + 0.5) / factor - 0.5
        neighbour = part(padded, 0 if position < 0 else 2, size)
        phases.append((1 - abs(position)) * x + abs(position) * neighbour)
    shape[axis] = size * factor
    return ops.reshape(ops.stack(phases, axis + 1), shape)


@analysis.register(LinearUpsampling)
def _linear_upsampling(layer: LinearUpsampling, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x.enlarge(layer.size if isinstance(layer.size, int) else layer.size[axis], 2)


@keras.saving.register_keras_serializable("maskzoo")
class PadChannels(layers.Layer):
    """Appends channels of zeros until there are `channels` of them.

    Args:
        channels: Number of channels of the output, at least that of the input.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:  # those of Keras layers
        super().__init__(**kwargs)
        self.channels = channels

    def call(self, x: Tensor) -> Tensor:
        return ops.pad(x, [(0, 0)] * (len(x.shape) - 1) + [(0, self.channels - x.shape[-1])])

    def compute_output_shape(self, input_shape: TensorShape) -> TensorShape:
        return (*input_shape[:-1], self.channels)

    def get_config(self) -> dict[str, Any]:  # what Keras writes as JSON
        return {**super().get_config(), "channels": self.channels}


@analysis.register(PadChannels)
def _pad_channels(layer: PadChannels, axis: int, x: analysis.AxisGeometry) -> analysis.AxisGeometry:
    return x


def shape_of(x: Tensor) -> tuple[Any, ...]:  # the symbols have no common type
    """Returns the sizes of a tensor: whole numbers where they are known, symbols of the backend where they are free."""
    return cast("tuple[Any, ...]", ops.shape(x))


def spatial_dims(x: Tensor) -> int:
    """Returns the number of spatial axes of a tensor."""
    return len(x.shape) - 2


def conv(
    x: Tensor,
    filters: int,
    kernel_size: int | Sequence[int] = 3,
    *,
    strides: int | Sequence[int] = 1,
    dilation_rate: int | Sequence[int] = 1,
    padding: str = "same",
    use_bias: bool = True,
    kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
    activation: str | None = None,
    dtype: str | None = None,
    name: str,
) -> Tensor:
    """Convolves, without normalisation; the arguments are those of the Keras layer."""
    return CONV[spatial_dims(x)](
        filters,
        kernel_size,
        strides=strides,
        dilation_rate=dilation_rate,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer=kernel_initializer,
        activation=activation,
        dtype=dtype,
        name=name,
    )(x)


def norm_act(x: Tensor, *, batch_norm: bool = True, activation: str | None = "relu", name: str) -> Tensor:
    """Normalises over the batch, then activates; either can be left out (`batch_norm=False`, `activation=None`).

    Args:
        x: Features `(batch, *spatial, channels)`.
        batch_norm: Whether to normalise.
        activation: Name of a Keras activation; `"prelu"` has one slope per channel, `"leaky_relu"` the slope 0.3.
        name: Beginning of the layers' names.
    """
    if batch_norm:
        x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn")(x)
    if activation == "prelu":
        x = prelu(x, name=f"{name}_prelu")
    elif activation == "leaky_relu":
        x = layers.LeakyReLU(0.3, name=f"{name}_leaky_relu")(x)
    elif activation:
        x = layers.Activation(activation, name=f"{name}_{activation}")(x)
    return x


def prelu(x: Tensor, *, shared: bool = True, name: str) -> Tensor:
    """Activates with a learned slope per channel, or (`shared=False`, for one fixed size) per element."""
    return layers.PReLU(shared_axes=list(range(1, spatial_dims(x) + 1)) if shared else None, name=name)(x)


def conv_block(
    x: Tensor,
    filters: int,
    kernel_size: int | Sequence[int] = 3,
    *,
    strides: int | Sequence[int] = 1,
    padding: str = "same",
    use_bias: bool = True,
    batch_norm: bool = True,
    activation: str | None = "relu",
    name: str,
) -> Tensor:
    """Convolves, normalises over the batch and activates: `conv`, then `norm_act`."""
    # Without a norm nothing else keeps the scale of the features through a deep stack of rectified layers.
    x = conv(
        x,
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer="glorot_uniform" if batch_norm else "he_normal",
        name=f"{name}_conv",
    )
    return norm_act(x, batch_norm=batch_norm, activation=activation, name=name)


def average_pool(x: Tensor, size: int | Sequence[int] = 2, *, name: str) -> Tensor:
    """Pools the mean; the strides are the size."""
    return AVERAGE_POOL[spatial_dims(x)](size, name=name)(x)


def max_pool(
    x: Tensor,
    size: int | Sequence[int] = 2,
    *,
    strides: int | Sequence[int] | None = None,
    padding: str = "valid",
    name: str,
) -> Tensor:
    """Pools the maximum; the strides are the size unless given."""
    return MAX_POOL[spatial_dims(x)](size, strides=strides, padding=padding, name=name)(x)


def upsample(x: Tensor, size: int | Sequence[int] = 2, *, name: str) -> Tensor:
    """Repeats every element `size` times along each spatial axis (nearest neighbour)."""
    return UPSAMPLING[spatial_dims(x)](size, name=name)(x)


def linear_upsample(x: Tensor, size: int | Sequence[int] = 2, *, name: str, dtype: str | None = None) -> Tensor:
    """Enlarges by linear interpolation: bilinear in 2D, trilinear in 3D."""
    return LinearUpsampling(size, dtype=dtype, name=name)(x)


def transposed(
    x: Tensor,
    filters: int,
    kernel_size: int | Sequence[int] = 2,
    *,
    strides: int | Sequence[int] = 2,
    use_bias: bool = True,
    name: str,
) -> Tensor:
    """Enlarges `strides` times by a transposed convolution."""
    return TRANSPOSED[spatial_dims(x)](
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=use_bias,
        name=name,
    )(x)


def crop(x: Tensor, amount: int, *, name: str) -> Tensor:
    """Cuts `amount` elements off both ends of every spatial axis."""
    return CROPPING[spatial_dims(x)](amount, name=name)(x)


def pad_channels(x: Tensor, channels: int, *, name: str) -> Tensor:
    """Appends channels of zeros until there are `channels`; nothing to do where there are as many already."""
    return x if x.shape[-1] == channels else PadChannels(channels, name=name)(x)


def concat(tensors: Sequence[Tensor], *, name: str) -> Tensor:
    """Concatenates channels."""
    return layers.Concatenate(name=name)(tensors)


def add(tensors: Sequence[Tensor], *, name: str) -> Tensor:
    """Adds tensors of equal shape, or with a single channel that counts for all."""
    return layers.Add(name=name)(tensors)


def multiply(tensors: Sequence[Tensor], *, name: str) -> Tensor:
    """Multiplies tensors of equal shape, or with a single channel that counts for all."""
    return layers.Multiply(name=name)(tensors)
