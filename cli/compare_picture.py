"""The picture of `compare`: receptive field against cost."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from maskzoo.files import written_atomically


def draw(path: str | Path, rows: Sequence[dict[str, Any]]) -> None:  # JSON values
    """Draws the receptive field against the cost of an input pixel; the area of a dot grows with the parameters.

    Args:
        path: PNG, SVG or PDF to write.
        rows: What `describe` returned for each architecture.
    """
    measured = "forward_seconds" in rows[0]
    fields = [mean_field(row) for row in rows if not row["is_global"]] or [1]
    ticks = [2**power for power in range(int(math.log2(min(fields))), math.ceil(math.log2(max(fields))) + 1)]
    # Models with a global receptive field are drawn in a row above the others.
    top = 2 * ticks[-1]
    points = [(cost(row, measured), top if row["is_global"] else mean_field(row)) for row in rows]
    areas = [20 + row["parameters"] / 1e5 for row in rows]

    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.add_subplot()
    for spatial_dims, color in ((2, "tab:blue"), (3, "tab:orange")):
        chosen = [index for index, row in enumerate(rows) if len(row["input_shape"]) == spatial_dims + 1]
        x, y = zip(*(points[index] for index in chosen), strict=True) if chosen else ([], [])
        axes.scatter(x, y, [areas[index] for index in chosen], color=color, alpha=0.6, label=f"{spatial_dims}D")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_yticks([*ticks, top], [*map(str, ticks), "global"])
    axes.minorticks_off()
    axes.set_xlabel("microseconds per input pixel, forward" if measured else "multiply-adds per input pixel")
    axes.set_ylabel("receptive field in input pixels per axis")
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    legend = axes.legend(title="area: parameters")
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([60])
    radii = [math.sqrt(area) / 2 for area in areas]
    name_points(figure, axes, [row["model"] for row in rows], points, radii)
    with written_atomically(path) as unfinished:
        figure.savefig(unfinished, dpi=150)


def name_points(
    figure: Figure, axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]], radii: Sequence[float]
) -> None:
    """Writes each name beside its point, on the first side where it covers no point and no other name.

    Args:
        figure: The picture.
        axes: Where in it the points are drawn.
        names: A name per point.
        points: Their coordinates.
        radii: The radii of their dots, in typographic points.
    """
    figure.draw_without_rendering()
    sizes = [radius * figure.dpi / 72 for radius in radii]
    dots = [
        Bbox.from_extents(x - size, y - size, x + size, y + size)
        for (x, y), size in zip(axes.transData.transform(points), sizes, strict=True)
    ]
    legend = axes.get_legend()
    taken = dots if legend is None else [legend.get_window_extent(), *dots]
    from_the_top = sorted(zip(names, points, radii, strict=True), key=lambda named: -named[1][1])
    for name, point, radius in from_the_top:
        away = radius + 2
        sides = [
            ((0, away), "center", "bottom"),
            ((0, -away), "center", "top"),
            ((away, 0), "left", "center"),
            ((-away, 0), "right", "center"),
            ((0, away + 10), "center", "bottom"),
            ((0, -away - 10), "center", "top"),
        ]
        for number, (offset, horizontal, vertical) in enumerate(sides, start=1):
            text = axes.annotate(
                name, point, offset, textcoords="offset points", ha=horizontal, va=vertical, fontsize=8
            )
            box = text.get_window_extent()
            if number == len(sides) or not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()


def cost(row: dict[str, Any], measured: bool) -> float:  # JSON values
    """The cost of an input pixel: microseconds if they were measured, else multiply-adds."""
    pixels = math.prod(row["input_shape"][:-1])
    return row["forward_seconds"] * 1e6 / pixels if measured else row["multiply_adds"] / pixels


def mean_field(row: dict[str, Any]) -> float:  # JSON values
    """The geometric mean over the axes of the receptive field."""
    return math.prod(row["receptive_field"]) ** (1 / len(row["receptive_field"]))
