"""Images at coarser scales: the same number of pixels shows more, the average of what lies under each."""

from __future__ import annotations

import itertools

import numpy as np

from ..windows import Window


def shrink_factors(scales) -> list[int]:
    """Returns by how much each of some scales shrinks an image: 2 for 0.5; 1 alone for None.

    Raises:
        ValueError: Where a scale is not 1 divided by a whole number.
    """
    factors = []
    for scale in [1] if scales is None else scales:
        factor = round(1 / scale) if isinstance(scale, int | float) and 0 < scale <= 1 else 0
        # 0.33 means a third.
        if not factor or abs(factor * scale - 1) > 0.02:
            raise ValueError(f"scales: expected 1 divided by whole numbers, such as 1, 0.5, 0.25; received {scales}")
        factors.append(factor)
    if not factors:
        raise ValueError("scales: expected at least one, such as 1, 0.5, 0.25; received none")
    return factors


def enlarged(window, times) -> Window:
    """Returns a window `times` as large about the same middle."""
    if times == 1:
        return window
    start = [s - (n * times - n) // 2 for s, n in zip(window.offset, window.size, strict=True)]
    return Window(start, [n * times for n in window.size])


def shrunk(image, times):
    """Returns an image `(*spatial, channels)` whose pixels are the means of `times` pixels along each axis."""
    if times == 1:
        return image
    total = 0
    for place in itertools.product(range(times), repeat=image.ndim - 1):
        total = total + image[tuple(slice(start, None, times) for start in place)].astype(np.float32)
    mean = total / np.float32(times ** (image.ndim - 1))
    return (np.rint(mean) if image.dtype.kind in "iu" else mean).astype(image.dtype)


def shrunk_labels(labels, times, spatial_dims):
    """Returns labels with every `times`th pixel along each of `spatial_dims` spatial axes, the middle one."""
    return labels if times == 1 else labels[(slice(times // 2, None, times),) * spatial_dims]
