"""Scores of a trained run on labelled images, of each and of all together."""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from maskzoo import machine
from maskzoo.errors import OptionError
from maskzoo.names import one_of

from .. import data, metrics
from ..inference.memory_bound import bounded_tiles
from ..inference.options import DEFAULT_TILES, GIGABYTE, TileOptions
from ..inference.predictor import NO_POST_PROCESSING, PostProcessing, Predictor
from ..inference.tile_plan import BASE_MEMORY
from .image_scores import (
    ImageCounts,
    by_class,
    calibration_scores,
    first_class,
    object_scores,
    overlap_scores,
    present_pixels,
    score_image,
)
from .scores import MEASURES, WHOLE_MAP, ImageScores, MeasureScores, Scores
from .spacing import shared_unit

logger = logging.getLogger(__name__)

# Peak bytes per pixel of the masks, distance transforms, watershed and labelling behind `WHOLE_MAP`, measured on noise,
# blobs and full masks in 2D and 3D; the label maps come on top.
SCORING_BYTES = 64


def evaluate(
    run: Predictor,
    cases: Sequence[data.Case],
    *,
    measures: Sequence[str] = ("overlap",),
    tolerance: float = 1.0,
    tiles: TileOptions = DEFAULT_TILES,
    post_processing: PostProcessing = NO_POST_PROCESSING,
) -> Scores:
    """Scores a run on labelled cases.

    Overlap, presence and calibration are counted tile by tile in bounded memory. The others, and post-processing, need
    the label map of a whole image, which is gathered as uint8, one image at a time.

    Args:
        run: A run, or an ensemble of runs.
        cases: Labelled cases of a `data.DataSet` with the run's task and classes.
        measures: What to score, names of `MEASURES`; overlap is always among them.
        tolerance: Distance that counts as agreement in the surface Dice, in the unit of the images' spacing.
        tiles: Tile and memory of the prediction. It is exact, whatever the seam tolerance.
        post_processing: What is done to the predicted masks before they are scored. Calibration is that of the
            probabilities, without it.

    Raises:
        OptionError: A measure is unknown, there is no case, or the label map of an image does not fit the memory.
        ImageError: Images have spacings in different units.
    """
    for name in measures:
        if name not in MEASURES:
            raise OptionError("measures", one_of(name, MEASURES), repr(name))
    if not cases:
        raise OptionError("cases", "at least one labelled image to evaluate on", "none")
    tiles = bounded_tiles(replace(tiles, seam_tolerance=0))
    changes = bool(post_processing.cleaning or post_processing.gate)
    if (whole := [name for name in WHOLE_MAP if name in measures]) or changes:
        # What must be held whole may take more than a tile.
        room = machine.free_memory() + machine.held_memory() if tiles.share else tiles.memory
        check_memory(run, cases, whole, changes, room)
    unit = shared_unit(cases) if "surface" in measures else None
    images, counts = [], []
    quiet = None if logger.isEnabledFor(logging.WARNING) else True
    for case in tqdm(cases, unit="image", desc="evaluating", disable=quiet):
        scores, count = score_image(run, case, measures, tolerance, post_processing, tiles)
        images.append(scores)
        counts.append(count)
    pixels = np.array([count.pixels for count in counts])
    dice, iou, precision, recall = overlap_scores(pixels.sum(axis=0))
    found = pooled_measures(images, counts)
    if unit is not None:
        found["surface"] = {**found["surface"], "unit": unit, "tolerance": tolerance}
    return Scores(
        classes=list(run.data.class_names[first_class(run.data) :]),
        dice=dice,
        iou=iou,
        precision=precision,
        recall=recall,
        mean_dice=mean([image.dice for image in images]),
        mean_iou=mean([image.iou for image in images]),
        mean_precision=mean([image.precision for image in images]),
        mean_recall=mean([image.recall for image in images]),
        competition_dice=float(np.nanmean([image.dice for image in images])),
        images=images,
        measures=found,
    )


def check_memory(
    run: Predictor, cases: Sequence[data.Case], measures: Sequence[str], cleaning: bool, memory: float
) -> None:
    """Refuses an image whose label maps, and what it takes to score them, do not fit the memory."""
    planes = run.data.num_classes if run.data.task == "multilabel" else 1
    purpose = ", ".join(measures) or "post-processing"
    for case in cases:
        maps = (3 if cleaning else 2) * planes
        need = BASE_MEMORY + math.prod(case.image.shape) * (maps + (SCORING_BYTES if measures else 0))
        if need > memory:
            # Rounded up, so that what the message asks for suffices.
            least = math.ceil(10 * need / GIGABYTE) / 10
            expected = f"at least {least} GB for {purpose} of the whole label map of {case.image.name}"
            raise OptionError("memory", expected, f"{memory / GIGABYTE:.1f} GB")


def pooled_measures(images: Sequence[ImageScores], counts: Sequence[ImageCounts]) -> dict[str, MeasureScores]:
    """The scores of all images together, for every measure that they have beside overlap."""
    found: dict[str, MeasureScores] = {}
    for name in images[0].measures:
        parts = [image.measures[name] for image in images]
        if name == "presence":
            found[name] = presence_scores(counts)
        elif name == "calibration":
            found[name] = calibration_scores(np.sum([count.bins for count in counts if count.bins is not None], axis=0))
        elif name == "surface":
            found[name] = surface_means(parts)
        elif name == "membrane":
            found[name] = means(parts, parts[0])
        elif name == "objects":
            pooled = np.sum([count.objects for count in counts if count.objects is not None], axis=0)
            found[name] = by_class(map(object_scores, pooled)) | means(parts, ("f1", "panoptic_quality"))
    return found


def means(images: Sequence[MeasureScores], names: Iterable[str]) -> dict[str, list[float]]:
    """Means over images of scores that have a number per class; their names begin with `mean_`."""
    return {f"mean_{name}": mean([image[name] for image in images]) for name in names}


def mean(values: Sequence[object]) -> list[float]:
    """The mean of lists of numbers, place by place; NaN, of classes that a label says nothing of, does not count."""
    numbers = np.array(values, float)
    known = ~np.isnan(numbers)
    total, count = np.where(known, numbers, 0).sum(axis=0), known.sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).tolist()


def presence_scores(counts: Sequence[ImageCounts]) -> dict[str, list[float]]:
    """How well the number of predicted pixels of a class shows in which images it is."""
    true, predicted = present_pixels(np.array([count.pixels for count in counts]))
    known = np.array([np.ones(true.shape[1], bool) if count.known is None else count.known for count in counts])
    columns = zip(true.T, predicted.T, known.T, strict=True)
    return by_class(metrics.presence.presence_scores(truth[some], guess[some]) for truth, guess, some in columns)


def surface_means(images: Sequence[MeasureScores]) -> dict[str, list[float]]:
    """Means over images; distances without the images where only one side has the class, which are counted instead."""
    scores = means(images, ("surface_dice",))
    for name in ("hausdorff95", "average_surface_distance"):
        distances = np.array([image[name] for image in images], float)
        finite = np.isfinite(distances)
        number = finite.sum(axis=0)
        total = np.where(finite, distances, 0).sum(axis=0)
        scores[f"mean_{name}"] = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0).tolist()
        scores["one_sided"] = np.isinf(distances).sum(axis=0).tolist()
    return scores
