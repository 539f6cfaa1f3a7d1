"""A picture of the score at every threshold."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import data
from .thresholds import STEPS
from .tuning import SearchResult


def draw_curves(path: Path, results: Mapping[str, SearchResult], class_names: Sequence[str]) -> None:
    """Draws the score of every threshold, with 0.5 and the chosen ones marked: a panel for each model and group.

    Args:
        path: PNG to write; it appears when it is complete.
        results: What was found, by name.
        class_names: Names of the scored classes.
    """
    from matplotlib.figure import Figure

    panels = [
        (f"{name}, {group}" if group else name, curves, thresholds_of(result, group), result.decision.metric or "")
        for name, result in results.items()
        for group, curves in result.curves.items()
    ]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    steps = np.arange(1, STEPS) / STEPS
    for axis, (title, curves, thresholds, metric) in zip(axes, panels, strict=False):
        axis.axvline(0.5, color="0.6", linestyle="--", linewidth=1, label="0.5")
        for number, (name, curve, threshold) in enumerate(zip(class_names, curves, thresholds, strict=True)):
            color = f"C{number}"
            best, half = curve[round(threshold * STEPS) - 1], curve[STEPS // 2 - 1]
            axis.plot(steps, curve, color=color, label=f"{name}: {threshold:.3f}, {best:.4f} ({best - half:+.4f})")
            axis.plot(threshold, best, "o", color=color)
            axis.plot(0.5, half, "o", color=color, fillstyle="none")
        axis.set(title=title, xlabel="threshold", ylabel=metric.replace("_", " "))
        # The interesting part of a curve is its top.
        top = max(curve.max() for curve in curves)
        axis.set_ylim(top - 0.25, top + 0.02)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower center")
    for axis in list(figure.axes)[len(panels) :]:
        axis.set_axis_off()
    data.save_figure(figure, path)


def thresholds_of(result: SearchResult, group: str) -> tuple[float, ...]:
    """The thresholds of a group of images, or of all images where there are no groups."""
    groups = result.decision.groups
    return result.decision.thresholds if groups is None else groups.thresholds[group]
