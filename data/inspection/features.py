"""What tells images apart: levels, contrast, edges and frequencies of a window, as numbers with names."""

from __future__ import annotations

import itertools

import numpy as np

# Where frequency bands end, in periods per pixel.
BANDS = (1 / 16, 1 / 8, 1 / 4)


def feature_names(channels: int) -> list[str]:
    """Returns the names of what `describe` measures of windows with this number of channels."""
    colors = ["red", "green", "blue"] if channels == 3 else [f"channel {n + 1}" for n in range(channels)]
    levels = [f"{what} {color}" for color in colors for what in ("mean", "deviation", "5 %", "median", "95 %")]
    ends = [*(round(1 / band) for band in BANDS), 2]
    waves = [f"waves of {long} to {short} px" for long, short in itertools.pairwise(ends)]
    return [*levels, "edges", f"waves over {ends[0]} px", *waves]


def describe(pixels: np.ndarray) -> np.ndarray:
    """Returns the features of a window `(*size, channels)`, in the order of `feature_names`.

    These are, per channel, mean, deviation and percentiles; then, of the mean over the channels, how steep edges are
    and the logarithm of how much of the power lies in each frequency band.
    """
    values = pixels.reshape(-1, pixels.shape[-1]).astype(np.float64)
    levels = [values.mean(axis=0), values.std(axis=0), *np.percentile(values, (5, 50, 95), axis=0)]
    grey = pixels.astype(np.float64).mean(axis=-1)
    contrast = grey.std() + 1e-6 * (1 + np.abs(grey).max())
    # Relative to the contrast, which the levels already describe.
    grey = (grey - grey.mean()) / contrast
    edges = np.mean([np.abs(np.diff(grey, axis=axis)).mean() for axis in range(grey.ndim)])
    return np.concatenate([np.stack(levels, axis=1).ravel(), [edges], np.log10(band_powers(grey) + 1e-6)])


def band_powers(grey: np.ndarray) -> np.ndarray:
    """Returns the fraction of the power of a window `(*size,)` in each frequency band, from coarse to fine."""
    taper = grey
    for axis, length in enumerate(grey.shape):
        taper = taper * np.expand_dims(np.hanning(length + 2)[1:-1], [a for a in range(grey.ndim) if a != axis])
    power = np.abs(np.fft.rfftn(taper)) ** 2
    waves = [np.fft.fftfreq(length) for length in grey.shape[:-1]] + [np.fft.rfftfreq(grey.shape[-1])]
    radius = np.linalg.norm(np.stack(np.meshgrid(*waves, indexing="ij")), axis=0)
    band = np.searchsorted(BANDS, radius.ravel(), side="right")
    powers = np.bincount(band, power.ravel(), minlength=len(BANDS) + 1)
    return powers / max(powers.sum(), 1e-12)
