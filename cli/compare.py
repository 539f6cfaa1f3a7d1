"""Compares architectures: parameters, multiply-adds, what a pixel sees, allowed sizes, halo, memory and speed.

examples:
  maskzoo compare
      every architecture at its usual input: 256 x 256 pixels, or 64 x 64 x 64 voxels, one channel
  maskzoo compare unet unet_padded --input-shape 512,512,3
      two of them at another input; a size that a model cannot take is raised to the next one that it can
  maskzoo compare --measure --csv zoo.csv --plot zoo.png
      with the seconds of a forward pass and of a training step, as a file and as a picture
"""

import csv
import dataclasses
import gc
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path

from . import load_keras

DEFAULT_SHAPES = {2: (256, 256, 1), 3: (64, 64, 64, 1)}
REPETITIONS = 5
PICTURES = (".png", ".svg", ".pdf")


def add_arguments(parser):
    parser.add_argument("models", type=str, nargs="*", help="names of architectures; by default all of them")
    parser.add_argument(
        "--input-shape",
        type=str | None,
        default=None,
        help="spatial sizes and channels, such as 512,512,3 or 64,64,32,1; without names, for the architectures with "
        "as many axes",
    )
    parser.add_argument("--summary", action="store_true", default=False, help="print every model's layers first")
    parser.add_argument("--json", action="store_true", default=False, help="print JSON, with more of what is known")
    parser.add_argument("--csv", type=str | None, default=None, help="also write the numbers to this file")
    parser.add_argument(
        "--measure",
        action="store_true",
        default=False,
        help=f"time a forward pass and a training step on one image: the median of {REPETITIONS} after a first one",
    )
    parser.add_argument(
        "--plot", type=str | None, default=None, help="draw cost against what a pixel sees into this file (.png, .svg)"
    )


def run(arguments):
    shape = parse_shape(arguments.input_shape)
    for option, path, suffixes in (("--csv", arguments.csv, None), ("--plot", arguments.plot, PICTURES)):
        check_output(option, path, suffixes)

    # Imported here: a wrong option must not wait for Keras.
    load_keras()
    from tqdm import tqdm

    from .. import models

    names = arguments.models or models.list_models()
    shapes = {name: shape_for(models.spatial_dims_of(name), shape, named=bool(arguments.models)) for name in names}
    rows, refused = [], []
    for name, input_shape in tqdm(shapes.items(), disable=None, leave=False):
        try:
            rows.append(describe(name, input_shape, arguments))
        except ValueError as error:
            if arguments.models:
                raise
            refused.append(f"{name} left out: {error}")
    if not rows:
        raise ValueError("; ".join(refused))
    if arguments.csv:
        write_whole(arguments.csv, lambda path: write_csv(path, rows))
    if arguments.plot:
        write_whole(arguments.plot, lambda path: draw(path, rows))
    print(json.dumps(rows, indent=2) if arguments.json else table(rows))
    for line in refused:
        print(line, file=sys.stderr)


def parse_shape(text):
    """The shape behind `512,512,3` (also `512x512x3`, `[512, 512, 3]`), or `None`."""
    if text is None:
        return None
    parts = text.strip("[]() ").lower().replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts) or len(parts) - 1 not in DEFAULT_SHAPES:
        raise ValueError(f"--input-shape: expected sizes and channels such as 256,256,1 or 64,64,64,1; received {text}")
    return tuple(map(int, parts))


def check_output(option, path, suffixes):
    """Refuses a file that cannot be written, before the work is done."""
    if path is None:
        return
    if suffixes and Path(path).suffix not in suffixes:
        raise ValueError(f"{option}: expected a file that ends in {', '.join(suffixes)}; received {path}")
    folder = Path(path).absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise FileNotFoundError(f"{option}: expected a file in a folder that can be written; received {path}")


def shape_for(spatial_dims, asked, named):
    """The input shape to compare an architecture at: the asked one if it was named or has as many axes."""
    return asked if asked and (named or len(asked) == spatial_dims + 1) else DEFAULT_SHAPES[spatial_dims]


def describe(name, input_shape, arguments):
    """Everything that is known of an architecture at an input shape, as a JSON-able dict."""
    from .. import models
    from ..models import analysis

    channels = input_shape[-1]
    model = models.build_model(name, (*[None] * (len(input_shape) - 1), channels))
    if arguments.summary:
        stream = sys.stderr if arguments.json else sys.stdout
        model.summary(print_fn=lambda line, **_: print(line, file=stream))
    size = analysis.nearest_size(model, input_shape[:-1])
    input_shape = (*size, channels)
    geometry = analysis.geometry(model)
    total, trainable = analysis.parameters(model)
    row = {
        "model": name,
        "input_shape": input_shape,
        "parameters": total,
        "trainable_parameters": trainable,
        "multiply_adds": analysis.multiply_adds(model, input_shape),
        "receptive_field": geometry.receptive_field,
        "is_global": geometry.is_global,
        "global_layers": geometry.global_layers,
        "stride": geometry.stride,
        "allowed_sizes": [dataclasses.asdict(rule) for rule in geometry.rules],
        "halo": geometry.halo,
        "tile_halo": geometry.tile_halo,
        "crop": geometry.crop,
        "peak_activation_bytes": analysis.peak_activation_bytes(model, input_shape),
        "training_activation_bytes": analysis.training_activation_bytes(model, input_shape),
    }
    if arguments.measure:
        row |= measure(model, input_shape)
    # A model refers to itself: without this the weights of the whole zoo pile up.
    del model
    gc.collect()
    return row


