"""One labelled image, predicted whole and seamlessly as `predict` would, and what is counted in it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .. import data, metrics
from ..inference.gate import absent_classes, label_recorders
from ..inference.image_values import fitting_source
from ..inference.options import TileOptions
from ..inference.predictor import PostProcessing, Predictor, thresholds_for
from ..inference.results import without_classes
from ..inference.run_files import RunData
from ..inference.tiles import of_image, predict_tiles
from ..postprocessing.cleaning import Cleaning, clean_labels
from .scores import WHOLE_MAP, ImageScores, MeasureScores
from .spacing import pixel_spacing


@dataclass(frozen=True)
class ImageCounts:
    """Counts of one image, which add up to those of several.

    Attributes:
        pixels: tp, fp, fn of the scored classes, int64 `(classes, 3)`.
        bins: Bins of the calibration `(bins, 3)`, if they were asked for.
        objects: Matched objects of the scored classes: see `object_counts`.
        known: Which of the scored classes the label says anything of, bool `(classes,)`; `None`: all.
    """

    pixels: np.ndarray
    bins: np.ndarray | None = None
    objects: np.ndarray | None = None
    known: np.ndarray | None = None


# The true and the predicted mask of one class, and the pixels that count, bool `(*size)`.
ClassMasks = tuple[np.ndarray, np.ndarray, np.ndarray]


def first_class(description: RunData) -> int:
    """The first class that is scored: the one after the background in a multiclass task."""
    return 1 if description.task == "multiclass" else 0


def score_image(
    run: Predictor,
    case: data.Case,
    measures: Sequence[str],
    tolerance: float,
    post: PostProcessing,
    tiles: TileOptions,
) -> tuple[ImageScores, ImageCounts]:
    """Predicts and scores one image: see `evaluate`."""
    pixels, bins, maps = predict_and_count(run, case, measures, post, tiles)
    masks = [] if maps is None else list(class_masks(run.data, maps, ignored_label(run.data, case)))
    found: dict[str, MeasureScores] = {}
    objects = None
    if "presence" in measures:
        true, predicted = present_pixels(pixels)
        found["presence"] = {"true_pixels": true.tolist(), "predicted_pixels": predicted.tolist()}
    if bins is not None:
        found["calibration"] = calibration_scores(bins)
    if "surface" in measures:
        spacing, _ = pixel_spacing(case.image)
        scores = (metrics.surface.surface_scores(t & valid, p & valid, tolerance, spacing) for t, p, valid in masks)
        found["surface"] = by_class(scores) | {"spacing": list(spacing)}
    if "membrane" in measures:
        found["membrane"] = by_class(membrane_scores(*parts) for parts in masks)
    if "objects" in measures:
        objects = np.array([object_counts(*parts) for parts in masks])
        found["objects"] = by_class(map(object_scores, objects))
    known = np.array([number not in case.unknown for number in range(first_class(run.data), run.data.num_classes)])
    overlap = (known_scores(scores, known) for scores in overlap_scores(pixels))
    found = {name: known_measures(scores, known) for name, scores in found.items()}
    return ImageScores(case.name, *overlap, measures=found), ImageCounts(pixels, bins, objects, known)


def predict_and_count(
    run: Predictor,
    case: data.Case,
    measures: Sequence[str],
    post: PostProcessing,
    tiles: TileOptions,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Predicts one image tile by tile.

    Returns:
        The confusion counts of the scored classes `(classes, 3)`; the calibration bins, if asked for; the true and the
        predicted label map `(2, *shape)`, for a task that is not multiclass `(2, *shape, classes)`, if a measure
        needs them.
    """
    cleaning, gate = post.cleaning, post.gate
    task, ignore, classes = run.data.task, ignored_label(run.data, case), run.data.num_classes
    pixels, bins, maps = np.zeros((classes, 3), np.int64), None, None
    if cleaning or gate or set(measures) & set(WHOLE_MAP):
        maps = np.zeros((2, *case.image.shape, *(() if task == "multiclass" else (classes,))), np.uint8)
    image = fitting_source(run, case.image)
    read, plan = run.reader(image), run.plan(image, tiles)
    thresholds = thresholds_for(run, case.name)
    recorders = label_recorders(run) if gate else None
    for window, logits in of_image(predict_tiles(run.scorer(plan, recorders), read, plan), case.image.name):
        truth = case.read_label(window)
        guess = metrics.predicted_labels(logits, task, thresholds)
        if not (cleaning or gate):
            pixels += metrics.confusion_counts(truth, guess, classes, ignore, task=task)
        if "calibration" in measures:
            found = metrics.calibration.calibration_counts(truth, metrics.probabilities(logits, task), task, ignore)
            bins = found if bins is None else bins + found
        if maps is not None:
            maps[(0, *window.slices)], maps[(1, *window.slices)] = truth, guess
    if maps is not None and (cleaning or gate):
        if gate and recorders:
            maps[1] = without_classes(maps[1], absent_classes(run, recorders, gate), task)
        if cleaning:
            maps[1] = cleaned(maps[1].copy(), cleaning, task)
        for truth, guess in zip(*maps, strict=True):
            pixels += metrics.confusion_counts(truth, guess, classes, ignore, task=task)
    return pixels[first_class(run.data) :], bins, maps


