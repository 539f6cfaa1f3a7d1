"""Segments an image of any size, or every image of a folder, with a trained run.

The image is read, predicted and written tile by tile: memory depends on the tile, not on the image, and the result is
the same as if the whole image had been predicted at once.

examples:
  python predict.py runs/kidney slide.tif slide-mask.tif
  python predict.py runs/kidney slides/ masks/
  python predict.py runs/hippocampus volume.nii.gz labels.nii.gz --probabilities
"""

import re
import sys
from pathlib import Path

from maskzoo import data, inference

from . import load_keras

OUTPUT_SUFFIX = {2: ".tif", 3: ".nii.gz"}
UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def add_arguments(parser):
    parser.add_argument("run", type=str, help="run folder that train wrote")
    parser.add_argument("input", type=str, help="image or volume, or a folder of them")
    parser.add_argument("output", type=str, help="file to write (.tif, .nii.gz, .png, .npy), or a folder for a folder")
    parser.add_argument(
        "--probabilities", action="store_true", default=False, help="write a float32 band per class, not class ids"
    )
    add_tiling_options(parser)


def add_tiling_options(parser):
    parser.add_argument(
        "--tile", type=int | None, default=None, help="pixels per tile and axis; by default chosen within --memory"
    )
    parser.add_argument("--memory", type=str, default="4GB", help="bound on the memory to use, such as 800MB or 16GB")


def tiling_options(arguments):
    """The keyword arguments of `inference.plan_image` from a parsed command line."""
    if arguments.tile is not None and arguments.tile < 1:
        raise ValueError(f"--tile: expected at least 1; received {arguments.tile}")
    return {"tile": arguments.tile, "memory": parse_bytes(arguments.memory)}


def parse_bytes(text):
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", text, re.IGNORECASE)
    if not found:
        raise ValueError(f"--memory: expected a size such as 800MB or 16GB; received {text!r}")
    return int(float(found[1]) * UNITS[found[2].upper()])


def run(arguments):
    options = tiling_options(arguments)
    folder = inference.check_run(arguments.run)
    jobs = list(find_jobs(Path(arguments.input), Path(arguments.output)))
    load_keras()
    trained = inference.load_run(folder)
    rank = trained.data["rank"]
    failed = []
    for image, output in jobs:
        if output.suffix == "":
            output = output.with_name(output.name + OUTPUT_SUFFIX[rank])
        try:
            segment(trained, image, output, arguments.probabilities, options)
        except (ValueError, OSError) as error:
            if len(jobs) == 1:
                raise
            failed.append(image)
            print(f"skipped: {error}", file=sys.stderr)
    if failed:
        raise ValueError(
            f"expected {len(jobs)} images that can be segmented; skipped {len(failed)}: {', '.join(map(str, failed))}"
        )


def segment(trained, image, output, probabilities, options):
    with data.open_source(image, rank=trained.data["rank"]) as source:
        plan = inference.plan_image(trained, source, **options)
        print(f"{image}: {plan}")
        inference.predict_image(trained, source, output, probabilities=probabilities, plan=plan)
    print(f"{image}: wrote {output}")


def find_jobs(source, output):
    """Yields `(image, output)` for one image, or for every image of a folder; the outputs' folder is made.

    Raises:
        FileNotFoundError: If the input is missing or a folder without images.
        OSError: If the output's folder cannot be written to.
    """
    if not source.exists():
        raise FileNotFoundError(
            f"input: expected an image or a folder of images; received {source}, which is not there"
        )
    if not source.is_dir():
        if data.file_suffix(output) not in data.SINK_SUFFIXES:
            suffixes = ", ".join(data.SINK_SUFFIXES)
            raise ValueError(f"output: expected a file name that ends in {suffixes}; received {output}")
        data.check_writable(output)
        yield source, output
        return
    images = sorted(path for path in source.iterdir() if data.file_suffix(path) in data.SUFFIXES)
    if not images:
        raise FileNotFoundError(f"input: expected a folder with images; received {source}, which has none")
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"output: expected a folder for the results of a folder; received {output}, a file")
    output.mkdir(parents=True, exist_ok=True)
    for image in images:
        data.check_writable(output / data.file_stem(image))
        yield image, output / data.file_stem(image)
