"""One image of any size through a trained run, tile by tile, into a file that appears when it is whole."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from threading import Lock

import numpy as np
from tqdm import tqdm

from maskzoo import machine
from maskzoo.errors import DiskFull
from maskzoo.files import JSON, check_no_input

from .. import data
from ..data.images.image_files import parts_of_file
from .cluster import Cluster
from .ensemble_plan import noted_plan
from .gate import LabelRecorder, absent_classes, label_recorders
from .identity import identity_of
from .image_values import fitting_source
from .journal import Journal, Layout
from .memory_bound import BoundedTiles, bounded_tiles
from .missing_pixels import with_missing
from .options import (
    DEFAULT_OUTPUT,
    DEFAULT_PROGRESS,
    DEFAULT_TILES,
    GIGABYTE,
    OutputOptions,
    ProgressOptions,
    TileOptions,
)
from .own_grid import growth, on_own_grid, stored_result
from .predictor import NO_POST_PROCESSING, PostProcessing, Predictor, plan_image, thresholds_for
from .results import Result, check_output, check_place, cleaned, write_result
from .scratch import RESUME_HINT, in_bytes
from .tile_plan import TilePlan, covered_windows
from .tiles import TileSelection, of_image
from .values import ImageTask, resized_source, values_of

logger = logging.getLogger(__name__)

# Tiles from which on it is worth a few more to say what blending does.
WORTH_A_REPORT = 32
# Images that are predicted side by side share the model that they are planned with.
PLANNING = Lock()


def predict_image(
    predictor: Predictor,
    source: data.Source,
    output: str | os.PathLike[str],
    options: OutputOptions = DEFAULT_OUTPUT,
    tiles: TileOptions | TilePlan = DEFAULT_TILES,
    post_processing: PostProcessing = NO_POST_PROCESSING,
    progress: ProgressOptions = DEFAULT_PROGRESS,
    cluster: Cluster | None = None,
) -> None:
    """Segments one image and writes the result.

    Progress is kept beside the output: after a kill, Ctrl-C or a full disk the same call resumes where it stopped and
    ends with the same bytes.

    Args:
        predictor: A `Run`, or an `Ensemble`.
        source: An open source of `data.open_source`.
        output: Path of the file to write; its suffix chooses the format: `results.OUTPUT_SUFFIXES`.
        options: What is written.
        tiles: How the image is cut, or a plan of `plan_image`.
        post_processing: What is done to class ids; probabilities are left as they are. With a gate, what was predicted
            before a kill is predicted again for its labels.
        progress: What is kept of a prediction that is interrupted.
        cluster: A cluster of `open_cluster`, whose workers predict, for an image that they see under the same path.

    Raises:
        ImageError: If the image does not fit the run (other channels, other number of axes, NaN in its pixels).
        ExistingFile: If the output is the image, or an earlier call that did not come to its end was one for another
            run, image or option.
        OptionError: If an option does not fit the run, the image or the output.
        OSError: If the image cannot be read to its end, or the output cannot be written.
    """
    output = Path(output)
    check_no_input([output], [part for file in source.files for part in parts_of_file(file)])
    check_output(output, predictor.data, options)
    check_place(source.own or source, output)
    data.check_writable(output)
    source = fitting_source(predictor, source)
    predictor.reader(source)  # refuses an image that does not fit
    described, thresholds = predictor.data, thresholds_for(predictor, data.file_stem(source.name))
    result = Result(described.task, described.class_names, thresholds, options.probabilities)
    post = NO_POST_PROCESSING if options.probabilities else post_processing
    identity = identity_of(predictor, source).as_mapping() | options_identity(options, tiles, post, progress)
    restart = progress.restart or source.path is None
    recorders = label_recorders(predictor) if post.gate else []
    journal = Journal(output, identity, restart=restart, archive=progress.archive)
    writing = Writing(predictor, source, output, options, post, recorders, journal)
    try:
        with journal:
            if journal.finished:
                logger.info("finished before: %s", output)
                return
            writing.fill(stored_result(result, source), tiles, cluster)
            writing.finish(result)
            logger.info("wrote %s", output)
    except KeyboardInterrupt:
        kept = f"; {journal.done} of {writing.parts} parts of {output} are kept" if journal.done else ""
        raise KeyboardInterrupt(f"{kept}; {RESUME_HINT}") from None


def options_identity(
    options: OutputOptions, tiles: TileOptions | TilePlan, post: PostProcessing, progress: ProgressOptions
) -> dict[str, JSON]:
    """What the options say that the values depend on, by argument."""
    return {
        "probabilities": options.probabilities,
        "resize": options.resize,
        "tissue": options.tissue,
        # An output that is finished is not one of another kind; `None` is what older journals say.
        "full size": options.full_size or None,
        "rle dialect": options.rle_dialect,
        "cog": options.cog or None,
        "post-processing": str(post.cleaning or "none"),
        "gate": post.gate and list(post.gate),
        **plan_identity(tiles),
        **progress.depends_on,
    }


def plan_identity(tiles: TileOptions | TilePlan) -> dict[str, JSON]:
    """What says how an image is cut, but for the memory that is free: the plan itself is kept with the values."""
    if isinstance(tiles, TilePlan):
        made = asdict(tiles)
        return {"plan": {name: made[name] for name in ("shape", "overlap", "blend")} if tiles.bound else made}
    is_share = isinstance(tiles, BoundedTiles) and bool(tiles.share)
    values = {name: getattr(tiles, name) for name in asdict(TileOptions())}
    return values | ({"memory": None} if is_share else {})


class Writing:
    """One output on its way: predicted into a journal, then written from it.

    Attributes:
        parts: Number of parts; 0 before they are known.
    """

    def __init__(
        self,
        predictor: Predictor,
        source: data.Source,
        output: Path,
        options: OutputOptions,
        post: PostProcessing,
        recorders: Sequence[LabelRecorder],
        journal: Journal,
    ) -> None:
        self._predictor, self._source, self._output = predictor, source, output
        self._options, self._post, self._journal = options, post, journal
        self._recorders = recorders
        self.parts = 0

    def fill(self, result: Result, tiles: TileOptions | TilePlan, cluster: Cluster | None) -> None:
        """Predicts the parts that are not in the journal yet."""
        predictor, source, journal, options = self._predictor, self._source, self._journal, self._options
        shown = source
        if options.resize is not None:
            bound = bounded_tiles(tiles if isinstance(tiles, TileOptions) else TileOptions())
            shown = resized_source(source, options.resize, bound.memory)
        plan = self._planned(shown, tiles, cluster)
        task = ImageTask(plan, result, None if options.resize is None else source.shape)
        parts = task.parts()
        self.parts = len(parts)
        column_major = data.file_suffix(self._output) == ".csv" and source.own is None
        journal.begin(Layout(parts, result.bands, result.dtype, column_major), plan.as_notes())
        room = in_bytes(journal.scratch.size)
        logger.info("%s; %s of disk beside the output until it is complete", plan, room)
        if journal.done:
            logger.info("resuming after part %d of %d", journal.done, self.parts)
        keep = None
        if options.tissue and options.resize is None:
            keep = tissue_only(source, plan)
        # The labels of all tiles are needed, also of those that are in the journal.
        selection = TileSelection(0 if self._recorders else journal.done, keep=keep)
        if cluster is None:
            values = values_of(predictor, predictor.reader(shown), task, selection, self._recorders)
        else:
            values = cluster.values(predictor, shown, task, selection, self._recorders)
        fill_journal(journal, parts, values, source, selection.first)

    def _planned(self, source: data.Source, tiles: TileOptions | TilePlan, cluster: Cluster | None) -> TilePlan:
        """The plan that was kept, or that was given, or a new one."""
        plan = noted_plan(self._journal.notes)
        if plan is not None:
            if cluster is None and plan.bound and plan.memory > (free := machine.free_memory() + machine.held_memory()):
                need, room = plan.memory / GIGABYTE, free / GIGABYTE
                logger.warning("resuming needs %.1f GB of memory, and %.1f are free; `restart` plans again", need, room)
            return plan
        if isinstance(tiles, TilePlan):
            return tiles
        with PLANNING:
            free = None if cluster is None else cluster.free_memory()
            plan = plan_image(self._predictor, source, bounded_tiles(tiles, free))
            if plan.is_blended and plan.tiles >= WORTH_A_REPORT:
                for run in self._predictor.members:
                    logger.info("%s", run.blending_report(source, plan))
            return plan

    def finish(self, result: Result) -> None:
        """Writes the output from a complete journal.

        Raises:
            DiskFull: If it cannot be written; all that was predicted is kept.
        """
        journal, source, post = self._journal, self._source, self._post
        absent = []
        if post.gate and self._recorders:
            absent = absent_classes(self._predictor, self._recorders, post.gate)
        if absent:
            names = ", ".join(result.class_names[number] for number in absent)
            logger.info("not in this image by its label: %s", names)
        journal.commit()
        own = source.own or source
        values = on_own_grid(journal.read, result, stored_result(result, source), source)
        # Sizes of objects are counted in the pixels that the run sees, in which they were chosen.
        cleaning = post.cleaning and post.cleaning.scaled(growth(source), len(own.shape))
        try:
            held = with_missing(values, own, 0)
            with cleaned(held, result, own.shape, cleaning, self._output, absent) as read:
                write_result(result, with_missing(read, own, 0), own, self._output, self._options)
        except OSError as error:
            free = in_bytes(shutil.disk_usage(self._output.absolute().parent).free)
            raise DiskFull(f"{error} ({free} free); everything is predicted: {RESUME_HINT}") from None
        journal.finish()


def tissue_only(source: data.Source, plan: TilePlan) -> Callable[[data.Window], bool]:
    """A function that says which tiles show tissue; how many do is logged."""
    shows = data.tissue_finder(source)
    number = sum(map(shows, covered_windows(plan)))
    logger.info("tissue on %d of %d tiles; the others are not predicted", number, plan.tiles)
    return shows


def fill_journal(
    journal: Journal,
    parts: Sequence[data.Window],
    values: Generator[np.ndarray, None, None],
    source: data.Source,
    first: int,
) -> None:
    """Writes the parts that are missing; the values begin with part number `first`."""
    done = journal.done
    quiet = None if logger.isEnabledFor(logging.WARNING) else True
    bar = tqdm(total=len(parts), initial=journal.done, unit="part", desc=source.name, leave=None, disable=quiet)
    answers = of_image(values, source.name)
    with bar, closing(values):
        try:
            for number, part in enumerate(answers if first < len(parts) else (), start=first):
                if number >= done:
                    journal.write(part)
                    bar.update()
        except (ValueError, OSError) as error:
            # Damaged pixels stay damaged, and are not worth a journal. A network drive or a cluster that is gone for a
            # while may come back.
            if not isinstance(error, (DiskFull, ConnectionError)) and (source.path is None or source.path.exists()):
                journal.discard()
            raise
