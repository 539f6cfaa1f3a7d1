"""Compares architectures: parameters, multiply-adds, receptive field, allowed sizes, halo, memory and speed.

examples:
  maskzoo compare
      every architecture at its usual input: 256 x 256 pixels, or 64 x 64 x 64 voxels, one channel
  maskzoo compare unet unet_padded --input-shape 512,512,3
      two of them at another input; a size that a model does not accept is rounded up to the next one that it does
  maskzoo compare --measure --csv zoo.csv --plot zoo.png
      also times a forward pass and a training step; writes a file and a picture
"""

import dataclasses
import gc
import json
import logging
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from maskzoo.errors import OptionError
from maskzoo.files import check_no_input

from .. import data
from .backend import load_keras
from .parser import Parser
from .sizes import parse_shape
from .tables import check_csv, text_table, write_csv

logger = logging.getLogger(__name__)

DEFAULT_SHAPES = {2: (256, 256, 1), 3: (64, 64, 64, 1)}
REPETITIONS = 5
PICTURES = (".png", ".svg", ".pdf")


def add_arguments(parser: Parser) -> None:
    """Adds the options of `compare`."""
    parser.add_argument("models", type=str, nargs="*", help="names of architectures; all of them by default")
    parser.add_argument(
        "--input-shape",
        type=str | None,
        default=None,
        help="spatial sizes and channels, such as 512,512,3 or 64,64,32,1; without names, for the architectures with "
        "as many axes",
    )
    parser.add_flag("--summary", help="print the layers of every model first")
    parser.add_flag("--json", help="print JSON, which holds more than the table")
    parser.add_argument("--csv", type=str | None, default=None, help="also write the numbers to this file")
    parser.add_flag(
        "--measure",
        help=f"time a forward pass and a training step on one image: median of {REPETITIONS} after one to warm up",
    )
    parser.add_argument(
        "--plot", type=str | None, default=None, help="draw cost against receptive field into this file (.png, .svg)"
    )


def run(arguments: Namespace) -> None:
    """Runs `compare`."""
    shape = parse_shape(arguments.input_shape)
    if arguments.plot and Path(arguments.plot).suffix not in PICTURES:
        raise OptionError("plot", f"a file that ends in {', '.join(PICTURES)}", arguments.plot)
    if arguments.csv and arguments.plot:
        check_no_input([arguments.plot], [arguments.csv])
    if arguments.csv:
        check_csv(arguments.csv)
    if arguments.plot:
        data.check_writable(arguments.plot)

    # Imported late: a wrong option must not wait for Keras.
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
        raise OptionError("input_shape", "a shape that a model accepts", "; ".join(refused))
    if arguments.csv:
        write_csv(arguments.csv, [csv_row(row) for row in rows])
    if arguments.plot:
        from .compare_picture import draw

        draw(arguments.plot, rows)
    print(json.dumps(rows, indent=2) if arguments.json else table(rows))
    for line in refused:
        logger.warning(line)


def shape_for(spatial_dims: int, asked: tuple[int, ...] | None, named: bool) -> tuple[int, ...]:
    """The input shape to compare an architecture at: `asked` if the architecture was named or has as many axes."""
    return asked if asked and (named or len(asked) == spatial_dims + 1) else DEFAULT_SHAPES[spatial_dims]


def describe(name: str, input_shape: tuple[int, ...], arguments: Namespace) -> dict[str, Any]:  # JSON values
    """Everything known about an architecture at an input shape, as values that JSON can hold."""
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
    # A model refers to itself: without this the weights of the whole zoo accumulate.
    del model
    gc.collect()
    return row


def measure(model: Any, input_shape: tuple[int, ...]) -> dict[str, Any]:  # a Keras model, imported late; JSON values
    """The seconds of a forward pass and of a training step on one image."""
    import keras
    import numpy as np

    image = np.random.default_rng(0).random((1, *input_shape), "float32")
    images = keras.tree.map_structure(lambda _: image, model.input)
    outputs = model.predict_on_batch(images)
    targets = keras.tree.map_structure(np.zeros_like, outputs)
    # The choice of loss hardly affects the time; this one accepts the outputs of every architecture.
    model.compile("sgd", keras.tree.map_structure(lambda _: "mean_squared_error", outputs))
    return {
        "device": keras.distribution.list_devices()[0],
        "forward_seconds": median_seconds(lambda: model.predict_on_batch(images)),
        "training_step_seconds": median_seconds(lambda: model.train_on_batch(images, targets)),
    }


def median_seconds(work: Callable[[], object]) -> float:
    """The median time of several runs, after one that compiles."""
    work()
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table(rows: list[dict[str, Any]]) -> str:  # JSON values
    """The rows as aligned text; a column has one number for all axes if they are equal."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "model": lambda row: row["model"],
        "input": lambda row: "x".join(map(str, row["input_shape"])),
        "parameters": lambda row: f"{row['parameters']:,}",
        "trainable": lambda row: f"{row['trainable_parameters']:,}",
        "mult-adds": lambda row: f"{row['multiply_adds'] / 1e9:.2f} G",
        "field": lambda row: "all" if row["is_global"] else per_axis(row["receptive_field"], "x"),
        "stride": lambda row: per_axis(row["stride"], "x"),
        "halo": lambda row: "none" if row["is_global"] else per_axis([max(ends) for ends in row["tile_halo"]], "x"),
        "sizes": lambda row: per_axis([size_rule(**rule) for rule in row["allowed_sizes"]], ", "),
        "predict": lambda row: megabytes(row["peak_activation_bytes"]),
        "train": lambda row: megabytes(row["training_activation_bytes"]),
    }
    notes = [
        "field: receptive field, the input pixels per axis that one output pixel depends on",
        "halo: input pixels that a tile needs around it; sizes: allowed input sizes, 16k means multiples of 16",
        "predict, train: least memory for the activations of one image",
    ]
    if "forward_seconds" in rows[0]:
        columns["forward"] = lambda row: f"{row['forward_seconds']:.3f} s"
        columns["step"] = lambda row: f"{row['training_step_seconds']:.3f} s"
        notes.append(f"forward, step: one image through the model, and one training step, on {rows[0]['device']}")
    cells = [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    return "\n".join([text_table(cells, left=(0, 1, 8)), "", *notes])


def per_axis(values: Sequence[object], separator: str) -> str:
    """Values of the axes in few letters: one where all are equal."""
    return str(values[0]) if len(set(values)) == 1 else separator.join(map(str, values))


def size_rule(multiple: int, remainder: int, minimum: int) -> str:
    """An allowed size in few letters: `16k`, `16k+12 >= 188`, `any`."""
    rule = f"{multiple}k+{remainder}" if remainder else f"{multiple}k" if multiple > 1 else "any"
    return rule if minimum <= multiple else f"{rule} >= {minimum}"


def megabytes(count: int) -> str:
    """A number of bytes in MB."""
    return f"{count / 2**20:.0f} MB"


def csv_row(row: dict[str, Any]) -> dict[str, Any]:  # JSON values
    """A row whose lists are JSON."""
    return {key: json.dumps(value) if isinstance(value, list | tuple) else value for key, value in row.items()}
