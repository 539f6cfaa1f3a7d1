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

    Values that a file lacks (nodata, masked, transparent) do not count. Images beyond `MEASURED_PIXELS` (all together
    beyond four times that) are measured on `measured_windows`.
    """
    budget = max(4 * MEASURED_PIXELS // len(sources), 1 << 18)
    channels = sources[0].channels
    count, mean, deviations = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    for source in sources:
        for window in measured_windows(source.shape, min(budget, MEASURED_PIXELS)):
            values = source.read(window).reshape(-1, source.channels).astype(np.float64)
            valid = source.valid(window)
            weights = np.ones((1, channels)) if valid is None else valid.reshape(values.shape).astype(np.float64)
            number = np.full(channels, float(len(values))) if valid is None else weights.sum(axis=0)
            some = np.maximum(number, 1)
            window_mean = (values * weights).sum(axis=0) / some
            difference = window_mean - mean
            total = np.maximum(count + number, 1)
            # Chan's update: exact also where the mean is far larger than the deviation.
            deviations = (
                deviations
                + (weights * (values - window_mean) ** 2).sum(axis=0)
                + difference**2 * (count * number / total)
            )
            mean = mean + difference * (number / total)
            count = count + number
    return mean, np.sqrt(deviations / np.maximum(count, 1))


def percentiles(source: Source, percents: Sequence[float]) -> np.ndarray:
    """Returns percentiles of one image as an array `(percents, channels)`, of a sample of its pixels if it is large.

    Values that the file lacks do not count; a channel without any has percentiles of 0.
    """
    windows = measured_windows(source.shape, MEASURED_PIXELS)
    stride = max(1, -(-sum(prod(window.size) for window in windows) // SAMPLED_VALUES))
    values = [source.read(window).reshape(-1, source.channels)[::stride] for window in windows]
    masks = [source.valid(window) for window in windows]
    if all(mask is None for mask in masks):
        return np.percentile(np.concatenate(values), percents, axis=0)
    found = np.zeros((len(percents), source.channels))
    held = [part.reshape(-1, source.channels)[::stride] for part in masks if part is not None]
    for channel in range(source.channels):
        some = [part[mask[:, channel], channel] for part, mask in zip(values, held, strict=True)]
        if sum(map(len, some)):
            found[:, channel] = np.percentile(np.concatenate(some), percents)
    return found


def extremes(sources: Sequence[Source], budget: int = SAMPLED_PIXELS) -> tuple[float, float]:
    """Returns the least and the greatest value that some images hold, on `measured_windows`; zeros if they hold none.

    Args:
        sources: The images.
        budget: Number of pixels of all images together up to which all of them are measured.
    """
    lows, highs = [], []
    for source in sources:
        for window in measured_windows(source.shape, max(budget // len(sources), 1 << 16)):
            values, valid = source.read(window), source.valid(window)
            values = values if valid is None else values[valid]
            if values.size:
                lows.append(float(values.min()))
                highs.append(float(values.max()))
    return min(lows, default=0.0), max(highs, default=0.0)
