"""The options of how runs answer and what is done to their masks, shared by the verbs that predict."""

import copy
import dataclasses
import math
import sys
from typing import Literal

from .. import inference, postprocessing
from .backend import load_keras

HOW = ("probabilities", "logits", "votes")


def add_answer_options(parser):
    group = parser.add_argument_group("several runs, several views")
    group.add_argument(
        "--tta",
        type=str,
        default="none",
        help="also show each tile turned, and take the mean: flips, rotations, symmetries (both: eight in 2D), "
        "scales:0.75,1.25, or one of the first with scales: flips,scales:0.75",
    )
    group.add_argument(
        "--how",
        type=Literal["probabilities", "logits", "votes"],
        default="probabilities",
        help="what of several runs and views is averaged",
    )
    group.add_argument(
        "--weights", type=list[float] | None, default=None, help="weights of the runs, such as [2,1]; default: decide's"
    )
    group.add_argument("--temperature", type=float, default=1.0, help="logits are divided by it; below 1 it sharpens")
    group.add_argument(
        "--crf",
        type=float,
        default=0.0,
        help="weight of a conditional random field, which has pixels agree with those nearby that look like them, such "
        "as 3; 0 for none",
    )
    group = parser.add_argument_group("decisions; by default those that decide has written into the runs")
    group.add_argument(
        "--threshold",
        type=float | list[float] | None,
        default=None,
        help="probability from which a class is present, one or one per class, such as [0.5,0.3]",
    )
    group.add_argument("--no-decision", action="store_true", default=False, help="threshold 0.5 and no post-processing")
    group.add_argument("--min-area", type=int | None, default=None, help="remove objects with fewer pixels; 0 for none")
    group.add_argument(
        "--fill-holes",
        type=int | Literal["all"] | None,
        default=None,
        help="fill enclosed background of up to so many pixels, or all; 0 for none",
    )
    group.add_argument(
        "--watershed",
        type=float,
        default=0.0,
        help="split touching objects whose centres are at least so many pixels apart",
    )
    group.add_argument(
        "--gate",
        type=float | list[float] | None,
        default=None,
        help="leave a class out of an image where its image-level label is less likely; for runs with --label-head",
    )
    group.add_argument("--largest", action="store_true", default=False, help="keep only the largest object of a class")


def add_engine_options(parser):
    parser.add_argument(
        "--engine",
        type=Literal["auto", "keras", "saved_model", "onnx", "openvino"],
        default="keras",
        help="what runs the network; auto measures what is installed and takes the fastest that agrees",
    )
    parser.add_argument(
        "--precision",
        type=Literal["float32", "bfloat16", "int8"],
        default="float32",
        help="of --engine: bfloat16 and int8 are faster and less exact",
    )


def check_engine_options(arguments):
    """Refuses engines that do not go with the other options."""
    if arguments.crf and arguments.engine != "keras":
        raise ValueError(f"--crf: expected the engine keras beside it; received --engine {arguments.engine}")


def check_answer_options(arguments):
    """Refuses what can be seen to be wrong without a run.

    Returns:
        The run folders.
    """
    folders = [inference.check_run(path) for path in arguments.runs]
    inference.parse_tta(arguments.tta, inference.run_spatial_dims(folders[0]))
    thresholds = [] if arguments.threshold is None else listed(arguments.threshold)
    for threshold in thresholds:
        if not 0 < threshold < 1:
            raise ValueError(f"--threshold: expected numbers between 0 and 1; received {threshold}")
    for option, value in (("--min-area", arguments.min_area), ("--fill-holes", arguments.fill_holes)):
        if isinstance(value, int) and value < 0:
            raise ValueError(f"{option}: expected at least 0 pixels; received {value}")
    if not 0 <= arguments.crf < math.inf:
        raise ValueError(f"--crf: expected a weight of at least 0; received {arguments.crf}")
    if arguments.watershed and not 1 <= arguments.watershed < math.inf:
        raise ValueError(f"--watershed: expected a distance of at least 1 pixel; received {arguments.watershed}")
    return folders


