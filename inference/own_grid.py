"""Results back on the grid of the image's own file, where the run reads it turned, or at another size or spacing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .. import data, metrics
from ..data.images.resized_source import ResizedSource
from ..data.images.wrapped_source import ReadPart, WrappedSource
from .results import ReadBand, Result

# Pixels per axis that are brought back at a time, by number of axes.
SIDE = {2: 512, 3: 64}


def is_resized(source: data.Source) -> bool:
    """Whether an image is read at another size than its file has."""
    return any(isinstance(step, ResizedSource) for step in steps_to_own(source))


def steps_to_own(source: data.Source) -> list[WrappedSource]:
    """Returns what lies between an image as it is read and the grid of its file, the outermost first."""
    steps, own = [], source.own
    while own is not None and source is not own and isinstance(source, WrappedSource):
        steps.append(source)
        source = source.source
    return steps


def growth(source: data.Source) -> float:
    """How many pixels of the file a pixel stands for."""
    return 1.0 if source.own is None else math.prod(source.own.shape) / math.prod(source.shape)


def stored_result(result: Result, source: data.Source) -> Result:
    """Returns the kind of values that is kept until an output is written: probabilities, if they are to be resized."""
    return replace(result, probabilities="float32") if is_resized(source) else result


def on_own_grid(read: ReadBand, result: Result, stored: Result, source: data.Source) -> ReadBand:
    """Returns a function like `read` to the values on the grid of the image's file.

    Probabilities are resized as images are, and then decided on. Memory holds a small part at a time.

    Args:
        read: Function from a window of `source` and a band to the values that are kept.
        result: The kind of values that is wanted.
        stored: The kind of values that is kept.
        source: The image as the run reads it.
    """
    if source.own is None:
        return read

    def bands(window: data.Window) -> np.ndarray:
        return np.stack([read(window, band) for band in range(stored.bands)], axis=-1)

    back: ReadPart = bands
    for step in steps_to_own(source):
        back = step.taken_back(back)
    if stored == result:
        return lambda window, band: back(window)[..., band]

    def decided(window: data.Window, band: int) -> np.ndarray:
        out = np.empty(window.size, result.dtype)
        side = SIDE[window.ndim]
        for box in data.window_grid(window.size, (side,) * window.ndim):
            scores = back(box.moved(window.offset))
            out[box.slices] = result.values(metrics.logits_from(scores, result.task))[..., band]
        return out

    return decided
