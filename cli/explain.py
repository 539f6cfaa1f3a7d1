"""Shows which level of a trained run's decoder answers to which class: in numbers and as heat maps.

For every level of the decoder, finest first, for the mask itself and for every class: how strongly it answers inside
and outside the class, in standard deviations, and how well that separates the class: the probability that a pixel of
the class answers more strongly than one of the rest (0.5: not at all, 1: perfectly). "separation" is measured on the
half of the image that nothing was fitted on, "fitted" where everything was; if "fitted" is much higher, the image is
too small to tell. "with mask" is the separation of mask and level together: by as much as it is above that of the mask
alone, a side branch (branch2_unet) at this level may gain. Where the class is, --label says, or else the run's own
prediction, which cannot say what is to be gained. Looked at is the middle of the image, at most --size pixels along
each axis.

examples:
  maskzoo explain runs/membrane images/3.tif --label labels/3.tif
      a table, the level to try a side branch at, and the heat maps in 3-levels.png
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
    parser.add_argument("--seed", type=int, default=0, help="seed of the halves that are fitted on and measured on")
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
    described = trained.data
    with data.open_as_trained(arguments.image, described.spec, described.spatial_dims) as source:
        given = arguments.label
        label = None if given is None else data.open_label_as_trained(given, source, described.spec)
        found = evaluation.level_responses(trained, source, label, size=arguments.size, seed=arguments.seed)
    evaluation.draw_levels(picture, found, f"How the levels of {folder.name} answer to {Path(arguments.image).name}")
    if arguments.json:
        print(json.dumps([response.as_mapping() for response in found.responses], indent=2))
    else:
        titles = ["level", "stride", "class", "inside", "outside", "separation", "fitted", "with mask", "elements"]
        rows = [
            [
                r.level,
                str(r.stride),
                r.class_name,
                *(number(value, 2) for value in (r.inside, r.outside)),
                *(number(value, 3) for value in (r.separation, r.fitted, r.with_mask)),
                str(r.elements),
            ]
            for name in found.class_names
            for r in found.responses
            if r.class_name == name
        ]
        print(text_table([titles, *rows], left=(0, 2)))
        for name in found.class_names:
            print(f"{name}: {advice(found, name)}")
    logger.info("wrote %s", picture)


def advice(found: evaluation.LevelResponses, class_name: str) -> str:
    """Says which level answers best to a class, and whether a side branch there may gain anything."""
    index, best = found.class_names.index(class_name), found.best_level(class_name)
    if not (found.truth[..., index] & found.known[..., index]).any():
        return "not in this part of the image"
    if best is None:
        return "too little of it, or of the rest, to be measured"
    place = f"{best.level}, stride {best.stride}"
    if not found.by_label:
        return f"best at {place} ({best.separation:.3f})"
    mask = found.response("mask", class_name).separation
    numbers = f"{best.with_mask:.3f} with {place}, {mask:.3f} by the mask alone"
    if not found.adds_to_mask(best):
        return f"no level adds to the mask ({numbers})"
    return f"{numbers}; a branch there: --option level={best.level} --option channels=[{index}]"


def number(value: float, digits: int) -> str:
    """A number with some digits after the point, `-` where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
