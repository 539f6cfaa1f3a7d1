"""Labels images with trained runs, where those are sure: a data set that `train --data` takes.

An image is labelled by the runs that were not trained on an image of its name, together; one that all of them were
trained on is left out. Pixels of which they are not sure are ignored in training. Images are ranked by the mean
confidence of the pixels that show a class (of all pixels, where none does), and are linked, not copied.

examples:
  maskzoo pseudo runs/unet/fold*-seed0 more-images/ pseudo/
  maskzoo pseudo runs/unet runs/fpn more-images/ pseudo/ --threshold 0.95 --share 0.5
      only pixels of 95 % confidence, and only the better half of the images
  maskzoo train --data pseudo/set.yaml --init-from runs/unet
"""

import shlex
import tempfile
from pathlib import Path

from .. import data, inference, training
from .backend import load_keras
from .predict import OUTPUT_SUFFIX, add_tiling_options, tiling_options


def add_arguments(parser):
    parser.add_argument("runs", type=str, nargs="+", help="run folders that train wrote")
    parser.add_argument("images", type=str, help="folder of images")
    parser.add_argument("output", type=str, help="folder to write")
    parser.add_argument("--threshold", type=float, default=0.9, help="confidence from which a label counts")
    parser.add_argument("--share", type=float, default=1.0, help="share of the images to keep, the surest first")
    add_tiling_options(parser)


def run(arguments):
    options = tiling_options(arguments)
    folders = [inference.check_run(folder) for folder in arguments.runs]
    place = Path(arguments.images)
    if not place.is_dir():
        raise FileNotFoundError(f"images: expected a folder of images; received {place}")
    images = sorted(path for path in place.iterdir() if data.is_image(path))
    descriptions = [inference.read_run_data(folder) for folder in folders]
    groups = {}
    for image in images:
        groups.setdefault(tuple(training.unseen_by(image, descriptions)), []).append(image)
    for image in (seen := groups.pop((), [])):
        print(f"left out: {image}: every run was trained on an image of this name")
    if not groups:
        raise ValueError(f"images: expected some that a run was not trained on; received {len(seen)} others in {place}")
    pseudo = training.PseudoSet(arguments.output, descriptions[0], arguments.threshold, arguments.share)
    load_keras()
    trained = [inference.load_run(folder) for folder in folders]
    with pseudo, tempfile.TemporaryDirectory(prefix="maskzoo-pseudo-") as scratch:
        for numbers, members in groups.items():
            runs = [trained[number] for number in numbers]
            answering = inference.Ensemble(runs) if len(runs) > 1 else runs[0]
            for image in members:
                label(pseudo, answering, runs, image, Path(scratch), options)
        rows = pseudo.finish()
    ignored = sum(row["ignored"] for row in rows) / len(rows)
    kept = sum(row["kept"] for row in rows)
    print(f"{kept} of {len(rows)} images, {ignored:.0%} of the pixels ignored; {pseudo.table}")
    print(f"try: maskzoo train --data {shlex.quote(str(pseudo.specified))} --init-from {folders[0]}")


def label(pseudo, answering, runs, image, scratch, options):
    """Adds an image to the set, with what the runs say of it."""
    spatial_dims = answering.data.spatial_dims
    output = scratch / f"probabilities{OUTPUT_SUFFIX[spatial_dims]}"
    with data.open_source(image, spatial_dims=spatial_dims) as source:
        inference.predict_image(answering, source, output, probabilities="uint8", restart=True, **options)
        with data.open_source(output, spatial_dims=spatial_dims) as probabilities:
            pseudo.add(image, source, probabilities, [run.name for run in runs])
    output.unlink()