def cleaned(labels: np.ndarray, cleaning: Cleaning, task: str) -> np.ndarray:
    """Labels `(*size)` of a multiclass task, else `(*size, classes)`, after post-processing."""
    size = labels.shape if task == "multiclass" else labels.shape[:-1]
    return clean_labels(lambda first, last: labels[first:last], size, cleaning, task)(0, size[0])


def ignored_label(description: RunData, case: data.Case) -> int | None:
    """The label of pixels that do not count: that of the image, which may have some where the run had none."""
    return description.ignore_index if case.ignore_index is None else case.ignore_index


def class_masks(description: RunData, maps: np.ndarray, ignore: int | None) -> Iterator[ClassMasks]:
    """Yields the true, the predicted and the valid pixels of each scored class; those labelled `ignore` are not."""
    multiclass = description.task == "multiclass"
    for number in range(first_class(description), description.num_classes):
        truth, guess = maps if multiclass else maps[..., number]
        value = number if multiclass else 1
        valid = np.ones(truth.shape, bool) if ignore is None else truth != ignore
        yield truth == value, guess == value, valid


def known_scores(scores: Sequence[float], known: np.ndarray) -> list[float]:
    """Scores with a number per class, NaN for those of which the label says nothing."""
    return [score if counts else math.nan for score, counts in zip(scores, known, strict=True)]


def known_measures(scores: MeasureScores, known: np.ndarray) -> MeasureScores:
    """The scores of a measure, NaN for classes of which the label says nothing."""
    per_class = {key: part for key, part in scores.items() if isinstance(part, list) and key != "spacing"}
    return (
        {**scores, **{key: known_scores(part, known) for key, part in per_class.items()}} if not known.all() else scores
    )


def by_class(scores: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """One dictionary of lists from a dictionary per class."""
    scores = list(scores)
    return {name: [score[name] for score in scores] for name in scores[0]}


def overlap_scores(pixels: np.ndarray) -> tuple[list[float], list[float], list[float], list[float]]:
    """Dice, IoU, precision and recall of each class, from confusion counts `(classes, 3)`."""
    dice, iou = metrics.dice_from_counts(pixels), metrics.iou_from_counts(pixels)
    precision, recall = metrics.precision_from_counts(pixels), metrics.recall_from_counts(pixels)
    return dice.tolist(), iou.tolist(), precision.tolist(), recall.tolist()


def present_pixels(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The true and the predicted pixels of each class, from confusion counts `(..., 3)`."""
    tp, fp, fn = np.moveaxis(pixels, -1, 0)
    return tp + fn, tp + fp


def calibration_scores(bins: np.ndarray) -> MeasureScores:
    """The scores of calibration bins `(bins, 3)`."""
    return {"expected_calibration_error": metrics.calibration.expected_calibration_error(bins)}


def membrane_scores(truth: np.ndarray, guess: np.ndarray, valid: np.ndarray) -> dict[str, float]:
    """Scores the segments that a class separates as a membrane. Pixels that do not count are membrane on both sides."""
    segments = metrics.membrane.segments_from_membrane
    # The true membrane keeps its width, on which nothing counts; the predicted one is thinned.
    return metrics.membrane.segment_scores(segments(truth | ~valid, thin=False), segments(guess | ~valid))


def object_counts(truth: np.ndarray, guess: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Matches the connected parts of a class: `panoptic_counts`, then `object_counts`, in one array that adds up."""
    true_objects, predicted_objects = (np.zeros(truth.shape, np.int32) for _ in range(2))
    ndimage.label(truth & valid, output=true_objects)
    ndimage.label(guess & valid, output=predicted_objects)
    matches = metrics.objects.object_counts(true_objects, predicted_objects)
    return np.concatenate([metrics.objects.panoptic_counts(true_objects, predicted_objects), matches.ravel()])


def object_scores(counts: np.ndarray) -> dict[str, float]:
    """The scores of one class from what `object_counts` returned, of one image or added up."""
    f1 = metrics.dice_from_counts(counts[4:].reshape(-1, 3))
    thresholds = (f"f1_{round(100 * threshold)}" for threshold in metrics.objects.THRESHOLDS)
    _, tp, fp, fn = counts[:4]
    return {
        "true_objects": int(tp + fn),
        "predicted_objects": int(tp + fp),
        "f1": float(f1.mean()),
        **dict(zip(thresholds, f1.tolist(), strict=True)),
        **metrics.objects.panoptic_quality(counts[:4]),
    }
