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

import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

from maskzoo.files import written_atomically

from .. import data, inference
from .predict_options import (
    OUTPUT_SUFFIX,
    add_answer_options,
    add_engine_options,
    add_tiling_options,
    check_answer_options,
    check_engine_options,
    load_answer,
    tell_decision,
    tiling_options,
    with_engine,
)
from .sizes import parse_sizes

SUFFIXES = (".tif", ".png", ".nii.gz", ".npy", ".csv", ".geojson")
# In the folder of results: the progress, and which results are finished.
ARCHIVE = ".maskzoo"


def add_arguments(parser):
    parser.add_argument(
        "runs",
        type=str,
        nargs="+",
        help="run folders that train wrote, RUN:last for the last epoch; several answer together",
    )
    parser.add_argument("input", type=str, help="image or volume, or a folder of them")
    parser.add_argument(
        "output", type=str, help=f"file to write ({', '.join(SUFFIXES)}); a folder, or a .csv, for a folder"
    )
    parser.add_argument(
        "--probabilities",
        type=Literal["uint8", "float32"] | None,
        default=None,
        help="write a band of probabilities per class, not class ids; uint8 are 255ths",
    )
    parser.add_argument("--cog", action="store_true", default=False, help="write cloud-optimised TIFFs with overviews")
    parser.add_argument(
        "--suffix", type=str | None, default=None, help="suffix of the results of a folder; default .tif or .nii.gz"
    )
    parser.add_argument("--restart", action="store_true", default=False, help="forget what an earlier command has left")
    add_answer_options(parser)
    parser.add_argument(
        "--level", type=int | None, default=None, help="level of a pyramid to predict, 0 the finest; default: the run's"
    )
    parser.add_argument(
        "--resolution", type=float | None, default=None, help="size of a pixel to predict at, in the units of the file"
    )
    parser.add_argument(
        "--tissue", action="store_true", default=False, help="predict only tiles with tissue; the rest is background"
    )
    parser.add_argument(
        "--resize",
        type=str | None,
        default=None,
        help="resize the whole of a small image first, to 512 pixels per axis or to 384x512; results have its own size",
    )
    add_engine_options(parser)
    parser.add_argument(
        "--seam-tolerance",
        type=float,
        default=1e-3,
        help="largest error of a probability at the borders of tiles for which less is read around them; 0 for none",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.25,
        help="share of a tile, up to 0.5, over which it is blended with the next, for models that see the whole image",
    )
    parser.add_argument(
        "--blend",
        type=Literal["cosine", "gaussian"],
        default="cosine",
        help="how such tiles fall off where they overlap",
    )
    parser.add_argument(
        "--cluster",
        type=str | None,
        default=None,
        help="predict with Dask: local starts workers on this machine, local:N so many, tcp://host:8786 is a scheduler",
    )
    add_tiling_options(parser)
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
    options = tiling_options(arguments)
    options |= {name: getattr(arguments, name) for name in ("seam_tolerance", "overlap", "blend")}
    if not 0 <= arguments.seam_tolerance < 1:
        raise ValueError(f"--seam-tolerance: expected 0 or a small part of 1; received {arguments.seam_tolerance}")
    parse_sizes(arguments.resize)
    check_engine_options(arguments)
    if arguments.crf and arguments.cluster is not None:
        raise ValueError("--crf: expected a prediction in this process beside it; received --cluster")
    if arguments.cluster is not None:
        inference.check_cluster(arguments.cluster)
    folders = check_answer_options(arguments)
    spatial_dims = inference.run_spatial_dims(folders[0])
    source, output = Path(arguments.input), Path(arguments.output)
    check_input(source)
    if data.is_image(source) or not source.is_dir():
        inference.check_output(output, spatial_dims, arguments.probabilities, arguments.cog)
        data.check_writable(output)
        with opened_cluster(arguments) as cluster:
            told = load_told(arguments, folders, [source])
            segment(*told, source, output, arguments, options, cluster=cluster)
        return
    table = output if data.file_suffix(output) == ".csv" else None
    if table is not None:
        data.check_writable(table)
        output = table.with_name(f".{table.name}.parts")
    jobs = find_jobs(source, output, ".csv" if table else arguments.suffix or OUTPUT_SUFFIX[spatial_dims])
    inference.check_output(jobs[0][1], spatial_dims, arguments.probabilities, arguments.cog)
    output.mkdir(parents=True, exist_ok=True)
    data.check_writable(output / "probe")
    with opened_cluster(arguments) as cluster:
        told = load_told(arguments, folders, [image for image, _ in jobs])
        failed = segment_all(*told, jobs, arguments, options, cluster)
    if table is not None:
        join_tables(table, [path for _, path in jobs if path.exists()])
        if not failed:
            shutil.rmtree(output)
    if failed:
        raise ValueError(
            f"expected {len(jobs)} images that can be segmented; skipped {len(failed)}: {', '.join(map(str, failed))}"
        )


def load_told(arguments, folders, images):
    """A run or ensemble and what is done to its masks, having said so; probabilities are left as they are."""
    trained, cleaning, gate = load_answer(arguments, folders)
    if arguments.probabilities is None:
        tell_decision(trained, cleaning, gate)
    heard = gate if arguments.probabilities is None else None
    return with_measured_engine(arguments, trained, heard, images), {"cleaning": cleaning, "gate": gate}


def with_measured_engine(arguments, trained, gate, images):
    """The run with the engine that is asked for, measured on the first image that can be read."""
    if arguments.engine != "auto":
        return with_engine(arguments, trained, gate, None)
    for number, image in enumerate(images, start=1):
        try:
            with data.open_source(
                image, spatial_dims=trained.data.spatial_dims, **scale_of(arguments, trained)
            ) as source:
                return with_engine(arguments, trained, gate, source, **tiling_options(arguments))
        except (ValueError, OSError):
            if number == len(images):
                raise
    return trained


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


def segment_all(trained, decided, jobs, arguments, options, cluster=None):
    """Segments many images, and returns those that could not be; stops where the disk is full or a cluster is lost."""

    def failed(job):
        image, output = job
        try:
            archive = output.parent / ARCHIVE
            segment(trained, decided, image, output, arguments, options, archive=archive, cluster=cluster)
        except (ValueError, OSError) as error:
            if isinstance(error, (inference.DiskFull, ConnectionError)):
                raise
            print(f"skipped: {error}", file=sys.stderr)
            return True
        return False

    outcomes = map(failed, jobs) if cluster is None else cluster.side_by_side(failed, jobs)
    return [image for (image, _), bad in zip(jobs, outcomes, strict=True) if bad]


def segment(trained, decided, image, output, arguments, options, archive=None, cluster=None):
    scale = scale_of(arguments, trained)
    # Workers may have another working folder.
    path = image if cluster is None else image.absolute()
    with data.open_source(path, spatial_dims=trained.data.spatial_dims, **scale) as source:
        inference.predict_image(
            trained,
            source,
            output,
            probabilities=arguments.probabilities,
            cog=arguments.cog,
            resize=parse_sizes(arguments.resize),
            tissue=arguments.tissue,
            settings={f"--{name}": value for name, value in (*scale.items(), ("crf", arguments.crf))},
            restart=arguments.restart,
            archive=archive,
            cluster=cluster,
            **decided,
            tell=lambda text: print(f"{image}: {text}"),
            **options,
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
