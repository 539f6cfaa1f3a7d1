"""Segments an image of any size, or every image of a folder, with a trained run.

The image is read, predicted and written tile by tile: memory depends on the tile, not on the image, and the result is
the same as if the whole image had been predicted at once. After a crash, a kill or Ctrl-C the same command resumes
where it stopped.

The suffix of the output selects what is written: class ids (or --probabilities) as .tif, .png, .nii.gz or .npy; run
lengths as .csv; outlines as .geojson.

examples:
  python predict.py runs/kidney slide.tif slide-mask.tif
  python predict.py runs/kidney slides/ masks/ --suffix .geojson
  python predict.py runs/kidney slides/ submission.csv
  python predict.py runs/hippocampus volume.nii.gz labels.nii.gz --probabilities float32
  python predict.py runs/fold0 runs/fold1 runs/fold2 slide.tif mask.tif --tta symmetries
      the mean of three runs, each of which predicts every tile in its eight flips and rotations
  python predict.py runs/nuclei slide.tif mask.tif --min-area 30 --fill-holes all
  python predict.py runs/kidney slides/ masks/ --cluster tcp://scheduler:8786
      on the workers of a Dask scheduler; --cluster local:4 starts four on this machine
"""

from __future__ import annotations

import logging
import math
import shutil
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskzoo.errors import ExistingFile, MissingFile, OptionError
from maskzoo.files import check_no_input, written_atomically
from maskzoo.names import counted

from .. import data, inference
from .parser import Parser, options_of
from .predict_options import (
    OUTPUT_SUFFIX,
    RUNS_HELP,
    add_engine_options,
    add_predict_options,
    add_tiling_options,
    check_engine_options,
    check_predict_options,
    load_predictor,
    log_decision,
    tile_options,
    with_engine,
)
from .segmentation import Segmentation, scale_of, segment, segment_all
from .sizes import parse_sizes

if TYPE_CHECKING:
    from ..inference import Cluster, PostProcessing, Predictor, TileOptions

logger = logging.getLogger(__name__)

SUFFIXES = (".tif", ".png", ".nii.gz", ".npy", ".csv", ".geojson")


def add_arguments(parser: Parser) -> None:
    """Adds the options of `predict`."""
    parser.add_argument("runs", type=str, nargs="+", help=RUNS_HELP)
    parser.add_argument("input", type=str, help="image or volume, or a folder of them")
    parser.add_argument(
        "output", type=str, help=f"file to write ({', '.join(SUFFIXES)}); for a folder, a folder or a .csv"
    )
    parser.add_argument(
        "--suffix", type=str | None, default=None, help="suffix of the results of a folder; by default .tif or .nii.gz"
    )
    parser.add_flag("--restart", help="start again, whatever an earlier command has left")
    parser.add_argument(
        "--level", type=int | None, default=None, help="pyramid level to predict, 0 the finest; by default the run's"
    )
    parser.add_argument(
        "--resolution", type=float | None, default=None, help="pixel size to predict at, in the units of the file"
    )
    parser.add_argument(
        "--cluster",
        type=str | None,
        default=None,
        help="predict with Dask: local starts workers here, local:N starts N of them; tcp://host:8786 is a scheduler",
    )
    parser.add_dataclass_options(inference.OutputOptions, types={"resize": str | None})
    add_engine_options(parser)
    add_tiling_options(parser, more=True)
    add_predict_options(parser)
    parser.rewrite = with_cluster


def with_cluster(arguments: list[str]) -> list[str]:
    """Gives `--cluster` its default value if it is followed by another option, by a path that exists, or by nothing."""
    completed = list(arguments)
    for number, argument in enumerate(arguments):
        following = arguments[number + 1] if number + 1 < len(arguments) else "-"
        if argument == "--cluster" and following != "local" and (following[0] == "-" or Path(following).exists()):
            completed[number] = "--cluster=local"
    return completed


