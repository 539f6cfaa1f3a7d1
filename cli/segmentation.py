"""One image after another through the same run: the plan once per kind of image, one line of progress."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from maskzoo.errors import DiskFull
from maskzoo.names import counted

from .. import data, inference
from .console import about
from .progress import Progress

if TYPE_CHECKING:
    from ..data import Source
    from ..inference import Cluster, OutputOptions, PostProcessing, Predictor, TileOptions

logger = logging.getLogger(__name__)

# In the folder of results: the progress, and which results are finished.
ARCHIVE = ".maskzoo"


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
        kinds: The kinds of images whose plan was printed.
        lock: Protects `kinds`.
    """

    predictor: Predictor
    post: PostProcessing
    arguments: Namespace
    options: OutputOptions
    tiles: TileOptions
    cluster: Cluster | None
    kinds: set[object] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)

    def is_new(self, source: Source) -> bool:
        """Whether it is the first image of its kind: of its format, type and channels."""
        kind = (type(source), source.dtype, source.channels, len(source.shape))
        with self.lock:
            new = kind not in self.kinds
            self.kinds.add(kind)
        return new


def scale_of(arguments: Namespace, trained: Mapping[str, Any]) -> dict[str, Any]:  # JSON values
    """What is asked for instead of the run's level, resolution, spacing and size; values of `None` where nothing is.

    An image that is to be resized is opened at the run's level or resolution, and not resized twice.
    """
    asked = {"level": arguments.level, "resolution": arguments.resolution}
    if arguments.resize is not None and asked == {"level": None, "resolution": None}:
        asked = {name: trained.get(name) for name in asked}
        return asked if any(value is not None for value in asked.values()) else {"level": 0}
    return asked


def open_image(job: Segmentation, image: Path, changes: Mapping[str, Any]) -> Source:  # as of `scale_of`
    """Opens an image as the runs read it, but for changes of its scale, and says what was decided about its pixels."""
    described = job.predictor.data
    source = data.open_as_trained(image, described.spec, described.spatial_dims, changes)
    for note in source.notes:
        logger.info("%s: %s", image, note)
    return source


def segment(job: Segmentation, image: Path, output: Path, archive: Path | None = None) -> None:
    """Segments one image.

    Args:
        job: How.
        image: The image.
        output: The file to write.
        archive: Folder of the progress of many images; then only the first image of a kind is reported on.
    """
    described, changes = job.predictor.data, scale_of(job.arguments, job.predictor.data.spec)
    scale = data.scale_as_trained(described.spec, changes).as_dict()
    # Workers may have another working folder.
    path = image if job.cluster is None else image.absolute()
    progress = inference.ProgressOptions(job.arguments.restart, archive, scale)
    with open_image(job, path, changes) as source:
        context = nullcontext() if archive is None else about(str(image), brief=not job.is_new(source))
        with context:
            inference.predict_image(
                job.predictor, source, output, job.options, job.tiles, job.post, progress, cluster=job.cluster
            )


def segment_all(job: Segmentation, images: Sequence[tuple[Path, Path]]) -> list[Path]:
    """Segments many images, and returns those that could not be.

    Args:
        job: How.
        images: Images, each with the file to write.

    Raises:
        DiskFull: If the disk is full; the other images are not tried.
        ConnectionError: If the cluster is lost.
    """

    def failed(pair: tuple[Path, Path]) -> bool:
        image, output = pair
        try:
            segment(job, image, output, archive=output.parent / ARCHIVE)
        except (ValueError, OSError) as error:
            if isinstance(error, (DiskFull, ConnectionError)):
                raise
            logger.error("skipped: %s", error)
            return True
        finally:
            progress.advance()
        return False

    with Progress(len(images), "image") as progress:
        run = map if job.cluster is None else job.cluster.side_by_side
        outcomes = list(run(failed, images))
    skipped = [image for (image, _), bad in zip(images, outcomes, strict=True) if bad]
    done = counted(len(images) - len(skipped), "image")
    logger.info("segmented %s in %s", done, progress.elapsed)
    return skipped
