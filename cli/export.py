"""Writes trained runs as one model for deployment: raw images of any size in, the final mask out.

The model includes normalisation, mirrored borders, test-time augmentation, the ensemble, activation and thresholds. It
is compared with predict on images that the run held out, and only written if the results agree; parity.json beside it
says how closely.

examples:
  maskzoo export runs/membrane membrane
  maskzoo export runs/fold0 runs/fold1 runs/fold2 membrane-onnx --format onnx --tta flips
  maskzoo export runs/membrane membrane-phone --format litert --size [256,256]
  maskzoo export runs/membrane membrane-logits --bare
      only the network: normalised images in, logits out
"""

import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from maskzoo.errors import ExistingFile, OptionError
from maskzoo.files import check_no_input

from .. import deployment, inference
from .backend import load_keras
from .parser import Parser, options_of
from .predict_options import RUNS_HELP, add_predict_options, check_predict_options, load_predictor, log_decision

logger = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Adds the options of `export`."""
    parser.add_argument("runs", type=str, nargs="+", help=RUNS_HELP)
    parser.add_argument("output", type=str, help="folder to create")
    parser.add_argument(
        "--format",
        type=Literal["saved_model", "onnx", "openvino", "litert"],
        default="saved_model",
        help="runtime: TensorFlow (also TensorFlow Serving), ONNX Runtime, OpenVINO or LiteRT",
    )
    parser.add_argument(
        "--dtype",
        type=Literal["uint8", "uint16", "int16", "float32"] | None,
        default=None,
        help="type of the raw pixels; by default that of the images that the run held out",
    )
    parser.add_argument(
        "--size", type=list[int] | None, default=None, help="fixed image size, for litert; by default the patch"
    )
    parser.add_flag("--bare", help="a SavedModel from normalised images to logits, of one run")
    add_predict_options(parser, skip=("rescale",))


def run(arguments: Namespace) -> None:
    """Runs `export`."""
    output = Path(arguments.output)
    folders = check_predict_options(arguments)
    check_no_input(
        [output],
        [*map(inference.run_folder, folders), *inference.files_behind_runs(folders)],
    )
    if output.exists():
        raise ExistingFile(output, "a folder that does not exist yet", "one that does")
    if arguments.size is not None and arguments.format != "litert":
        raise OptionError("size", f"none for {arguments.format}, which takes images of any size", arguments.size)
    asked = options_of(inference.PredictOptions, arguments)
    if arguments.bare and (asked != inference.PredictOptions() or arguments.dtype is not None):
        raise OptionError("bare", "no option of prediction and no `dtype`: it is the network alone", "others")
    if unused := [name for name in asked.of_masks if name != "threshold"]:
        raise OptionError(unused[0], "none: a bundle has thresholds, and no other post-processing", "one")
    if arguments.bare:
        export_bare(arguments, folders, output)
    else:
        predictor, post = load_predictor(arguments, folders)
        log_decision(predictor, post)
        report = deployment.export_bundle(
            predictor, output, format=arguments.format, dtype=arguments.dtype, size=arguments.size
        )
        logger.info("compared with predict on %s, %s", report["images"], report["dtype"])
        for image in report["sizes"]:
            size = " x ".join(map(str, image["size"]))
            logger.info(
                "%s: %d of %d pixels differ; largest difference of probabilities %.1e",
                size,
                image["different_pixels"],
                image["pixels"],
                image["largest_difference"],
            )
        parts = (
            (post.cleaning, f"post-processing ({post.cleaning})"),
            (post.gate, "the gate"),
            (predictor.decision.groups, "thresholds per group"),
        )
        if left_out := [name for asked, name in parts if asked]:
            logger.warning("not included: %s", ", ".join(left_out))
        log_reading(report["reading"])
    logger.info("wrote %s", output)


def log_reading(reading: Mapping[str, object]) -> None:
    """Warns of what is to be done to images before a bundle takes their pixels."""
    if reading:
        steps = ", ".join(f"{name} {value}" for name, value in reading.items())
        logger.warning("not included: images must be read as the run reads them before, at %s (see parity.json)", steps)


def export_bare(arguments: Namespace, folders: Sequence[Path], output: Path) -> None:
    """Writes the network of one run alone."""
    if len(folders) > 1 or arguments.format != "saved_model":
        raise OptionError("bare", "one run and saved_model", f"{len(folders)} and {arguments.format}")
    load_keras()
    run = inference.load_run(folders[0])
    for size, difference in deployment.export_saved_model(run, output):
        logger.info("%s: largest difference from the Keras model %.1e", " x ".join(map(str, size)), difference)
    log_reading(deployment.reading_before(run))
