"""The options of how runs answer and what is done to their masks, shared by the verbs that predict."""

import copy
import dataclasses
import logging
import math
from argparse import Namespace
from typing import Literal

from maskzoo.errors import OptionError
from maskzoo.names import counted

from .. import inference, postprocessing
from .backend import load_keras
from .parser import Parser
from .sizes import parse_bytes

logger = logging.getLogger(__name__)

OUTPUT_SUFFIX = {2: ".tif", 3: ".nii.gz"}
HOW = ("probabilities", "logits", "votes")


RUNS_HELP = "run folders that train wrote; RUN:last for the last epoch; several runs are an ensemble"


def add_answer_options(parser: Parser) -> None:
    """Adds the options of test-time augmentation, ensembles, decisions and post-processing."""
    group = parser.add_argument_group("ensembles and test-time augmentation")
    group.add_argument(
        "--tta",
        type=str,
        default="none",
        help="test-time augmentation: average over transforms of each tile: flips, rotations, symmetries (both: eight "
        "in 2D), scales:0.75,1.25, or one of the first three with scales: flips,scales:0.75",
    )
    group.add_argument(
        "--reduction",
        type=Literal["probabilities", "logits", "votes"],
        default="probabilities",
        help="how several runs and transforms are combined: mean of the probabilities, mean of the logits, or votes",
    )
    parser.renamed["how"] = "reduction"
    group.add_argument(
        "--weights",
        type=list[float] | None,
        default=None,
        help="weights of the runs, such as [2,1]; by default those that decide found",
    )
    group.add_argument(
        "--temperature", type=float, default=1.0, help="divides the logits; below 1 it sharpens probabilities"
    )
    group.add_argument(
        "--crf",
        type=float,
        default=0.0,
        help="weight of a conditional random field, which makes nearby pixels of similar colour agree, such as 3; 0 "
        "for none",
    )
    group = parser.add_argument_group("decisions; by default those that decide has written into the runs")
    group.add_argument(
        "--threshold",
        type=float | list[float] | None,
        default=None,
        help="probability from which a class is present, one or one per class, such as [0.5,0.3]",
    )
    group.add_argument("--no-decision", action="store_true", default=False, help="threshold 0.5 and no post-processing")
    group.add_argument(
        "--min-area", type=int | None, default=None, help="remove objects of fewer pixels; 0 keeps them all"
    )
    group.add_argument(
        "--fill-holes",
        type=int | Literal["all"] | None,
        default=None,
        help="fill holes of up to this many pixels, or all; 0 for none",
    )
    group.add_argument(
        "--watershed",
        type=float,
        default=0.0,
        help="split touching objects whose centres are at least this many pixels apart",
    )
    group.add_argument(
        "--gate",
        type=float | list[float] | None,
        default=None,
        help="leave a class out of an image if its image-level label is less likely than this; for runs with "
        "`label_head`",
    )
    group.add_argument("--largest", action="store_true", default=False, help="keep only the largest object of a class")
    parser.also_called |= {"holes": "--fill-holes", "minimum_area": "--min-area"}


def add_engine_options(parser: Parser) -> None:
    """Adds the options of what runs the network."""
    parser.add_argument(
        "--engine",
        type=Literal["auto", "keras", "saved_model", "onnx", "openvino"],
        default="keras",
        help="what runs the network; auto times what is installed and takes the fastest that agrees with Keras",
    )
    parser.add_argument(
        "--precision",
        type=Literal["float32", "bfloat16", "int8"],
        default="float32",
        help="precision of `engine`: bfloat16 and int8 are faster and less exact",
    )


def add_tiling_options(parser: Parser) -> None:
    """Adds the options of how an image is cut into tiles."""
    parser.add_argument(
        "--tile", type=int | None, default=None, help="pixels per tile and axis; by default as `memory` allows"
    )
    parser.add_argument("--memory", type=str, default="4GB", help="bound on the memory to use, such as 800MB or 16GB")


def tiling_options(arguments: Namespace) -> dict[str, int | None]:
    """The tile and the memory in a parsed command line."""
    if arguments.tile is not None and arguments.tile < 1:
        raise OptionError("tile", "at least 1", arguments.tile)
    return {"tile": arguments.tile, "memory": parse_bytes(arguments.memory)}


def check_engine_options(arguments):
    """Refuses engines that do not go with the other options."""
    if arguments.crf and arguments.engine != "keras":
        raise OptionError("crf", "the engine keras beside it", f"--engine {arguments.engine}")


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
            raise OptionError("threshold", "numbers between 0 and 1", f"{threshold}")
    for option, value in (("min_area", arguments.min_area), ("fill_holes", arguments.fill_holes)):
        if isinstance(value, int) and value < 0:
            raise OptionError(option, "at least 0 pixels", value)
    if not 0 <= arguments.crf < math.inf:
        raise OptionError("crf", "a weight of at least 0", f"{arguments.crf}")
    if arguments.watershed and not 1 <= arguments.watershed < math.inf:
        raise OptionError("watershed", "a distance of at least 1 pixel", f"{arguments.watershed}")
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
    options = {name: getattr(arguments, name) for name in ("weights", "temperature", "tta")}
    options["how"] = arguments.reduction
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
        raise OptionError("engine", "keras, which `gate` needs", f"{arguments.engine}")
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
        raise OptionError("threshold", f"one number, or one for each of {classes} classes", thresholds)
    if dataclasses.is_dataclass(run):
        return dataclasses.replace(run, thresholds=thresholds, decision=inference.Decision())
    changed = copy.copy(run)
    changed.thresholds, changed.decision = thresholds, inference.Decision()
    return changed


def tell_decision(answer, cleaning, gate, same_images=False):
    """Says what is applied, if it is more than a threshold of 0.5."""
    decision = answer.decision
    parts = []
    if any(threshold != 0.5 for threshold in answer.thresholds):
        parts.append("threshold " + ", ".join(f"{threshold:g}" for threshold in answer.thresholds))
    if decision.groups:
        parts.append(f"separate thresholds for {', '.join(decision.groups.thresholds)}")
    if cleaning:
        parts.append(str(cleaning))
    if gate:
        least = ", ".join(f"{probability:g}" for probability in gate)
        parts.append(f"classes only in images where their label has a probability of at least {least}")
    if parts:
        origin = ""
        if decision.metric:
            metric, images = decision.metric.replace("_", " "), decision.chosen_on["images"]
            where = f"these {counted(images, 'image')}" if same_images else counted(images, "held-out image")
            origin = f" (chosen on {where}: {metric} {decision.score:.4f}, gain {decision.gain:+.4f})"
        logger.info("%s", "; ".join(parts) + origin)
