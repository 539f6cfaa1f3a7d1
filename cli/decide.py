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
from maskzoo.names import one_of

from .. import evaluation, inference
from .backend import load_keras
from .parser import Parser
from .predict_options import add_tiling_options, tiling_options
from .tables import counted, text_table

if TYPE_CHECKING:
    from ..evaluation.tuning import Finding
    from ..inference import Run

logger = logging.getLogger(__name__)

METRICS = ("mean_dice", "dice", "mean_iou", "iou")


def add_arguments(parser: Parser) -> None:
    """Adds the options of `decide`."""
    parser.add_argument("runs", type=str, nargs="+", help="run folders that train wrote")
    parser.add_argument("--metric", type=str, default=METRICS[0], help=f"score to maximise: {', '.join(METRICS)}")
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
    add_tiling_options(parser)


def run(arguments: Namespace) -> None:
    """Runs `decide`."""
    options = tiling_options(arguments)
    if arguments.metric not in METRICS:
        raise OptionError("metric", one_of(arguments.metric, METRICS), repr(arguments.metric))
    folders = [inference.check_run(path) for path in arguments.runs]
    load_keras()
    runs = [inference.load_run(folder) for folder in folders]
    folds, findings, together = evaluation.decide(
        runs,
        metric=arguments.metric,
        shared=arguments.shared,
        pattern=arguments.groups,
        areas=not arguments.thresholds_only,
        tta=arguments.tta,
        **options,
    )
    description = runs[0].data
    classes = description.class_names[1 if description.task == "multiclass" else 0 :]
    columns = zip(*folds, strict=True)
    named = {" + ".join(run.name for run in column): f for column, f in zip(columns, findings, strict=True)}
    named |= {"ensemble": together} if together else {}
    for name, finding in named.items():
        images = counted(finding.decision["chosen_on"]["images"], "image")
        print(f"{name}, {images}\n{finding_table(finding, classes)}")
        left_out = finding.decision["gain_of_thresholds_left_out"]
        if left_out is not None and left_out <= 0:
            print("left-out images do not gain: do not expect these thresholds to help on new images")
        print()
    if together:
        parts = zip(together.decision["members"], together.decision["weights"], strict=True)
        print("weights of the ensemble: " + ", ".join(f"{member} {weight:.3f}" for member, weight in parts) + "\n")
    for fold in folds:
        for member, finding in zip(fold, findings, strict=True):
            write_decision(member, finding, together)
            if description.task != "multiclass":
                evaluation.draw_findings(member.path / "decision.png", named, classes)
    pictures = "" if description.task == "multiclass" else " and decision.png"
    logger.info("wrote decision.json%s into each run", pictures)


def write_decision(run: Run, finding: Finding, together: Finding | None) -> None:
    """Writes a result into a run folder; that of an ensemble found earlier stays if there is no new one."""
    ensemble = inference.Decision.from_mapping(together.decision) if together else run.decision.ensemble
    # The thresholds of a run belong to the model of its best epoch.
    own = run.decision if run.name.endswith(":last") else inference.Decision.from_mapping(finding.decision)
    replace(own, ensemble=ensemble).write(Path(run.path))


def finding_table(finding: Finding, classes: Sequence[str]) -> str:
    """A result as aligned text, a row per class."""
    decision, scores = finding.decision, finding.scores
    first = len(decision["thresholds"]) - len(classes)
    groups = decision.get("groups", {"thresholds": {"": decision["thresholds"]}})["thresholds"]
    columns = {f"threshold {group}".strip(): [f"{t:.4f}" for t in values[first:]] for group, values in groups.items()}
    if not finding.curves:
        columns = {}
    for key, title in (("holes", "holes up to"), ("minimum_area", "objects from")):
        if key in decision:
            columns[title] = [str(value) for value in decision[key][first:]]
    titles = {"half": "at 0.5", "threshold": "threshold", "decided": "decided", "left_out": "left out"}
    for key, title in titles.items():
        if scores[key] is not None and (finding.curves or key in ("half", "decided")):
            title = f"{decision['metric'].replace('_', ' ')}, {title}" if key == "half" else title
            columns[f"{title} "] = [f"{value:.4f}" for value in scores[key]]
    columns["gain "] = [f"{d - h:+.4f}" for d, h in zip(scores["decided"], scores["half"], strict=True)]
    return text_table([["class", *columns], *map(list, zip(classes, *columns.values(), strict=True))])
