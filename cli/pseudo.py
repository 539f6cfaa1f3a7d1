"""Labels images with trained runs where they are confident: a data set that `train --data` takes.

An image is labelled by the runs that were not trained on it, together; one that all of them were trained on is left
out. Images are known by their pixels, whatever they are called and however they are stored. Pixels of low confidence
are ignored in training. Images are ranked by the mean confidence of the pixels that show a class (of all pixels, where
none does), and are linked, not copied.

The set holds nothing out, and remembers what its makers were trained on: where it is mixed with other sets, a training
leaves out the images whose makers saw what it holds out.

examples:
  maskzoo pseudo runs/unet/fold*-seed0 more-images/ pseudo/
  maskzoo pseudo runs/unet runs/fpn more-images/ pseudo/ --threshold 0.95 --fraction 0.5
      only pixels of 95 % confidence, and only the better half of the images
  maskzoo train --data pseudo/set.yaml --init-from runs/unet
"""

from __future__ import annotations

import logging
import shlex
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskzoo.errors import MissingFile, OptionError
from maskzoo.files import check_no_input

from .. import data, inference, training
from .backend import load_keras
from .parser import Parser
from .predict_options import OUTPUT_SUFFIX, add_tiling_options, tile_options

if TYPE_CHECKING:
    from ..data import LabelMaker
    from ..inference import Predictor

logger = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Adds the options of `pseudo`."""
    parser.add_argument("runs", type=str, nargs="+", help="run folders that train wrote")
    parser.add_argument("images", type=str, help="folder of images")
    parser.add_argument("output", type=str, help="folder to create")
    parser.add_argument("--threshold", type=float, default=0.9, help="confidence from which a label counts")
    parser.add_argument(
        "--fraction", type=float, default=1.0, help="fraction of the images to keep, the most confident first"
    )
    parser.renamed["share"] = "fraction"
    parser.add_flag("--rescale", help="bring images of another type to the range of the run's images")
    add_tiling_options(parser)


def run(arguments: Namespace) -> None:
    """Runs `pseudo`."""
    tiles = tile_options(arguments, seam_tolerance=0.0)
    folders = [inference.check_run(folder) for folder in arguments.runs]
    place = Path(arguments.images)
    if not place.is_dir():
        raise MissingFile(place, "a folder of images", "nothing at that path")
    described = inference.read_run_data(inference.run_folder(folders[0]))
    images = data.images_as_trained(place, described.spec)
    behind = inference.files_behind_runs(folders)
    check_no_input([arguments.output], [place, *images, *map(inference.run_folder, folders), *behind])
    pseudo = training.PseudoSet(arguments.output, described, arguments.threshold, arguments.fraction)
    descriptions = [inference.read_run_data(inference.run_folder(folder)) for folder in folders]
    seen_by = [inference.seen_by(*described) for described in zip(descriptions, folders, strict=True)]
    identities = inference.identities_of_files(images, descriptions[0])
    groups: dict[tuple[int, ...], list[Path]] = {}
    for image, identity in zip(images, identities, strict=True):
        numbers = training.unseen_by(identity, data.name_as_trained(image, described.spec), seen_by)
        groups.setdefault(tuple(numbers), []).append(image)
    for image in (seen := groups.pop((), [])):
        logger.warning("left out: %s: every run was trained on this image", image)
    if not groups:
        raise OptionError("images", "some that a run was not trained on", f"{len(seen)} others in {place}")
    load_keras()
    trained = [replace(inference.read_run(folder), rescale=arguments.rescale) for folder in folders]
    tiles = inference.bounded_tiles(tiles)
    with pseudo, tempfile.TemporaryDirectory(prefix="maskzoo-pseudo-") as scratch:
        for numbers, members in groups.items():
            runs = [trained[number] for number in numbers]
            makers = [training.maker_of(trained[number], seen_by[number]) for number in numbers]
            predictor = inference.Ensemble(runs) if len(runs) > 1 else runs[0]
            for image in members:
                label(pseudo, predictor, makers, image, Path(scratch), tiles)
        labelled = pseudo.finish()
    ignored = sum(image.ignored for image, _ in labelled) / len(labelled)
    kept = sum(is_kept for _, is_kept in labelled)
    logger.info("%d of %d images, %.0f%% of the pixels ignored; %s", kept, len(labelled), 100 * ignored, pseudo.table)
    logger.info("try: maskzoo train --data %s --init-from %s", shlex.quote(str(pseudo.specified)), folders[0])


def label(
    pseudo: training.PseudoSet,
    predictor: Predictor,
    makers: Sequence[LabelMaker],
    image: Path,
    scratch: Path,
    tiles: inference.TileOptions,
) -> None:
    """Adds an image to the set, with what the runs predict for it."""
    spatial_dims = predictor.data.spatial_dims
    output = scratch / f"probabilities{OUTPUT_SUFFIX[spatial_dims]}"
    with data.open_as_trained(image, predictor.data.spec, spatial_dims) as source:
        kind, restart = inference.OutputOptions(probabilities="uint8"), inference.ProgressOptions(restart=True)
        inference.predict_image(predictor, source, output, kind, tiles, progress=restart)
        with data.open_source(output, spatial_dims=spatial_dims) as probabilities:
            pseudo.add(image, source.own or source, probabilities, makers)
    output.unlink()
