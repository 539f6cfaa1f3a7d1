"""Segments an image of any size, or every image of a folder, with a trained run.

The image is read, predicted and written tile by tile: memory depends on the tile, not on the image, and the result is
the same as if the whole image had been predicted at once. After a crash, a kill or Ctrl-C the same command goes on
where it stopped.

The suffix of the output says what is written: .tif .png .nii.gz .npy class ids (or --probabilities), .csv run lengths,
.geojson outlines.

examples:
  python predict.py runs/kidney slide.tif slide-mask.tif
  python predict.py runs/kidney slides/ masks/ --suffix .geojson
  python predict.py runs/kidney slides/ submission.csv
  python predict.py runs/hippocampus volume.nii.gz labels.nii.gz --probabilities float32
  python predict.py runs/fold0 runs/fold1 runs/fold2 slide.tif mask.tif --tta symmetries
      the mean of three runs, each of which sees every tile in its eight symmetries
  python predict.py runs/nuclei slide.tif mask.tif --min-area 30 --fill-holes all
  python predict.py runs/kidney slides/ masks/ --cluster tcp://scheduler:8786
      on the workers of a Dask scheduler; --cluster local:4 starts four on this machine
"""

import logging
import shutil
from argparse import Namespace
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskzoo.errors import DiskFull
from maskzoo.files import written_atomically

from .. import data, inference
from .console import about
from .parser import options_of
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
from .sizes import parse_sizes

if TYPE_CHECKING:
    from ..inference import Cluster, OutputOptions, PostProcessing, Predictor, TileOptions

logger = logging.getLogger(__name__)

SUFFIXES = (".tif", ".png", ".nii.gz", ".npy", ".csv", ".geojson")
# In the folder of results: the progress, and which results are finished.
ARCHIVE = ".maskzoo"


def add_arguments(parser):
    parser.add_argument("runs", type=str, nargs="+", help=RUNS_HELP)
    parser.add_argument("input", type=str, help="image or volume, or a folder of them")
    parser.add_argument(
        "output", type=str, help=f"file to write ({', '.join(SUFFIXES)}); a folder, or a .csv, for a folder"
    )
    parser.add_dataclass_options(inference.OutputOptions, types={"resize": str | None})
    parser.add_argument(
        "--suffix", type=str | None, default=None, help="suffix of the results of a folder; default .tif or .nii.gz"
    )
    parser.add_argument("--restart", action="store_true", default=False, help="forget what an earlier command has left")
    add_predict_options(parser)
    parser.add_argument(
        "--level", type=int | None, default=None, help="level of a pyramid to predict, 0 the finest; default: the run's"
    )
    parser.add_argument(
        "--resolution", type=float | None, default=None, help="size of a pixel to predict at, in the units of the file"
    )
    add_engine_options(parser)
    parser.add_argument(
        "--cluster",
        type=str | None,
        default=None,
        help="predict with Dask: local starts workers on this machine, local:N so many, tcp://host:8786 is a scheduler",
    )
    add_tiling_options(parser, more=True)
    parser.rewrite = with_cluster


def with_cluster(arguments: list[str]) -> list[str]:
    """Gives `--cluster` its usual value where none follows, but another option, a path that is there, or nothing."""
    completed = list(arguments)
    for number, argument in enumerate(arguments):
        following = arguments[number + 1] if number + 1 < len(arguments) else "-"
        if argument == "--cluster" and following != "local" and (following[0] == "-" or Path(following).exists()):
            completed[number] = "--cluster=local"
    return completed


def run(arguments):
    tiles = tile_options(arguments)
    options = options_of(inference.OutputOptions, arguments, resize=parse_sizes(arguments.resize))
    check_engine_options(arguments)
    if arguments.cluster is not None:
        inference.check_cluster(arguments.cluster)
    folders = check_predict_options(arguments)
    spatial_dims = inference.run_spatial_dims(folders[0])
    source, output = Path(arguments.input), Path(arguments.output)
    check_input(source)
    if data.is_image(source) or not source.is_dir():
        inference.check_output(output, spatial_dims, options)
        data.check_writable(output)
        with opened_cluster(arguments) as cluster:
            predictor, post = load(arguments, folders, [source])
            job = Segmentation(predictor, post, arguments, options, tiles, cluster)
            segment(job, source, output)
        return
    table = output if data.file_suffix(output) == ".csv" else None
    if table is not None:
        data.check_writable(table)
        output = table.with_name(f".{table.name}.parts")
    jobs = find_jobs(source, output, ".csv" if table else arguments.suffix or OUTPUT_SUFFIX[spatial_dims])
    inference.check_output(jobs[0][1], spatial_dims, options)
    output.mkdir(parents=True, exist_ok=True)
    data.check_writable(output / "probe")
    with opened_cluster(arguments) as cluster:
        predictor, post = load(arguments, folders, [image for image, _ in jobs])
        failed = segment_all(Segmentation(predictor, post, arguments, options, tiles, cluster), jobs)
    if table is not None:
        join_tables(table, [path for _, path in jobs if path.exists()])
        if not failed:
            shutil.rmtree(output)
    if failed:
        raise ValueError(
            f"expected {len(jobs)} images that can be segmented; skipped {len(failed)}: {', '.join(map(str, failed))}"
        )


