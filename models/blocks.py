"""Blocks that models are made of: functions from tensor to tensor; 2D or 3D is read from the tensor's rank."""

from numbers import Integral

import keras
from keras import layers, ops

CONV = {2: layers.Conv2D, 3: layers.Conv3D}
TRANSPOSED = {2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
MAX_POOL = {2: layers.MaxPooling2D, 3: layers.MaxPooling3D}
UPSAMPLING = {2: layers.UpSampling2D, 3: layers.UpSampling3D}
CROPPING = {2: layers.Cropping2D, 3: layers.Cropping3D}


# Keras's 0.99 takes 500 steps to forget the statistics that it began with: short trainings, and the first epochs of
# long ones, would be validated with wrong ones. This is what PyTorch keeps.
BATCH_NORM_MOMENTUM = 0.9


@keras.saving.register_keras_serializable("maskzoo")
class LinearUpsampling(layers.Layer):
    """Enlarges the spatial axes by linear interpolation between half-pixel centres, with clamped edges.

    Equal to bilinear resizing in 2D and to trilinear resizing in 3D, for free sizes too: each axis is enlarged by
    weighted sums of neighbours, interleaved.

    Args:
        size: Integer factor of every spatial axis, or one factor per axis.
    """

    def __init__(self, size=2, **kwargs):
        super().__init__(**kwargs)
        self.size = size if isinstance(size, int) else tuple(size)

    def factors(self, spatial_dims):
        """Returns one factor per spatial axis of a tensor with `spatial_dims` spatial axes."""
        factors = (self.size,) * spatial_dims if isinstance(self.size, int) else self.size
        if len(factors) != spatial_dims or any(factor < 1 for factor in factors):
            raise ValueError(
                f"{self.name}: expected size to hold {spatial_dims} factors of at least 1; received {self.size}"
            )
        return factors

    def call(self, x):
        for axis, factor in enumerate(self.factors(len(x.shape) - 2), start=1):
            if factor > 1:
                x = _enlarge(x, axis, factor)
        return x

    def compute_output_shape(self, input_shape):
        factors = self.factors(len(input_shape) - 2)
        spatial = [size and size * factor for size, factor in zip(input_shape[1:-1], factors, strict=True)]
        return (input_shape[0], *spatial, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def _enlarge(x, axis, factor):
    shape = list(ops.shape(x))
    size = shape[axis]

    # The gradient of `ops.slice` takes a third of the time of that of an index.
    def part(tensor, start, length):
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


@keras.saving.register_keras_serializable("maskzoo")
class PadChannels(layers.Layer):
    """Appends channels of zeros until there are `channels` of them.

    Args:
        channels: Number of channels of the output, at least that of the input.
    """

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def call(self, x):
        return ops.pad(x, [(0, 0)] * (len(x.shape) - 1) + [(0, self.channels - x.shape[-1])])

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.channels)

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


def spatial_dims(x):
    """Returns the number of spatial axes of a tensor."""
    return len(x.shape) - 2


def conv(x, filters, kernel_size=3, *, strides=1, padding="same", use_bias=True, name, **options):
    """Convolves, without normalisation or activation; `options` go to the Keras layer."""
    return CONV[spatial_dims(x)](
        filters, kernel_size, strides=strides, padding=padding, use_bias=use_bias, name=name, **options
    )(x)


def norm_act(x, *, batch_norm=True, activation="relu", name):
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


def prelu(x, *, shared=True, name):
    """Activates with a learned slope per channel, or (`shared=False`, for one fixed size) per element."""
    return layers.PReLU(shared_axes=list(range(1, spatial_dims(x) + 1)) if shared else None, name=name)(x)


def conv_block(x, filters, kernel_size=3, *, batch_norm=True, activation="relu", name, **options):
    """Convolves, normalises over the batch and activates; `options` are those of `conv`."""
    if not batch_norm:
        # Nothing else keeps the scale of the features through a deep stack of rectified layers.
        options.setdefault("kernel_initializer", "he_normal")
    x = conv(x, filters, kernel_size, name=f"{name}_conv", **options)
    return norm_act(x, batch_norm=batch_norm, activation=activation, name=name)


def max_pool(x, size=2, *, strides=None, padding="valid", name):
    """Pools the maximum; the strides are the size unless given."""
    return MAX_POOL[spatial_dims(x)](size, strides=strides, padding=padding, name=name)(x)


def upsample(x, size=2, *, name):
    """Repeats every element `size` times along each spatial axis (nearest neighbour)."""
    return UPSAMPLING[spatial_dims(x)](size, name=name)(x)


def linear_upsample(x, size=2, *, name, dtype=None):
    """Enlarges by linear interpolation: bilinear in 2D, trilinear in 3D."""
    return LinearUpsampling(size, dtype=dtype, name=name)(x)


def transposed(x, filters, kernel_size=2, *, strides=2, use_bias=True, name):
    """Enlarges `strides` times by a transposed convolution."""
    return TRANSPOSED[spatial_dims(x)](
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=use_bias,
        name=name,
    )(x)


def crop(x, amount, *, name):
    """Cuts `amount` elements off both ends of every spatial axis."""
    return CROPPING[spatial_dims(x)](amount, name=name)(x)


def pad_channels(x, channels, *, name):
    """Appends channels of zeros until there are `channels`; nothing to do where there are as many already."""
    return x if x.shape[-1] == channels else PadChannels(channels, name=name)(x)


def concat(tensors, *, name):
    """Concatenates channels."""
    return layers.Concatenate(name=name)(tensors)


def add(tensors, *, name):
    """Adds tensors of equal shape, or with a single channel that counts for all."""
    return layers.Add(name=name)(tensors)


def multiply(tensors, *, name):
    """Multiplies tensors of equal shape, or with a single channel that counts for all."""
    return layers.Multiply(name=name)(tensors)


def check_choice(option, value, choices):
    """Refuses an option's value that is none of `choices`.

    Raises:
        ValueError: The value is none of the choices.
    """
    if value not in choices:
        raise ValueError(f"{option}: expected one of {', '.join(map(str, choices))}; received {value}")


def check_filters(filters):
    """Refuses anything but a list of filters per resolution level.

    Raises:
        ValueError: It is no list or tuple, is empty, or holds something else than whole numbers of at least 1.
    """
    if not isinstance(filters, (list, tuple)) or not filters or not all(_is_count(width) for width in filters):
        raise ValueError(f"filters: expected a list of whole numbers, one per resolution level; received {filters}")


def _is_count(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def check_count(option, value):
    """Refuses an option's value that is no whole number of at least 1.

    Raises:
        ValueError: The value is no such number.
    """
    if not _is_count(value):
        raise ValueError(f"{option}: expected a whole number of at least 1; received {value}")


def check_input_shape(model, input_shape, *, spatial_dims=(2, 3), multiple=1, remainder=0, minimum=1):
    """Refuses an input shape that the model cannot take.

    Args:
        model: The model's name, for the message.
        input_shape: `(*spatial, channels)`; `None` is a free spatial size.
        spatial_dims: Allowed numbers of spatial axes.
        multiple: Sizes are `multiple * k + remainder`; one number, or one per axis. So are the next two.
        remainder: See `multiple`.
        minimum: Smallest size.

    Raises:
        ValueError: Wrong number of axes, unknown channels, or a size off the grid of allowed sizes.
    """
    spatial, channels = tuple(input_shape)[:-1], input_shape[-1] if input_shape else None
    if len(spatial) not in spatial_dims:
        expected = " or ".join(f"{count} spatial axes and channels" for count in spatial_dims)
        raise ValueError(f"{model}: expected input_shape to have {expected}; received {tuple(input_shape)}")
    if not _is_count(channels):
        raise ValueError(f"{model}: expected the channels in input_shape to be at least 1; received {channels}")

    def per_axis(value):
        return (value,) * len(spatial) if isinstance(value, int) else value

    rules = zip(spatial, per_axis(multiple), per_axis(remainder), per_axis(minimum), strict=True)
    for axis, (size, step, rest, least) in enumerate(rules):
        if size is None or (size >= least and (size - rest) % step == 0):
            continue
        below = size - (size - rest) % step
        nearest = [str(near) for near in (below, below + step) if near >= least] or [str(least)]
        rule = f"{step}*k + {rest}" if rest else f"a multiple of {step}"
        raise ValueError(
            f"{model}: expected axis {axis} to be {rule}, at least {least}; received {size} "
            f"(nearest: {', '.join(nearest)})"
        )


def valid_sizes(levels):
    """Returns the size rule of a valid-padded U-Net with two 3x3 convolutions per level.

    Args:
        levels: Number of resolution levels, the bottom one included.

    Returns:
        A dict of `multiple`, `remainder` and `minimum`, as `check_input_shape` takes them.
    """
    stride = 2 ** (levels - 1)
    lost_before_bottom = 4 * (stride - 1)
    # The bottom block leaves `bottom - 4`; every decoder level doubles that and loses 4; at least 1 must be left.
    bottom = 4 + (4 * stride - 4) // stride + 1
    return {
        "multiple": stride,
        "remainder": lost_before_bottom % stride,
        "minimum": stride * bottom + lost_before_bottom,
    }


def valid_crops(levels):
    """Returns how much to cut off each side of the skips of a valid-padded U-Net, finest level first."""
    crops = [4]
    for _ in range(levels - 2):
        crops.append(2 * (crops[-1] + 4))
    return crops[::-1]
