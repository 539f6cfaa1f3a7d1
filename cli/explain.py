"""Shows which level of a trained run's decoder answers to which class: in numbers and as heat maps.

For every level of the decoder, finest first, and every class: how strongly the level's features answer inside and
outside the class, in standard deviations, and how well they separate it: the probability that an element of the class
answers more strongly than one of the rest (0.5: not at all, 1: perfectly). Where the class is, --label says, or else
the run's own prediction. Looked at is the middle of the image, at most --size pixels along each axis.

A class that another level than the finest separates best may gain from a side branch there: branch2_unet.

examples:
  maskzoo explain runs/membrane images/3.tif --label labels/3.tif
      a table, and the heat maps in 3-levels.png
  maskzoo explain runs/camvid images/1.png --output levels.png --json
      the numbers as JSON, by the run's own prediction
"""

from __future__ import annotations

import json
import logging
import math
from argparse import Namespace
from pathlib import Path

from maskzoo.errors import MissingFile, OptionError
from maskzoo.files import check_no_input

from .. import data, evaluation, inference
from .backend import load_keras
from .parser import Parser
from .tables import text_table

logger = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Adds the options of `explain`."""
    parser.add_argument("run", type=str, help="run folder that train wrote, or RUN:last for its last epoch")
    parser.add_argument("image", type=str, help="image to look at")
    parser.add_argument(
        "--label", type=str | None, default=None, help="its label, as the run's data set has them; else the prediction"
    )
    parser.add_argument(
        "--output", type=str | None, default=None, help="picture to write (.png); by default IMAGE-levels.png, here"
    )
    parser.add_argument("--size", type=int, default=512, help="most pixels along each axis that are looked at")
    parser.add_flag("--json", help="print JSON")


def run(arguments: Namespace) -> None:
    """Runs `explain`."""
    if arguments.size < 1:
        raise OptionError("size", "at least 1 pixel", arguments.size)
    folder = inference.check_run(arguments.run)
    picture = Path(arguments.output or f"{Path(arguments.image).stem}-levels.png")
    if picture.suffix.lower() != ".png":
        raise OptionError("output", "a .png file", str(picture))
    given = [Path(path) for path in (arguments.image, arguments.label) if path is not None]
    for path in given:
        if not path.exists():
            raise MissingFile(path, "an image to look at, or its label", "no such file")
    check_no_input([picture], [*given, *inference.files_behind_runs([folder])])
    data.check_writable(picture)
    load_keras()
    trained = inference.read_run(folder)
    spatial_dims = trained.data.spatial_dims
    label = None if arguments.label is None else data.open_source(arguments.label, spatial_dims=spatial_dims)
    with data.open_source(arguments.image, spatial_dims=spatial_dims) as source:
        found = evaluation.level_responses(trained, source, label, size=arguments.size)
    evaluation.draw_levels(picture, found)
    if arguments.json:
        print(json.dumps([response.as_mapping() for response in found.responses], indent=2))
    else:
        titles = ["level", "stride", "class", "inside", "outside", "separation", "elements"]
        rows = [
            [r.level, str(r.stride), r.class_name, *map(number, (r.inside, r.outside, r.separation)), str(r.elements)]
            for r in found.responses
        ]
        print(text_table([titles, *rows], left=(0, 2)))
        for name in found.class_names:
            best = found.best_level(name)
            print(
                f"{name}: "
                + ("not in this part of the image" if best is None else f"best at {best.level}, stride {best.stride}")
            )
    logger.info("wrote %s", picture)


def number(value: float) -> str:
    """A number with two digits after the point, `-` where there is none."""
    return "-" if math.isnan(value) else f"{value:.2f}"
