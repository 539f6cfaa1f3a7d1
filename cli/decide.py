"""Searches thresholds, holes to fill, minimum areas and ensemble weights on the images that runs held out.

The result is written to decision.json in each run, where predict and evaluate find it, and drawn in decision.png: the
score at every threshold. Runs that held out the same images are tuned one by one and as an ensemble, whose weights are
searched too. Runs that held out different images are taken for one model trained on several folds, and are tuned
together.

Thresholds are tried in steps of 1/1024, areas at every size that an object has; all of them exactly, from one pass over
the predictions. Meanwhile the predictions are kept in the folder for temporary files: 4 bytes per pixel, class and run.

"left out" is the score of each image at the thresholds that all other images choose: what to expect of new images.

examples:
  maskzoo decide runs/membrane
  maskzoo decide runs/fold0 runs/fold1 runs/fold2 --metric dice
      one decision for all folds; dice pools the pixels of all images, mean_dice is the mean over images
  maskzoo decide runs/unet runs/fpn
      two models with the same held-out images: a decision for each, and weights for both together
  maskzoo decide runs/membrane --groups '^[a-z]+'
      separate thresholds for the images whose names begin with the same letters
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskzoo.errors import OptionError
from maskzoo.files import check_no_input
from maskzoo.names import counted, one_of

from .. import evaluation, inference
from .backend import load_keras
from .parser import Parser
from .predict_options import add_tiling_options, tile_options
from .tables import text_table

if TYPE_CHECKING:
    from ..evaluation import SearchResult
    from ..inference import Run

logger = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Adds the options of `decide`."""
    parser.add_argument("runs", type=str, nargs="+", help="run folders that train wrote")
    parser.add_argument(
        "--metric", type=str, default=evaluation.METRICS[0], help=f"score to maximise: {', '.join(evaluation.METRICS)}"
    )
    parser.add_flag("--shared", help="one threshold for all classes")
    parser.add_argument(
        "--groups",
        type=str | None,
        default=None,
        help="regular expression that finds the group of an image in its name; each group gets its own thresholds",
    )
    parser.add_flag("--thresholds-only", help="leave holes and small objects as they are")
    parser.add_argument(
        "--tta", type=str, default="none", help="test-time augmentation of the predictions: see predict --help"
    )
    parser.add_flag("--rescale", help="bring images of another type to the range of the run's images")
    add_tiling_options(parser)


def run(arguments: Namespace) -> None:
    """Runs `decide`."""
    tiles = tile_options(arguments)
    if arguments.metric not in evaluation.METRICS:
        raise OptionError("metric", one_of(arguments.metric, evaluation.METRICS), repr(arguments.metric))
    folders = [inference.check_run(path) for path in arguments.runs]
    if inference.read_run_data(inference.run_folder(folders[0])).task == "multiclass":
        for name in ("shared", "groups", "thresholds_only"):
            if getattr(arguments, name):
                raise OptionError(name, "a task with thresholds", "multiclass, which has none")
    written = [inference.run_folder(folder) / name for folder in folders for name in ("decision.json", "decision.png")]
    check_no_input(written, [file for run in folders for file in inference.files_of_data(run)])
    load_keras()
    runs = [replace(inference.read_run(folder), rescale=arguments.rescale) for folder in folders]
    tuning = evaluation.decide(
        runs,
        metric=arguments.metric,
        shared=arguments.shared,
        groups=arguments.groups,
        areas=not arguments.thresholds_only,
        tta=arguments.tta,
        tiles=tiles,
    )
    description = runs[0].data
    classes = description.class_names[1 if description.task == "multiclass" else 0 :]
    named = tuning.named()
    for name, result in named.items():
        print(f"{name}, {counted(result.images, 'image')}\n{result_table(result, classes)}")
        left_out = result.decision.gain_of_thresholds_left_out
        if left_out is not None and left_out <= 0:
            print("left-out images do not gain: do not expect these thresholds to help on new images")
        print()
    if tuning.ensemble:
        together = tuning.ensemble.decision
        parts = zip(together.members or (), together.weights or (), strict=True)
        print("weights of the ensemble: " + ", ".join(f"{member} {weight:.3f}" for member, weight in parts) + "\n")
    for fold in tuning.folds:
        for member, result in zip(fold, tuning.members, strict=True):
            write_decision(member, result, tuning.ensemble)
            if description.task != "multiclass":
                evaluation.draw_curves(member.path / "decision.png", named, classes)
    pictures = "" if description.task == "multiclass" else " and decision.png"
    logger.info("wrote decision.json%s into each run", pictures)


def write_decision(run: Run, result: SearchResult, together: SearchResult | None) -> None:
    """Writes a result into a run folder, for the one of its two models that it was found for.

    What was found for the other model stays; so does that of an ensemble found earlier if there is no new one.
    """
    stored = inference.read_decision(run.path)
    found = replace(result.decision, models=(run.identity,))
    is_last = run.model_file == inference.LAST
    own = replace(stored, last=found) if is_last else replace(found, last=stored.last)
    replace(own, ensemble=together.decision if together else stored.ensemble).write(Path(run.path))


def result_table(result: SearchResult, classes: Sequence[str]) -> str:
    """A result as aligned text, a row per class."""
    decision = result.decision
    first = len(decision.thresholds) - len(classes)
    columns: dict[str, list[str]] = {}
    if result.curves:
        groups = {"": decision.thresholds} if decision.groups is None else decision.groups.thresholds
        for group, values in groups.items():
            columns[f"threshold {group}".strip()] = [f"{t:.4f}" for t in values[first:]]
    for values, title in ((decision.holes, "holes up to"), (decision.minimum_area, "objects from")):
        if values is not None:
            columns[title] = [str(value) for value in values[first:]]
    scores = {f"{(decision.metric or '').replace('_', ' ')}, at 0.5 ": result.at_half}
    if result.curves:
        scores["threshold "] = result.at_thresholds
    scores["decided "] = result.decided
    if result.curves and result.left_out is not None:
        scores["left out "] = result.left_out
    columns |= {title: [f"{value:.4f}" for value in values] for title, values in scores.items()}
    columns["gain "] = [f"{gain:+.4f}" for gain in result.decided - result.at_half]
    return text_table([["class", *columns], *map(list, zip(classes, *columns.values(), strict=True))])
