"""Heads: what turns features into named outputs."""

from keras import layers

from .blocks import conv, linear_upsample


def segmentation_head(x, num_classes, activation=None, kernel_size=1, name="mask"):
    """Maps features to per-pixel logits in float32, whatever the precision of the features.

    Args:
        x: Features `(batch, *spatial, channels)`.
        num_classes: Number of output channels.
        activation: `None` for logits, or a Keras activation such as `"sigmoid"` for people who want probabilities.
        kernel_size: Size of the convolution.
        name: Name of the output.
    """
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes: expected a whole number of at least 1; received {num_classes}")
    return conv(
        x,
        num_classes,
        kernel_size,
        activation=activation,
        kernel_initializer="glorot_uniform",
        dtype="float32",
        name=name,
    )


def auxiliary_head(x, num_classes, activation=None, kernel_size=1, factor=1, *, name):
    """Maps features of a coarser level to float32 logits, enlarged `factor` times by linear interpolation.

    Args:
        x: Features `(batch, *spatial, channels)`.
        num_classes: Number of output channels.
        activation: `None` for logits, or a Keras activation, applied after enlarging.
        kernel_size: Size of the convolution.
        factor: Integer factor of every spatial axis, or one factor per axis; 1 keeps the features' own size.
        name: Name of the output.
    """
    if factor == 1:
        return segmentation_head(x, num_classes, activation, kernel_size, name)
    x = segmentation_head(x, num_classes, None, kernel_size, f"{name}_logits")
    x = linear_upsample(x, factor, dtype="float32", name=f"{name}_up" if activation else name)
    return layers.Activation(activation, dtype="float32", name=name)(x) if activation else x
