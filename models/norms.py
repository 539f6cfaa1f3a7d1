"""Normalisation by name: over the batch, which keeps tiles exact, or over the whole image."""

from keras import layers

from .blocks import BATCH_NORM_MOMENTUM, Tensor
from .checks import check_choice

# That of PyTorch, in all kinds.
EPSILON = 1e-5
NORMS = ("instance", "batch")


def norm(x: Tensor, kind: str, *, groups: int = 8, name: str) -> Tensor:
    """Normalises features.

    Args:
        x: Features `(batch, *spatial, channels)`.
        kind: `"instance"` (each channel of each image), `"plain_instance"` (the same without learned scale and offset),
            `"group"` (groups of channels of each image), or `"batch"` (each channel over the batch). All but the last
            look at the whole image, so that a tile differs from the image.
        groups: Number of groups, which divides the channels.
        name: Name of the layer.

    Raises:
        OptionError: There is no such kind.
    """
    check_choice("norm", kind, ("instance", "plain_instance", "group", "batch"))
    if kind == "batch":
        return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=EPSILON, name=name)(x)
    learned = kind != "plain_instance"
    groups = groups if kind == "group" else -1
    return layers.GroupNormalization(groups, epsilon=EPSILON, center=learned, scale=learned, name=name)(x)
