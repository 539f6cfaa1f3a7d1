"""The whole of an image, small: to see where the tissue is without reading every pixel of a slide into memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..windows import Window, window_grid
from .source import Source

LARGEST_SIDE = {2: 1024, 3: 96}


def overview(source: Source) -> tuple[np.ndarray, int]:
    """Returns an image thinned to at most `LARGEST_SIDE` pixels per axis, and by how much it was thinned.

    Pixel `i` of the overview stands for the pixels from `i * step` on. The overviews that a TIFF holds are used.

    Returns:
        `(image, step)`, the image `(*spatial, channels)`.
    """
    step = -(-max(source.shape) // LARGEST_SIDE[len(source.shape)])
    thinned = tuple(-(-length // step) for length in source.shape)
    if step > 1 and (array := source.thumbnail(thinned)) is not None:
        return array, step
    array = np.empty((*thinned, source.channels), source.dtype)
    # Blocks that start at a multiple of the step.
    for window in window_grid(source.shape, [step * max(1, 1024 // step)] * len(source.shape)):
        part = source.read(window)[tuple(slice(None, None, step) for _ in source.shape)]
        first = [start // step for start in window.offset]
        array[tuple(slice(start, start + n) for start, n in zip(first, part.shape[:-1], strict=True))] = part
    return array, step


def tissue(image: np.ndarray) -> np.ndarray:
    """Says where an image shows something: where it is colourful, or grey that its border is not.

    Colours (RGB) are told apart by their range, anything else by its mean over the channels, at Otsu's threshold. Of
    grey values, tissue is the side of the threshold on which less of the border lies. An image without contrast is
    tissue everywhere.

    Args:
        image: Array `(*spatial, channels)`.

    Returns:
        Boolean array `(*spatial)`.
    """
    from skimage.filters import threshold_otsu

    values = image.astype(np.float32)
    colored = image.shape[-1] == 3
    values = np.ptp(values, axis=-1) if colored else values.mean(axis=-1)
    if values.min() == values.max():
        return np.ones(values.shape, bool)
    # The threshold is the middle of one of 256 bins, all of which belongs to the darker side.
    above = values > threshold_otsu(values) + np.ptp(values) / 512
    if not colored:
        border = np.ones(values.shape, bool)
        border[tuple(slice(1, -1) for _ in values.shape)] = False
        above ^= above[border].mean() > 0.5
    return above


def tissue_finder(source: Source, margin: int = 32) -> Callable[[Window], bool]:
    """Returns a function that says whether a window, which may reach outside the image, shows tissue.

    Args:
        source: An open image.
        margin: Pixels around tissue that count as tissue.
    """
    image, step = overview(source)
    reach = 1 + margin // step
    counts = np.pad(tissue(image).astype(np.int64), [(1, 0)] * len(source.shape))
    for axis in range(counts.ndim):
        counts = counts.cumsum(axis)

    def shows_tissue(window: Window) -> bool:
        count = counts
        for start, stop, length in zip(window.offset, window.stop, counts.shape, strict=True):
            first, last = np.clip([start // step - reach, -(-stop // step) + reach], 0, length - 1)
            count = count[last] - count[first]
        return bool(count)

    return shows_tissue