def load(arguments, folders, images):
    """A run or ensemble and what is done to its masks, having said so; probabilities are left as they are."""
    predictor, post = load_predictor(arguments, folders)
    if arguments.probabilities is None:
        log_decision(predictor, post)
    else:
        post = inference.PostProcessing()
    return with_measured_engine(arguments, predictor, bool(post.gate), images), post


def with_measured_engine(arguments, predictor, gated, images):
    """The run with the engine that is asked for, measured on the first image that can be read."""
    if arguments.engine != "auto":
        return with_engine(arguments, predictor, gated, None)
    for number, image in enumerate(images, start=1):
        try:
            scale = scale_of(arguments, predictor)
            with data.open_source(image, spatial_dims=predictor.data.spatial_dims, **scale) as source:
                return with_engine(arguments, predictor, gated, source)
        except (ValueError, OSError):
            if number == len(images):
                raise
    return predictor


def scale_of(arguments, trained):
    """The level or resolution at which images are opened."""
    scale = {"level": arguments.level, "resolution": arguments.resolution}
    if scale == {"level": None, "resolution": None}:
        spec = trained.data.spec
        scale = {name: spec.get(name) for name in scale}
    return scale


def opened_cluster(arguments):
    """A context with the cluster that is asked for, or with `None`."""
    return nullcontext() if arguments.cluster is None else inference.open_cluster(arguments.cluster)


@dataclass(frozen=True)
class Segmentation:
    """What is the same for all images of a command.

    Attributes:
        predictor: The run or the ensemble.
        post: What is done to its masks.
        arguments: The parsed command line.
        options: What is written.
        tiles: How images are cut.
        cluster: The cluster that predicts; `None` for this process.
    """

    predictor: "Predictor"
    post: "PostProcessing"
    arguments: Namespace
    options: "OutputOptions"
    tiles: "TileOptions"
    cluster: "Cluster | None"


def segment_all(job: Segmentation, images: list[tuple[Path, Path]]) -> list[Path]:
    """Segments many images, and returns those that could not be; stops where the disk is full or a cluster is lost."""

    def failed(pair: tuple[Path, Path]) -> bool:
        image, output = pair
        try:
            segment(job, image, output, archive=output.parent / ARCHIVE)
        except (ValueError, OSError) as error:
            if isinstance(error, (DiskFull, ConnectionError)):
                raise
            logger.warning("skipped: %s", error)
            return True
        return False

    outcomes = map(failed, images) if job.cluster is None else job.cluster.side_by_side(failed, images)
    return [image for (image, _), bad in zip(images, outcomes, strict=True) if bad]


def segment(job: Segmentation, image: Path, output: Path, archive: Path | None = None) -> None:
    """Segments one image."""
    scale = scale_of(job.arguments, job.predictor)
    # Workers may have another working folder.
    path = image if job.cluster is None else image.absolute()
    progress = inference.ProgressOptions(job.arguments.restart, archive, scale)
    with (
        about(str(image), brief=False),
        data.open_source(path, spatial_dims=job.predictor.data.spatial_dims, **scale) as source,
    ):
        inference.predict_image(
            job.predictor, source, output, job.options, job.tiles, job.post, progress, cluster=job.cluster
        )


def check_input(source):
    """Refuses an input that is not there.

    Raises:
        FileNotFoundError: If it is missing.
    """
    if not source.exists():
        raise FileNotFoundError(
            f"input: expected an image or a folder of images; received {source}, which is not there"
        )


def find_jobs(source, output, suffix):
    """Returns `(image, output)` for every image of a folder.

    Raises:
        FileNotFoundError: If there is no image.
        NotADirectoryError: If the output is a file.
        ValueError: If two images would have the same output.
    """
    images = sorted(path for path in source.iterdir() if data.is_image(path))
    if not images:
        raise FileNotFoundError(f"input: expected a folder with images; received {source}, which has none")
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"output: expected a folder for the results of a folder; received {output}, a file")
    stems = [data.file_stem(image) for image in images]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise ValueError(f"input: expected images of different names in {source}; received several named {twice}")
    return [(image, output / f"{stem}{suffix}") for image, stem in zip(images, stems, strict=True)]


def join_tables(table, parts):
    """Writes one CSV from those of the images, which have the same header."""

    def write(path):
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            for number, part in enumerate(parts):
                with open(part, encoding="utf-8") as rows:
                    header = rows.readline()
                    file.write("" if number else header)
                    shutil.copyfileobj(rows, file)

    if parts:
        with written_atomically(table) as unfinished:
            write(unfinished)
        print(f"wrote {table}")