def run(arguments: Namespace) -> None:
    """Runs `predict`."""
    tiles = tile_options(arguments)
    options = options_of(inference.OutputOptions, arguments, resize=parse_sizes(arguments.resize))
    check_engine_options(arguments)
    if arguments.cluster is not None:
        inference.check_cluster(arguments.cluster)
    folders = check_predict_options(arguments)
    check_scale(arguments)
    if options.probabilities and (unused := options_of(inference.PredictOptions, arguments).of_masks):
        expected = f"no {' and no '.join(f'`{name}`' for name in unused)}, which changes masks alone"
        raise OptionError("probabilities", expected, options.probabilities)
    described = inference.read_run_data(inference.run_folder(folders[0]))
    spatial_dims = described.spatial_dims
    source, output = Path(arguments.input), Path(arguments.output)
    if not source.exists():
        raise MissingFile(source, "an image or a folder of images", "nothing at that path")
    behind = inference.files_behind_runs(folders)
    alone = data.is_image(source) or not source.is_dir()
    if arguments.suffix is not None and (alone or data.file_suffix(output) == ".csv"):
        raise OptionError("suffix", "a folder to segment into a folder", f"{output}, whose name says its format")
    if arguments.suffix is not None and Path(f"x{arguments.suffix}").name != f"x{arguments.suffix}":
        raise OptionError("suffix", "the end of a file name, such as .tif", arguments.suffix)
    if alone:
        check_no_input([output], [*data.files_as_trained(source, described.spec), *behind])
        inference.check_output(output, described, options)
        data.check_writable(output)
        with opened_cluster(arguments) as cluster:
            predictor, post = load(arguments, folders, [source])
            tiles = bounded(tiles, cluster)
            segment(Segmentation(predictor, post, arguments, options, tiles, cluster), source, output)
        return
    table = output if data.file_suffix(output) == ".csv" else None
    if table is not None:
        check_no_input([table], [*(file for file in source.iterdir() if data.is_image(file)), *behind])
        data.check_writable(table)
        output = table.with_name(f".{table.name}.parts")
    suffix = ".csv" if table else arguments.suffix or OUTPUT_SUFFIX[spatial_dims]
    images = find_images(source, output, suffix, described.spec)
    check_no_input([output], [source])
    beside = [file for file in source.iterdir() if not file.is_dir()]
    parts = [part for image, _ in images for part in data.files_as_trained(image, described.spec)]
    check_no_input([path for _, path in images], [*parts, *beside, *behind])
    inference.check_output(images[0][1], described, options)
    output.mkdir(parents=True, exist_ok=True)
    data.check_writable(output / "probe")
    with opened_cluster(arguments) as cluster:
        predictor, post = load(arguments, folders, [image for image, _ in images])
        tiles = bounded(tiles, cluster)
        failed = segment_all(Segmentation(predictor, post, arguments, options, tiles, cluster), images)
    if table is None:
        logger.info("wrote %s", output)
    else:
        join_tables(table, [path for _, path in images if path.exists()])
        if not failed:
            shutil.rmtree(output)
    if failed:
        raise OptionError(
            "input",
            counted(len(images), "readable image"),
            f"{counted(len(failed), 'damaged or unsuitable one')}, skipped: {', '.join(map(str, failed))}",
        )


def check_scale(arguments: Namespace) -> None:
    """Refuses a level and a resolution that cannot be, or not both."""
    if arguments.level is not None and arguments.level < 0:
        raise OptionError("level", "a whole number, at least 0", arguments.level)
    if arguments.resolution is not None and not 0 < arguments.resolution < math.inf:
        raise OptionError("resolution", "the size of a pixel, above 0", arguments.resolution)
    if arguments.level is not None and arguments.resolution is not None:
        raise OptionError("level", "either `level` or `resolution`", "both")


def load(arguments: Namespace, folders: Sequence[Path], images: Sequence[Path]) -> tuple[Predictor, PostProcessing]:
    """Loads the runs, says what was decided for them, and returns them with their post-processing.

    Probabilities are not post-processed.
    """
    predictor, post = load_predictor(arguments, folders)
    inference.check_blending(predictor, tile_options(arguments))
    if arguments.probabilities is None:
        log_decision(predictor, post)
    else:
        post = inference.PostProcessing()
    return with_measured_engine(arguments, predictor, bool(post.gate), images), post


def with_measured_engine(arguments: Namespace, predictor: Predictor, gated: bool, images: Sequence[Path]) -> Predictor:
    """The run with the requested engine; `auto` is measured on the first image that can be read."""
    if arguments.engine != "auto":
        return with_engine(arguments, predictor, gated, None)
    for number, image in enumerate(images, start=1):
        try:
            described = predictor.data
            changes = scale_of(arguments, described.spec)
            with data.open_as_trained(image, described.spec, described.spatial_dims, changes) as source:
                return with_engine(arguments, predictor, gated, source)
        except (ValueError, OSError):
            if number == len(images):
                raise
    return predictor


def bounded(tiles: TileOptions, cluster: Cluster | None) -> TileOptions:
    """The options of tiles with the memory that all images are planned for: plans of equal images are equal."""
    return inference.bounded_tiles(tiles, None if cluster is None else cluster.free_memory())


def opened_cluster(arguments: Namespace) -> AbstractContextManager[Cluster | None]:
    """A context with the requested cluster, or with `None`."""
    return nullcontext() if arguments.cluster is None else inference.open_cluster(arguments.cluster)


def find_images(
    source: Path,
    output: Path,
    suffix: str,
    trained: Mapping[str, Any] | None = None,  # JSON values
) -> list[tuple[Path, Path]]:
    """Returns the images of a folder, each with the file to write for it.

    Args:
        source: The folder.
        output: Folder of the results.
        suffix: Suffix of the results.
        trained: The specification in the `data.json` of the run, which says in how many files the channels are.

    Raises:
        MissingFile: If there is no image.
        ExistingFile: If the output is a file.
        OptionError: If two images would have the same output.
    """
    images = data.images_as_trained(source, trained or {})
    if output.exists() and not output.is_dir():
        raise ExistingFile(output, "a folder for the results of a folder", "a file")
    stems = [data.name_as_trained(image, trained or {}) for image in images]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise OptionError("input", f"images of different names in {source}", f"several named {twice}")
    return [(image, output / f"{stem}{suffix}") for image, stem in zip(images, stems, strict=True)]


def join_tables(table: Path, parts: Sequence[Path]) -> None:
    """Writes one CSV from those of the images, which have the same header."""
    if not parts:
        return
    with written_atomically(table) as unfinished, open(unfinished, "w", encoding="utf-8", newline="\n") as file:
        for number, part in enumerate(parts):
            with open(part, encoding="utf-8") as rows:
                header = rows.readline()
                file.write("" if number else header)
                shutil.copyfileobj(rows, file)
    logger.info("wrote %s", table)
