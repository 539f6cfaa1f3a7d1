"""Options that the verbs that predict share: runs, tiles, engines, post-processing."""

import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskzoo.errors import OptionError
from maskzoo.names import counted

from .. import inference
from .backend import load_keras
from .parser import Parser, options_of
from .sizes import parse_bytes

if TYPE_CHECKING:
    from ..data import Source
    from ..inference import PostProcessing, Predictor, TileOptions

logger = logging.getLogger(__name__)

OUTPUT_SUFFIX = {2: ".tif", 3: ".nii.gz"}
RUNS_HELP = "run folders that train wrote; RUN:last for the last epoch; several runs are an ensemble"
# What only `predict` asks for, or Python callers.
MORE_TILE_OPTIONS = ("seam_tolerance", "overlap", "blend")


def add_predict_options(parser: Parser, skip: Sequence[str] = ()) -> None:
    """Adds the options of test-time augmentation, ensembles, decisions and post-processing, without those to skip."""
    parser.add_dataclass_options(inference.PredictOptions, skip=skip)
    parser.renamed["how"] = "reduction"
    parser.also_called |= {"holes": "--fill-holes", "minimum_area": "--min-area"}


def add_engine_options(parser: Parser) -> None:
    """Adds the options of what runs the network."""
    parser.add_dataclass_options(inference.EngineOptions)


def add_tiling_options(parser: Parser, more: bool = False) -> None:
    """Adds the options of how an image is cut into tiles.

    Args:
        parser: The parser of a verb.
        more: Add those of seams and blending too.
    """
    skip = ("memory", "halo", *(() if more else MORE_TILE_OPTIONS))
    parser.add_dataclass_options(inference.TileOptions, skip=skip)
    parser.add_argument(
        "--memory",
        type=str | None,
        default=None,
        help="bound on the memory to use, such as 800MB or 16GB; by default half of what is free, up to 16GB",
    )


def tile_options(arguments: Namespace, **values: Any) -> "TileOptions":  # of whatever types the fields have
    """How an image is cut into tiles, by a parsed command line; `values` take the place of what was parsed."""
    memory = None if arguments.memory is None else parse_bytes(arguments.memory)
    return options_of(inference.TileOptions, arguments, memory=memory, **values)


def check_engine_options(arguments: Namespace) -> None:
    """Refuses engines that the other options exclude."""
    options_of(inference.EngineOptions, arguments)
    for name in ("crf", "gate"):
        if getattr(arguments, name) and arguments.engine != "keras":
            raise OptionError(name, "the engine keras with it", f"`engine` {arguments.engine}")


def check_predict_options(arguments: Namespace) -> list[Path]:
    """Refuses mistakes that show without loading a run, and returns the run folders."""
    folders = [inference.check_run(path) for path in arguments.runs]
    described = inference.read_run_data(inference.run_folder(folders[0]))
    inference.parse_tta(arguments.tta, described.spatial_dims)
    options = options_of(inference.PredictOptions, arguments)
    if options.threshold is not None and described.task == "multiclass":
        raise OptionError("threshold", "a task with thresholds", "multiclass, where the most probable class wins")
    for name, numbers in (("threshold", options.threshold), ("gate", options.gate)):
        if isinstance(numbers, list) and len(numbers) not in (1, described.num_classes):
            raise OptionError(name, f"one number, or one for each of {described.num_classes} classes", numbers)
    if options.weights is not None and len(options.weights) != len(folders):
        raise OptionError("weights", counted(len(folders), "weight") + ", one per run", options.weights)
    if len(folders) == 1 and options.tta == "none":
        if options.weights is not None:
            raise OptionError("weights", "several runs", "one")
        if options.reduction != inference.PredictOptions().reduction:
            raise OptionError("reduction", "several runs, or `tta`", f"{options.reduction} for one run alone")
    return folders


def load_predictor(arguments: Namespace, folders: Sequence[Path]) -> "tuple[Predictor, PostProcessing]":
    """Loads the runs, and returns the run or the ensemble, and its post-processing."""
    load_keras()
    options = options_of(inference.PredictOptions, arguments)
    predictor = inference.load_run(list(folders), options)
    return predictor, inference.post_processing(predictor, options)


def with_engine(arguments: Namespace, predictor: "Predictor", gated: bool, source: "Source | None") -> "Predictor":
    """The same run or ensemble with the engine that is asked for; `auto` is measured on a source."""
    engine = options_of(inference.EngineOptions, arguments)
    if gated and engine != inference.EngineOptions():
        raise OptionError("engine", "keras, which `gate` needs", engine.engine)
    return inference.with_engine(predictor, engine, source, tile_options(arguments, seam_tolerance=0.0))


def log_decision(predictor: "Predictor", post: "PostProcessing", same_images: bool = False) -> None:
    """Says what is applied, if it is more than a threshold of 0.5."""
    decision = predictor.decision
    parts = []
    if any(threshold != 0.5 for threshold in predictor.thresholds):
        parts.append("threshold " + ", ".join(f"{threshold:g}" for threshold in predictor.thresholds))
    if decision.groups:
        parts.append(f"separate thresholds for {', '.join(decision.groups.thresholds)}")
    if post.cleaning:
        parts.append(str(post.cleaning))
    if post.gate:
        least = ", ".join(f"{probability:g}" for probability in post.gate)
        parts.append(f"classes only in images where their label has a probability of at least {least}")
    if parts:
        origin = ""
        if decision.metric and decision.score is not None and decision.gain is not None:
            metric, images = decision.metric.replace("_", " "), (decision.chosen_on or {}).get("images", 0)
            where = f"these {counted(images, 'image')}" if same_images else counted(images, "held-out image")
            origin = f" (chosen on {where}: {metric} {decision.score:.4f}, gain {decision.gain:+.4f})"
        logger.info("%s", "; ".join(parts) + origin)