def measure(model, input_shape):
    """The seconds of a forward pass and of a training step on one image."""
    import keras
    import numpy as np

    image = np.random.default_rng(0).random((1, *input_shape), "float32")
    images = keras.tree.map_structure(lambda _: image, model.input)
    outputs = model.predict_on_batch(images)
    targets = keras.tree.map_structure(np.zeros_like, outputs)
    # What the loss is hardly matters for the time; this one takes the outputs of every architecture.
    model.compile("sgd", keras.tree.map_structure(lambda _: "mean_squared_error", outputs))
    return {
        "device": keras.distribution.list_devices()[0],
        "forward_seconds": median_seconds(lambda: model.predict_on_batch(images)),
        "training_step_seconds": median_seconds(lambda: model.train_on_batch(images, targets)),
    }


def median_seconds(work):
    """The median time of several runs, after one that compiles."""
    work()
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table(rows):
    """The rows as aligned text; a column says one number for all axes if they are equal."""
    columns = {
        "model": lambda row: row["model"],
        "input": lambda row: "x".join(map(str, row["input_shape"])),
        "parameters": lambda row: f"{row['parameters']:,}",
        "trainable": lambda row: f"{row['trainable_parameters']:,}",
        "mult-adds": lambda row: f"{row['multiply_adds'] / 1e9:.2f} G",
        "sees": lambda row: "all" if row["is_global"] else per_axis(row["receptive_field"], "x"),
        "stride": lambda row: per_axis(row["stride"], "x"),
        "halo": lambda row: "none" if row["is_global"] else per_axis([max(ends) for ends in row["tile_halo"]], "x"),
        "sizes": lambda row: per_axis([size_rule(**rule) for rule in row["allowed_sizes"]], ", "),
        "predict": lambda row: megabytes(row["peak_activation_bytes"]),
        "train": lambda row: megabytes(row["training_activation_bytes"]),
    }
    notes = [
        "sees, halo: input pixels along an axis that one output pixel sees, and that a tile needs around it",
        "predict, train: least memory for the activations of one image",
    ]
    if "forward_seconds" in rows[0]:
        columns["forward"] = lambda row: f"{row['forward_seconds']:.3f} s"
        columns["step"] = lambda row: f"{row['training_step_seconds']:.3f} s"
        notes.append(f"forward, step: one image through the model, and one training step, on {rows[0]['device']}")
    cells = [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if title in ("model", "input", "sizes") else text.rjust(width)
            for title, text, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([*lines, "", *notes])


def per_axis(values, separator):
    return str(values[0]) if len(set(values)) == 1 else separator.join(map(str, values))


def size_rule(multiple, remainder, minimum):
    """An allowed size in few letters: `16k`, `16k+12 >= 188`, `any`."""
    rule = f"{multiple}k+{remainder}" if remainder else f"{multiple}k" if multiple > 1 else "any"
    return rule if minimum <= multiple else f"{rule} >= {minimum}"


def megabytes(count):
    return f"{count / 2**20:.0f} MB"


def write_whole(path, write):
    """Lets `write` fill a temporary file beside `path` that takes its place when it is complete."""
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            writer.writerow({key: json.dumps(v) if isinstance(v, list | tuple) else v for key, v in row.items()})


def draw(path, rows):
    """Draws what a pixel sees against the cost of an input pixel; the area of a dot grows with the parameters."""
    from matplotlib.figure import Figure

    measured = "forward_seconds" in rows[0]
    seen = [sight(row) for row in rows if not row["is_global"]] or [1]
    ticks = [2**power for power in range(int(math.log2(min(seen))), math.ceil(math.log2(max(seen))) + 1)]
    # Models that see everything stand in a row of their own, above the others.
    everything = 2 * ticks[-1]
    points = [(cost(row, measured), everything if row["is_global"] else sight(row)) for row in rows]
    areas = [20 + row["parameters"] / 1e5 for row in rows]

    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.add_subplot()
    for spatial_dims, color in ((2, "tab:blue"), (3, "tab:orange")):
        chosen = [index for index, row in enumerate(rows) if len(row["input_shape"]) == spatial_dims + 1]
        x, y = zip(*(points[index] for index in chosen), strict=True) if chosen else ([], [])
        axes.scatter(x, y, [areas[index] for index in chosen], color=color, alpha=0.6, label=f"{spatial_dims}D")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_yticks([*ticks, everything], [*map(str, ticks), "everything"])
    axes.minorticks_off()
    axes.set_xlabel("microseconds per input pixel, forward" if measured else "multiply-adds per input pixel")
    axes.set_ylabel("input pixels that one output pixel sees along an axis")
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    for handle in axes.legend(title="area: parameters").legend_handles:
        handle.set_sizes([60])
    name_points(axes, [row["model"] for row in rows], points, [math.sqrt(area) / 2 for area in areas])
    figure.savefig(path, dpi=150)


def name_points(axes, names, points, radii):
    """Writes each name beside its point, on the first side where it covers no point and no other name."""
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()
    sizes = [radius * axes.figure.dpi / 72 for radius in radii]
    dots = [
        Bbox.from_extents(x - size, y - size, x + size, y + size)
        for (x, y), size in zip(axes.transData.transform(points), sizes, strict=True)
    ]
    taken = [axes.get_legend().get_window_extent(), *dots]
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
        for offset, horizontal, vertical in sides:
            text = axes.annotate(
                name, point, offset, textcoords="offset points", ha=horizontal, va=vertical, fontsize=8
            )
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            if offset != sides[-1][0]:
                text.remove()
        taken.append(box)


def cost(row, measured):
    pixels = math.prod(row["input_shape"][:-1])
    return row["forward_seconds"] * 1e6 / pixels if measured else row["multiply_adds"] / pixels


def sight(row):
    """The geometric mean over the axes of what a pixel sees."""
    return math.prod(row["receptive_field"]) ** (1 / len(row["receptive_field"]))
