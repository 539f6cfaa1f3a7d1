"""Heads: what turns features into named outputs."""

from .blocks import conv


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
