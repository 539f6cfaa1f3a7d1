"""Supervision of attention maps: the truth pooled to each level's size, and plain Dice."""

import re
from collections.abc import Sequence

import keras

from maskzoo.errors import OptionError

from ..models import analysis
from .keras_types import Tensor, ops

# Keeps the Dice of two empty maps at 1.
SMOOTH = 1e-5


def pooled_foreground(
    labels: Tensor, logits: Tensor, strides: Sequence[int], task: str, ignore_index: int | None = None
) -> tuple[Tensor, Tensor]:
    """Returns where a coarser map shows any foreground, and which of its elements count: the maxima of their pixels.

    An element holds the pixels from its number times the stride on. Those beyond the end of the image are background.

    Args:
        labels: Labels `(batch, *spatial, classes)`, or class maps `(batch, *spatial)`.
        logits: The map `(batch, *spatial, 1)`.
        strides: Pixels per element along each axis.
        task: `binary`, `multilabel` or `multiclass`.
        ignore_index: Label of pixels that do not count, or `None`.

    Returns:
        Two float32 arrays `(batch, *spatial, 1)` of 0 and 1, of the map's size.
    """
    labels = labels if len(labels.shape) == len(logits.shape) else ops.expand_dims(labels, -1)
    valid = ops.ones_like(labels, dtype="bool") if ignore_index is None else labels != ignore_index
    shown = ops.cast(labels, "float32") > (0.5 if task != "multiclass" else 0)
    shown = ops.any(ops.logical_and(shown, valid), axis=-1, keepdims=True)
    valid = ops.any(valid, axis=-1, keepdims=True)
    pooled = []
    for mask in (shown, valid):
        fitted = fitted_to(ops.cast(mask, "float32"), logits, strides)
        pooled.append(ops.max_pool(fitted, tuple(strides), padding="valid", data_format="channels_last"))
    return pooled[0], pooled[1]


def fitted_to(mask: Tensor, logits: Tensor, strides: Sequence[int]) -> Tensor:
    """Returns a mask, cut or followed by zeros, with as many pixels as the elements of a coarser map hold."""
    for axis, stride in enumerate(strides, start=1):
        wanted = ops.shape(logits)[axis] * stride
        missing = wanted - ops.shape(mask)[axis]
        # A known number must stay a Python number: jax accepts nothing else as padding.
        missing = max(missing, 0) if isinstance(missing, int) else ops.maximum(missing, 0)
        mask = ops.pad(mask, [(0, missing) if each == axis else (0, 0) for each in range(len(mask.shape))])
        mask = mask[tuple(slice(0, wanted) if each == axis else slice(None) for each in range(axis + 1))]
    return mask


def attention_loss(shown: Tensor, counts: Tensor, logits: Tensor) -> Tensor:
    """Returns the plain soft Dice loss of attention maps, per sample.

    Args:
        shown: Where there is foreground: 0 and 1, `(batch, *spatial, 1)`.
        counts: Which elements count.
        logits: The maps' logits.

    Source: Wang et al., "Automatic Segmentation of Vestibular Schwannoma from T2-Weighted MRI by Deep Spatial Attention
    with Hardness-Weighted Loss", MICCAI 2019, section 2.2, with the smoothing of the authors' code.
    """
    maps = ops.sigmoid(logits) * counts
    axes = tuple(range(1, len(logits.shape)))
    both, either = ops.sum(shown * maps, axis=axes), ops.sum(shown, axis=axes) + ops.sum(maps, axis=axes)
    return 1 - (2 * both + SMOOTH) / (either + SMOOTH)


def attention_strides(network: keras.Model) -> dict[str, tuple[int, ...]]:
    """Returns how many pixels of the image an element of each attention map stands for, per axis.

    Args:
        network: A functional model; its attention maps are outputs `attention0`, `attention1`, ... of one channel.

    Raises:
        OptionError: A map does not follow the image in whole pixels.
    """
    outputs = analysis.outputs_by_name(network)
    maps = {name: x for name, x in outputs.items() if re.fullmatch(r"attention\d+", name) and x.shape[-1] == 1}
    if not maps:
        return {}
    found: dict[str, tuple[int, ...]] = {}
    image, *places = analysis.places(network, [network.inputs[0], *maps.values()])
    for name, place in zip(maps, places, strict=True):
        strides = place.factors(image) if place is not None and image is not None else None
        if strides is None:
            raise OptionError(name, "an attention map that follows the image in whole pixels", "another")
        found[name] = strides
    return found
