"""Statistics of images of any size, in bounded memory: all pixels of small ones, windows spread over large ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ..windows import Window, window_grid
from .source import Source

# Images up to this size are measured whole, larger ones on windows spread over them.
MEASURED_PIXELS = 1 << 26
SAMPLED_PIXELS = 1 << 24
SAMPLED_VALUES = 1 << 22
# Pixels per axis that are read at a time, by number of axes.
SIDE = {2: 1024, 3: 96}


def measured_windows(shape: Sequence[int], budget: int) -> list[Window]:
    """Returns the windows on which an image is measured: all of it, or a random choice that is always the same.

    Args:
        shape: Size of the image per axis.
        budget: Number of pixels up to which all of the image is measured.
    """
    side = SIDE[len(shape)]
    if prod(shape) <= budget:
        return list(window_grid(shape, side))
    windows = window_grid(shape, side // 2)
    number = max(4, min(budget, SAMPLED_PIXELS) // (side // 2) ** len(shape))
    chosen = np.random.default_rng(shape).choice(len(windows), min(number, len(windows)), replace=False)
    return [windows[int(index)] for index in np.sort(chosen)]


def moments(sources: Sequence[Source]) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation per channel over all pixels of some images, as float64 arrays `(channels,)`.

    Images beyond `MEASURED_PIXELS` (all together beyond four times that) are measured on `measured_windows`.
    """
    budget = max(4 * MEASURED_PIXELS // len(sources), 1 << 18)
    channels = sources[0].channels
    count, mean, deviations = 0, np.zeros(channels), np.zeros(channels)
    for source in sources:
        for window in measured_windows(source.shape, min(budget, MEASURED_PIXELS)):
            values = source.read(window).reshape(-1, source.channels).astype(np.float64)
            window_mean = values.mean(axis=0)
            difference = window_mean - mean
            total = count + len(values)
            # Chan's update: exact also where the mean is far larger than the deviation.
            deviations = (
                deviations + ((values - window_mean) ** 2).sum(axis=0) + difference**2 * (count * len(values) / total)
            )
            mean = mean + difference * (len(values) / total)
            count = total
    return mean, np.sqrt(deviations / count)


def percentiles(source: Source, percents: Sequence[float]) -> np.ndarray:
    """Returns percentiles of one image as an array `(percents, channels)`, of a sample of its pixels if it is large."""
    windows = measured_windows(source.shape, MEASURED_PIXELS)
    stride = max(1, -(-sum(prod(window.size) for window in windows) // SAMPLED_VALUES))
    values = [source.read(window).reshape(-1, source.channels)[::stride] for window in windows]
    return np.percentile(np.concatenate(values), percents, axis=0)
