"""The picture of `explain`: an image, where its classes are, and how each level answers to them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from maskzoo.files import written_atomically

from .level_response import MASK, LevelResponses

# Of the colours of heat maps.
SHOWN_DEVIATIONS = 3


def draw_levels(path: str | Path, found: LevelResponses, title: str = "") -> None:
    """Draws a row per class that is there: the image, where the class is, and a heat map per level and of the mask.

    Levels are drawn finest first; that which a side branch would gain most from, if any, has a thick frame. Of a volume
    the slice across the last axis with most of the class is shown.

    Args:
        path: The PNG to write.
        found: What `level_responses` returned.
        title: What stands above.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    shown = [n for n, _ in enumerate(found.class_names) if (found.truth[..., n] & found.known[..., n]).any()]
    absent = [name for n, name in enumerate(found.class_names) if n not in shown]
    rows, columns = max(len(shown), 1), 2 + len(found.maps)
    height, width = found.image.shape[:2]
    side = 2.4 * min(max(height / width, 0.4), 2.5)
    figure = Figure(figsize=(2.4 * columns + 0.8, rows * (0.92 * side + 0.5) + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    colours = {"cmap": "coolwarm", "norm": Normalize(-SHOWN_DEVIATIONS, SHOWN_DEVIATIONS)}
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    for line, number in zip(grid, shown, strict=False):
        name, truth, known = found.class_names[number], found.truth[..., number], found.known[..., number]
        share, best = shown_slice(truth & known), found.best_level(found.class_names[number])
        line[0].imshow(as_colours(flat(found.image, share, 2)), cmap="gray")
        line[0].set_ylabel(name, fontsize=11)
        line[0].set_title("image", fontsize=9)
        # White: the class; grey: pixels that do not count.
        line[1].imshow(flat(np.where(known, truth.astype(float), 0.5), share, 2), cmap="gray", vmin=0, vmax=1)
        line[1].set_title(f"{name}, by the {'label' if found.by_label else 'prediction'}", fontsize=9)
        for axes, (level, maps) in zip(line[2:], found.maps.items(), strict=True):
            axes.imshow(flat(maps[..., number], share, 2), **colours)
            axes.set_title(f"{_what(found, level)}\n{_numbers(found, level, name)}", fontsize=8)
            if best is not None and level == best.level and (found.adds_to_mask(best) or not found.by_label):
                for spine in axes.spines.values():
                    spine.set_linewidth(3)
    if absent:
        figure.supxlabel(f"not in this part of the image: {', '.join(absent)}", fontsize=9)
    figure.suptitle(title, fontsize=11)
    bar = figure.colorbar(ScalarMappable(**colours), ax=grid, shrink=min(1.0, 2.5 / rows), extend="both", aspect=30)
    bar.set_label("answer, in standard deviations:\nred: as in the class, blue: as outside", fontsize=9)
    with written_atomically(path) as unfinished:
        figure.savefig(unfinished, dpi=110, format="png")


def _what(found: LevelResponses, level: str) -> str:
    return "mask (logits)" if level == MASK else f"stride {found.levels[level]}: {level}"


def _numbers(found: LevelResponses, level: str, name: str) -> str:
    response = found.response(level, name)
    if math.isnan(response.separation):
        return "too little of it to be measured"
    together = "" if level == MASK or math.isnan(response.with_mask) else f", with mask {response.with_mask:.3f}"
    return f"separation {response.separation:.3f}{together}"


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
