"""Splits the images of a data set into folds and writes them to a file that every run and tool reads.

A specification with the keys `folds: FILE` and `fold: N` holds out the images of one fold; `repeat: N` selects
another split in the same file.

examples:
  maskzoo folds set.yaml folds.json
  maskzoo folds set.yaml folds.json --k 5 --repeats 3 --stratify --group "^(patient[0-9]+)"
      three times five folds; no patient is split, and images with much foreground are spread evenly over the folds
  maskzoo folds scene.yaml folds.json --k 3
      a single image, such as one raster: it is divided into three regions, held out one after the other
  maskzoo folds set.yaml folds.json --split block
      each fold is one block of neighbours: serial sections, frames of a video
"""

import logging
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

from maskzoo.errors import OptionError
from maskzoo.files import check_no_input

from .. import data
from .parser import Parser
from .tables import text_table

logger = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Adds the options of `folds`."""
    parser.add_argument("spec", type=str, help="folder or YAML file of a labelled data set")
    parser.add_argument("output", type=str, help="JSON file to write")
    parser.add_argument("--k", type=int, default=5, help="number of folds")
    parser.add_argument("--repeats", type=int, default=1, help="number of splits, each with the next seed")
    parser.add_argument("--split", type=str, default="random", help="random, or block: neighbours in the sorted names")
    parser.add_argument("--group", type=str | None, default=None, help="regular expression: what is never split")
    parser.also_called["folds"] = "--k"
    parser.add_flag("--stratify", help="spread images with much foreground evenly over the folds")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same folds")


def run(arguments: Namespace) -> None:
    """Runs `folds`."""
    if arguments.repeats < 1:
        raise OptionError("repeats", "at least 1", arguments.repeats)
    if arguments.seed < 0:
        raise OptionError("seed", "at least 0", arguments.seed)
    if arguments.split == "block" and (arguments.repeats > 1 or arguments.stratify):
        raise OptionError(
            "split", "random with `repeats` or `stratify`", "block, by which a data set can be split in one way only"
        )
    if Path(arguments.output).suffix != ".json":
        raise OptionError("output", "a file name that ends in .json", arguments.output)
    data.check_writable(arguments.output)
    check_no_input([arguments.output], data.files_of(arguments.spec, with_folds=False))
    spec = data.read_spec(arguments.spec)
    images = data.images_to_split(spec, folds=arguments.k, group=arguments.group, seed=arguments.seed)
    if images.regions:
        for name, is_used in (("repeats", arguments.repeats > 1), ("stratify", arguments.stratify)):
            if is_used:
                raise OptionError(name, "several images; of one there is a single way to split it into regions", "one")
    foreground = data.foreground_fractions(spec) if arguments.stratify else None
    made = [
        images.make_folds(arguments.k, seed=seed, split=arguments.split, strata=foreground)
        for seed in range(arguments.seed, arguments.seed + arguments.repeats)
    ]
    data.write_folds(arguments.output, *made, regions=images.regions)
    print(summary(made[0], images.groups, foreground))
    logger.info("wrote %s", arguments.output)


def summary(folds: Mapping[str, int], groups: Mapping[str, str] | None, foreground: Mapping[str, float] | None) -> str:
    """A table of the folds: how many images and groups they have, and their mean fraction of foreground.

    Args:
        folds: The fold of each image.
        groups: The group of each image, where there are groups.
        foreground: The fraction of foreground of each image, where it was measured.
    """
    rows = [["fold", "images", "groups", "foreground"]]
    for fold in range(max(folds.values()) + 1):
        names = [name for name, number in folds.items() if number == fold]
        number = str(len({groups[name] for name in names})) if groups else "-"
        fraction = f"{sum(foreground[name] for name in names) / len(names):.2%}" if foreground else "-"
        rows.append([str(fold), str(len(names)), number, fraction])
    return text_table(rows)
