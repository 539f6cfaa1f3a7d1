"""Writes trained runs as one model for deployment: raw images of any size in, the final mask out.

Inside are normalisation, mirrored borders, views, the ensemble, activation and thresholds. The model is compared with
predict on images that the run held out, and only written if it answers alike; parity.json beside it tells how closely.

examples:
  maskzoo export runs/membrane membrane
  maskzoo export runs/fold0 runs/fold1 runs/fold2 membrane-onnx --format onnx --tta flips
  maskzoo export runs/membrane membrane-phone --format litert --size [256,256]
  maskzoo export runs/membrane membrane-logits --bare
      only the network: normalised images in, logits out
"""

from pathlib import Path
from typing import Literal

from .. import deployment, inference
from .backend import load_keras
from .predict_options import add_answer_options, check_answer_options, load_answer, tell_decision


def add_arguments(parser):
    parser.add_argument(
        "runs",
        type=str,
        nargs="+",
        help="run folders that train wrote, RUN:last for the last epoch; several answer together",
    )
    parser.add_argument("output", type=str, help="folder to write; it must not exist yet")
    parser.add_argument(
        "--format",
        type=Literal["saved_model", "onnx", "openvino", "litert"],
        default="saved_model",
        help="what runs it: TensorFlow (also TensorFlow Serving), ONNX Runtime, OpenVINO or LiteRT",
    )
    parser.add_argument(
        "--dtype",
        type=Literal["uint8", "uint16", "int16", "float32"] | None,
        default=None,
        help="type of the raw pixels; by default that of the images that the run held out",
    )
    parser.add_argument(
        "--size", type=list[int] | None, default=None, help="the one size of images, for litert; default the patch"
    )
    parser.add_argument(
        "--bare", action="store_true", default=False, help="a SavedModel from normalised images to logits, of one run"
    )
    add_answer_options(parser)


def run(arguments):
    output = Path(arguments.output)
    folders = check_answer_options(arguments)
    if output.exists():
        raise FileExistsError(f"output: expected a folder that does not exist yet; received {output}")
    if arguments.size is not None and arguments.format != "litert":
        raise ValueError(f"--size: expected none for {arguments.format}, which takes any; received {arguments.size}")
    if arguments.bare:
        export_bare(arguments, folders, output)
    else:
        answer, cleaning, gate = load_answer(arguments, folders)
        tell_decision(answer, cleaning, gate)
        options = {"format": arguments.format, "dtype": arguments.dtype, "size": arguments.size}
        report = deployment.export_bundle(answer, output, **options)
        print(f"compared with predict on {report['images']}, {report['dtype']}")
        for image in report["sizes"]:
            size = " x ".join(map(str, image["size"]))
            print(
                f"{size}: {image['different_pixels']} of {image['pixels']} pixels differ; "
                f"largest difference of probabilities {image['largest_difference']:.1e}"
            )
        parts = (
            (cleaning, f"post-processing ({cleaning})"),
            (gate, "the gate"),
            (answer.decision.groups, "thresholds per group"),
        )
        if left_out := [name for asked, name in parts if asked]:
            print(f"not in it: {', '.join(left_out)}")
    print(f"wrote {output}")


def export_bare(arguments, folders, output):
    if len(folders) > 1 or arguments.format != "saved_model":
        raise ValueError(f"--bare: expected one run and saved_model; received {len(folders)} and {arguments.format}")
    load_keras()
    for size, difference in deployment.export_saved_model(inference.load_run(folders[0]), output):
        print(f"{' x '.join(map(str, size))}: largest difference from the Keras model {difference:.1e}")
