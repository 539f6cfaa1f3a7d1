"""Small images predicted whole, at the size that a model was trained at, and brought back to their own."""

import math

import numpy as np

from .. import data, metrics
from .tile_plan import GIGABYTE, predict_tiles


def shrunken(source, size, memory=4 * GIGABYTE):
    """The source of an image that is resized to a model's size, its pixels of the same type.

    Args:
        source: An open source.
        size: Pixels per axis, one number or one per axis.
        memory: Bound in bytes.

    Raises:
        ValueError: If the image is too large to be held.
    """
    need = math.prod(source.shape) * source.channels * (source.dtype.itemsize + 8)
    if need > memory:
        raise ValueError(
            f"--resize: expected an image that fits the memory (--memory), {need / GIGABYTE:.1f} GB; "
            f"received {memory / GIGABYTE:.1f} GB"
        )
    sizes = (size,) * len(source.shape) if isinstance(size, int) else tuple(size)
    if len(sizes) != len(source.shape) or min(sizes) < 1:
        raise ValueError(f"--resize: expected {len(source.shape)} sizes of at least 1; received {sizes}")
    pixels = data.resize(source.read(data.Window((0,) * len(source.shape), source.shape)).astype(np.float32), sizes)
    if source.dtype.kind in "iu":
        pixels = np.rint(pixels)
    small = data.open_source(pixels.astype(source.dtype), spatial_dims=len(source.shape))
    small.name = source.name
    return small


def predicted_whole(model, read, plan, shape, task):
    """Yields the logits of a whole image from the prediction of a smaller or larger one, as `predict_tiles` does.

    Args:
        model: See `predict_tiles`.
        read: Reader of the resized image.
        plan: Plan of the resized image.
        shape: Sizes to bring the probabilities back to, linearly between the pixels' centres.
        task: Task of the run.
    """
    scores = None
    for window, logits in predict_tiles(model, read, plan):
        if scores is None:
            scores = np.empty((*plan.shape, logits.shape[-1]), np.float32)
        scores[window.slices] = metrics.probabilities(logits, task)
    from .ensemble import logits_from

    yield data.Window((0,) * len(shape), shape), logits_from(data.resize(scores, shape), task)
