"""Windows at coarser scales: enlarged where they are read, then reduced to their own size."""

from __future__ import annotations

import itertools

import numpy as np

from ..windows import Window


def enlarge(window: Window, factor: int) -> Window:
    """Returns a window `factor` times as large around the same centre."""
    if factor == 1:
        return window
    start = tuple(s - (n * factor - n) // 2 for s, n in zip(window.offset, window.size, strict=True))
    return Window(start, tuple(n * factor for n in window.size))


def shrink_image(image: np.ndarray, factor: int) -> np.ndarray:
    """Returns an image `(*spatial, channels)` whose pixels are the means of `factor` pixels along each axis."""
    if factor == 1:
        return image
    total = np.float32(0)
    for place in itertools.product(range(factor), repeat=image.ndim - 1):
        total = total + image[tuple(slice(start, None, factor) for start in place)].astype(np.float32)
    mean = total / np.float32(factor ** (image.ndim - 1))
    return (np.rint(mean) if image.dtype.kind in "iu" else mean).astype(image.dtype)


def shrink_label(label: np.ndarray, factor: int, spatial_dims: int) -> np.ndarray:
    """Returns every `factor`-th pixel, the middle one, along each of the first `spatial_dims` axes."""
    return label if factor == 1 else label[(slice(factor // 2, None, factor),) * spatial_dims]