def load_answer(arguments, folders):
    """Loads the runs.

    Returns:
        A `Run`, or an `Ensemble`; the `Cleaning` of its masks; its gate.
    """
    load_keras()
    runs = [inference.load_run(folder) for folder in folders]
    if arguments.crf:
        runs = [with_crf(run, arguments.crf) for run in runs]
    if arguments.no_decision:
        runs = [with_thresholds(run, [0.5] * len(run.thresholds)) for run in runs]
    options = {name: getattr(arguments, name) for name in ("weights", "how", "temperature", "tta")}
    plain = {"weights": None, "how": HOW[0], "temperature": 1.0, "tta": "none"}
    answer = runs[0] if len(runs) == 1 and options == plain else inference.Ensemble(runs, **options)
    holes, decision = math.inf if arguments.fill_holes == "all" else arguments.fill_holes, answer.decision
    cleaning = postprocessing.cleaning_of(
        answer.data.num_classes,
        holes=decision.holes if holes is None else holes,
        minimum_area=decision.minimum_area if arguments.min_area is None else arguments.min_area,
        watershed=arguments.watershed,
        largest=arguments.largest,
    )
    asked = None if arguments.gate is None else listed(arguments.gate)
    gate = inference.gate_of(answer.decision, len(answer.data.class_names), asked)
    if arguments.threshold is not None:
        answer = with_thresholds(answer, listed(arguments.threshold))
    return answer, cleaning, gate


def with_engine(arguments, answer, gate, source, **options):
    """The same run or ensemble with the engine that is asked for; `auto` is measured on a source."""
    names = (arguments.engine, arguments.precision)
    if names == ("keras", "float32"):
        return answer
    if gate:
        raise ValueError(f"--engine: expected keras, which --gate needs; received {arguments.engine}")
    return inference.with_engine(answer, *names, source, **options)


def with_crf(run, weight):
    """A run with a conditional random field behind its model."""
    # Imported late: it brings Keras, which a wrong option must not wait for.
    from .. import models

    return dataclasses.replace(run, model=models.with_crf(run.model, run.data.task, weight=weight))


def listed(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def with_thresholds(run, thresholds):
    """A run, or an ensemble, with other thresholds than what was decided."""
    classes = len(run.data.class_names)
    thresholds = tuple(thresholds) * (classes if len(thresholds) == 1 else 1)
    if len(thresholds) != classes:
        raise ValueError(
            f"--threshold: expected one number, or one for each of {classes} classes; received {thresholds}"
        )
    if dataclasses.is_dataclass(run):
        return dataclasses.replace(run, thresholds=thresholds, decision=inference.Decision())
    changed = copy.copy(run)
    changed.thresholds, changed.decision = thresholds, inference.Decision()
    return changed


def tell_decision(answer, cleaning, gate, same_images=False):
    """Says what is applied, on stderr, where that is more than a threshold of 0.5."""
    decision = answer.decision
    parts = []
    if any(threshold != 0.5 for threshold in answer.thresholds):
        parts.append("threshold " + ", ".join(f"{threshold:g}" for threshold in answer.thresholds))
    if decision.groups:
        parts.append(f"thresholds of their own for {', '.join(decision.groups.thresholds)}")
    if cleaning:
        parts.append(str(cleaning))
    if gate:
        parts.append(f"classes only where their label is as likely as {', '.join(f'{least:g}' for least in gate)}")
    if parts:
        origin = ""
        if decision.metric:
            metric, images = decision.metric.replace("_", " "), decision.chosen_on["images"]
            which = "these" if same_images else "held-out"
            origin = f" (decided on {images} {which} images: {metric} {decision.score:.4f}, gain {decision.gain:+.4f})"
        print("; ".join(parts) + origin, file=sys.stderr)
