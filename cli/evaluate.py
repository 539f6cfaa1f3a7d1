"""Scores a trained run on labelled images: per class, over all pixels, as means over images, and for each image.

Dice, IoU, precision and recall are always reported; an empty prediction of an empty truth counts 1. --metrics adds
more, by names joined by commas:

  presence      whether an image shows a class at all, judged by its predicted pixels: AUC, precision, recall
  calibration   whether predicted probabilities match frequencies: expected calibration error
  surface       95 % Hausdorff and average distance of the borders in the images' unit, surface Dice
  membrane      foreground-restricted Rand and information scores of the segments that a membrane class encloses
  objects       F1 of connected components over ten IoU thresholds, and panoptic quality

Overlap, presence and calibration are counted tile by tile, in images of any size. Surface, membrane and objects need
the whole label map of an image and about 70 bytes of memory per pixel; an image that needs more than --memory is
refused before anything is predicted.

examples:
  maskzoo evaluate runs/membrane
      the images that were held out when the run was trained
  maskzoo evaluate runs/membrane --data FOLDER --csv scores.csv
      every image of another data set, and a file with a row per image, the worst first
  maskzoo evaluate runs/unet runs/fpn --tta flips
      an ensemble of two runs that held out the same images, with test-time augmentation
  maskzoo evaluate runs/membrane/fold* --members --data FOLDER
      five folds together, and each alone, on images that none of them was trained on
  maskzoo evaluate runs/nuclei --engine openvino --precision int8
      the scores with a faster engine, to compare with those of Keras
  maskzoo evaluate runs/hippocampus --metrics surface,objects --tolerance 2
      distances in millimetres, as given in the volumes' headers
"""

from __future__ import annotations

import json
import logging
import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from maskzoo.errors import OptionError
from maskzoo.files import check_no_input
from maskzoo.names import counted, one_of

from .. import data, evaluation, inference
from .parser import Parser
from .predict_options import (
    RUNS_HELP,
    add_engine_options,
    add_predict_options,
    add_tiling_options,
    check_engine_options,
    check_predict_options,
    load_predictor,
    log_decision,
    tile_options,
    with_engine,
)
from .score_tables import JSONScores, finite, image_rows, member_table, score_table
from .tables import check_csv, write_csv

if TYPE_CHECKING:
    from ..data import Case
    from ..inference import PostProcessing, Predictor

logger = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Adds the options of `evaluate`."""
    parser.add_argument("runs", type=str, nargs="+", help=RUNS_HELP)
    parser.add_argument(
        "--data",
        type=str | None,
        default=None,
        help="folder or YAML file of a labelled data set; by default the run's held-out images",
    )
    parser.add_argument(
        "--metrics",
        type=str,
        default="overlap",
        help=f"what to score, joined by commas: {','.join(evaluation.MEASURES)}; overlap is always included",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1.0,
        help="distance between borders that counts as agreement in the surface Dice, in the images' unit",
    )
    parser.add_flag("--members", help="also score each run alone")
    parser.add_flag("--json", help="print JSON, with the scores of each image")
    parser.add_argument("--csv", type=str | None, default=None, help="also write a row per image, the worst first")
    add_predict_options(parser)
    add_engine_options(parser)
    add_tiling_options(parser)


def run(arguments: Namespace) -> None:
    """Runs `evaluate`."""
    # Mistakes are refused before a run is loaded.
    tile_options(arguments)
    parse_measures(arguments.metrics)
    if not 0 <= arguments.tolerance < math.inf:
        raise OptionError("tolerance", "a distance of at least 0", arguments.tolerance)
    if arguments.tolerance != 1.0 and "surface" not in parse_measures(arguments.metrics):
        raise OptionError("tolerance", "`metrics` with surface, whose distance it is", arguments.metrics)
    if arguments.members and len(arguments.runs) < 2:
        raise OptionError("members", "several runs", "one")
    check_engine_options(arguments)
    folders = check_predict_options(arguments)
    if arguments.data is not None:
        data.check_path(arguments.data)
    if arguments.csv is not None:
        inputs = [] if arguments.data is None else data.files_of(arguments.data)
        check_no_input([arguments.csv], [*inputs, *inference.files_behind_runs(folders)])
        check_csv(arguments.csv)
    trained, post = load_predictor(arguments, folders)
    check_held_out(trained, arguments.data)
    log_decision(trained, post, same_images=arguments.data is None)
    cases = data.labelled_cases(trained.data.as_mapping(), arguments.data)
    known = trained_on(trained, cases)
    scores = predictor_scores(arguments, trained, post, cases) | ({"trained_on": known} if known else {})
    if arguments.members:
        scores["members"] = member_scores(arguments, folders, cases)
    if arguments.csv is not None:
        write_csv(arguments.csv, image_rows(scores))
    if arguments.json:
        print(json.dumps(finite(scores), indent=2))
    else:
        print(counted(len(cases), "image"))
        print(score_table(scores))
        if arguments.members:
            print(f"\n{member_table(scores)}")


def predictor_scores(
    arguments: Namespace, predictor: Predictor, post: PostProcessing, cases: Sequence[Case]
) -> JSONScores:
    """The scores of what `load_predictor` returned, by the engine that is asked for."""
    predictor = with_engine(arguments, predictor, bool(post.gate), cases[0].image)
    scores = evaluation.evaluate(
        predictor,
        cases,
        measures=parse_measures(arguments.metrics),
        tolerance=arguments.tolerance,
        tiles=tile_options(arguments),
        post_processing=post,
    )
    return scores.as_mapping()


def member_scores(arguments: Namespace, folders: Sequence[Path], cases: Sequence[Case]) -> dict[str, JSONScores]:
    """The scores of each run alone, by its folder, with its own decision."""
    alone = Namespace(**{**vars(arguments), "weights": None})
    return {str(folder): predictor_scores(alone, *load_predictor(alone, [folder]), cases) for folder in folders}


def check_held_out(trained: Predictor, path: str | None) -> None:
    """Refuses runs that held out different images, if those are what they would be scored on."""
    held_out = [inference.held_out_by(run.data) for run in trained.members]
    if path is None and any(images != held_out[0] for images in held_out):
        raise OptionError("data", "images that none of the runs was trained on, for runs of several folds", "none")


def trained_on(trained: Predictor, cases: Sequence[Case]) -> dict[str, list[str]]:
    """Returns the names of the cases that each run was trained on, by its folder, and warns of them.

    Args:
        trained: The runs.
        cases: What they are to be scored on.
    """
    identities = data.identities_of([case.image for case in cases])
    named = {str(run.path): evaluation.trained_on(run, cases, identities) for run in trained.members}
    return {run: names for run, names in named.items() if names}


def parse_measures(text: str) -> list[str]:
    """The measures named in `surface,objects`."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in evaluation.MEASURES:
            raise OptionError("metrics", one_of(name, evaluation.MEASURES), repr(name))
    return names
