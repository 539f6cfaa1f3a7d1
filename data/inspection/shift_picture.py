"""A picture of how two sets of images differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..palette import hex_color
from .features import feature_names
from .pictures import flat_view, save_figure
from .shift import Shift

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure


def save_shift(path: str | Path, shift: Shift, names: Sequence[str]) -> None:
    """Writes a picture: how well the sets are told apart, what differs most, and the windows most typical of each.

    Args:
        path: The PNG to write; it appears under its name only when complete.
        shift: What `compare_images` returned.
        names: Names of the two sets.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.3))[:, 0]
    draw_histograms(upper, shift, names)
    samples = [shift.windows(second) for second in (False, True)]
    columns = max(map(len, samples))
    for row, name, windows in zip(lower.subfigures(2, 1, squeeze=False)[:, 0], names, samples, strict=True):
        row.suptitle(f"most like {name}", fontsize=9)
        for axis, window in zip(row.subplots(1, columns, squeeze=False)[0], windows, strict=False):
            axis.imshow(flat_view(window, {})[0], interpolation="nearest")
        for axis in row.axes:
            axis.set_axis_off()
    save_figure(figure, path)


def draw_histograms(figure: SubFigure, shift: Shift, names: Sequence[str]) -> None:
    """Draws how the classifier's score and the two features that differ most are distributed in both sets."""
    known = feature_names(shift.places[0][0].channels)
    panels = [("the classifier's score", shift.scores)]
    panels += [(row["name"], shift.features[:, known.index(row["name"])]) for row in shift.report["features"][:2]]
    axes = figure.subplots(1, 3)
    for axis, (title, values) in zip(axes, panels, strict=True):
        low, high = np.percentile(values, (0.5, 99.5))
        edges = np.linspace(low, high, 31) if np.ptp(values) else 10
        for which, name in enumerate(names):
            some = values[shift.second == bool(which)]
            weights = np.full(len(some), 1 / len(some))
            axis.hist(some, edges, weights=weights, alpha=0.6, color=hex_color(which), label=name)
        axis.set_title(title, fontsize=10)
        axis.set_ylabel("fraction of windows", fontsize=8)
        axis.tick_params(labelsize=8)
    low, high = shift.report["interval"]
    figure.suptitle(f"AUC {shift.report['auc']:.3f} ({low:.3f} to {high:.3f})", fontsize=11)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
