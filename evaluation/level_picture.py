"""The picture of `explain`: an image, where its classes are, and how each level answers to them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from maskzoo.files import written_atomically

from .level_response import LevelResponses


def draw_levels(path: str | Path, found: LevelResponses) -> None:
    """Draws a row per class: the image, where the class is, and a heat map per level, finest first.

    Of a volume the slice across the last axis with most of the class is shown.

    Args:
        path: The PNG to write.
        found: What `level_responses` returned.
    """
    from matplotlib.figure import Figure

    rows, columns = len(found.class_names), 2 + len(found.maps)
    figure = Figure(figsize=(2.4 * columns, 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    separations = {(r.level, r.class_name): r.separation for r in found.responses}
    for number, name in enumerate(found.class_names):
        truth = found.truth[..., number]
        share = shown_slice(truth)
        for axes in grid[number]:
            axes.set_xticks([])
            axes.set_yticks([])
        grid[number][0].imshow(as_colours(flat(found.image, share, 2)), cmap="gray")
        grid[number][0].set_ylabel(name)
        grid[number][1].imshow(flat(truth, share, 2), cmap="gray", vmin=0, vmax=1)
        grid[number][1].set_title("class" if not number else "", fontsize=9)
        for axes, (level, maps) in zip(grid[number][2:], found.maps.items(), strict=True):
            axes.imshow(flat(maps[..., number], share, 2), cmap="coolwarm", vmin=-3, vmax=3)
            separation = separations[level, name]
            shown = "-" if math.isnan(separation) else f"{separation:.2f}"
            axes.set_title(f"{level}\nstride {found.levels[level]}: {shown}", fontsize=8)
    with written_atomically(path) as unfinished:
        figure.savefig(unfinished, dpi=110, format="png")


def shown_slice(truth: np.ndarray) -> float:
    """Returns which slice of a volume shows most of a class, as a share of their number."""
    if truth.ndim < 3:
        return 0.0
    return (int(truth.sum((0, 1)).argmax()) + 0.5) / truth.shape[2]


def flat(array: np.ndarray, share: float, spatial_dims: int) -> np.ndarray:
    """Returns a plane of an array: of a volume `(height, width, slices, ...)` the slice at a share of their number."""
    is_volume = array.ndim > spatial_dims and array.shape[2:3] and share > 0
    return array[:, :, min(int(share * array.shape[2]), array.shape[2] - 1)] if is_volume else array


def as_colours(image: np.ndarray) -> np.ndarray:
    """Returns an image `(height, width, channels)` between 0 and 1, by its percentiles, in three colours or one."""
    shown = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    low, high = np.percentile(shown, (1, 99))
    return np.clip((shown - low) / max(high - low, 1e-9), 0, 1)
