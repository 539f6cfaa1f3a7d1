"""How much of each image is foreground, by which folds are stratified."""

from __future__ import annotations

import numpy as np

from ..images.statistics import measured_windows
from .cases import open_pairs, scheme_of
from .specification import DataSpec, read_spec, spatial_dims_of


def image_names(spec, *, spatial_dims=None) -> list[str]:
    """Returns the sorted names of the images of a data set.

    Args:
        spec: A `DataSpec`, or what `read_spec` takes.
        spatial_dims: Number of spatial axes; by default that of the files, else 2.
    """
    return [name for name, _, _ in opened(spec, spatial_dims)[1]]


def foreground_shares(spec, *, spatial_dims=None) -> dict[str, float]:
    """Returns for each image of a data set which share of its pixels shows a class other than the background.

    Large labels are looked at in windows spread over them.

    Args:
        spec: A `DataSpec`, or what `read_spec` takes.
        spatial_dims: Number of spatial axes; by default that of the files, else 2.
    """
    spec, pairs, bands = opened(spec, spatial_dims)
    scheme = scheme_of(spec, pairs, bands)
    first = int(scheme.task == "multiclass")
    shares = {}
    for name, _, label in pairs:
        read, shown, pixels = scheme.reader(label), 0, 0
        for window in measured_windows(label.shape, 1 << 24):
            masks = scheme.masks(read(window))[..., first:].any(axis=-1)
            shown, pixels = shown + np.count_nonzero(masks), pixels + masks.size
        shares[name] = shown / pixels
    return shares


def opened(spec, spatial_dims):
    """Returns the specification and what `open_pairs` does."""
    spec = spec if isinstance(spec, DataSpec) else read_spec(spec)
    return spec, *open_pairs(spec, spatial_dims or spatial_dims_of(spec) or 2, 0)
