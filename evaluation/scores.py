"""Scores of a trained run on labelled images, predicted whole and seamlessly as `predict` would."""

import difflib
import math

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from .. import metrics
from ..inference.gate import absent_classes, listen, without
from ..inference.predict_image import plan_image, reader, scorer
from ..inference.run import thresholds_for
from ..inference.tile_plan import BASE_MEMORY, GIGABYTE, predict_tiles
from ..postprocessing.cleaning import clean_labels

WHOLE_MAP = ("surface", "membrane", "objects")
MEASURES = ("overlap", "presence", "calibration", *WHOLE_MAP)
# Peak bytes per pixel of the masks, distance transforms, watershed and labelling behind `WHOLE_MAP`, measured on noise,
# blobs and full masks in 2D and 3D; the label maps come on top.
SCORING_BYTES = 64

OVERLAP = {
    "dice": metrics.dice_from_counts,
    "iou": metrics.iou_from_counts,
    "precision": metrics.precision_from_counts,
    "recall": metrics.recall_from_counts,
}
VOLUME_UNITS = {"unknown": "mm", "mm": "mm", "meter": "m", "micron": "um"}
# Semi-major axis in metres and squared eccentricity of WGS 84.
EARTH_RADIUS, EARTH_ECCENTRICITY = 6378137.0, 0.00669437999014


def evaluate(
    run, cases, *, measures=("overlap",), tolerance=1.0, memory=4 * GIGABYTE, cleaning=None, gate=None, **plan_options
):
    """Scores a run on labelled cases.

    Overlap, presence and calibration are counted tile by tile in bounded memory. The others, and post-processing, need
    the label map of a whole image, which is gathered as uint8, one image at a time.

    Args:
        run: A `Run`, or an `Ensemble`.
        cases: Labelled cases of a `data.DataSet` with the run's task and classes.
        measures: What to score, names of `MEASURES`; overlap is always there.
        tolerance: Distance that counts as agreement in the surface Dice, in the unit of the images' spacing.
        memory: Bound in bytes on the expected peak memory of the process.
        cleaning: A `postprocess.Cleaning` of the predicted masks before they are scored; calibration is that of the
            probabilities all the same.
        gate: Least probability of each class's image-level label: see `inference.predict_image`.
        **plan_options: `tile` of `inference.plan_image`.

    Returns:
        A dict whose lists have an entry per class, without the background of a multiclass task: `classes` (names);
        `dice`, `iou`, `precision` and `recall` pooled over all pixels; the same with `mean_` before as means over
        images; `competition_dice`, the mean over images and classes; `images`, a dict per case with its `name` and
        scores; and here and in each image a dict under the name of every further measure: see docs/metrics.md.

    Raises:
        ValueError: If a measure is unknown, there is no case, the label map of an image does not fit the memory, or
            images have spacings in different units.
    """
    for name in measures:
        if name not in MEASURES:
            nearest = difflib.get_close_matches(name, MEASURES, n=1, cutoff=0)[0]
            raise ValueError(f"measures: expected {nearest} (of {', '.join(MEASURES)}); received {name!r}")
    if not cases:
        raise ValueError("data: expected at least one labelled image to evaluate on; received none")
    if (whole := [name for name in WHOLE_MAP if name in measures]) or cleaning or gate:
        check_memory(run, cases, whole, cleaning or gate, memory)
    unit = shared_unit(cases) if "surface" in measures else None
    images, counts = [], []
    for case in tqdm(cases, unit="image", desc="evaluating", disable=None):
        image, count = measure_image(run, case, measures, tolerance, cleaning, gate, memory=memory, **plan_options)
        images.append({"name": case.name, **image})
        counts.append(count)
    pixels = [count["pixels"] for count in counts]
    scores = {
        "classes": list(run.data.class_names[first_class(run) :]),
        **overlap_scores(sum(pixels)),
        **means(images, OVERLAP),
        "competition_dice": metrics.competition_dice(pixels),
        "images": images,
    }
    if "presence" in measures:
        scores["presence"] = presence_scores(pixels)
    if "calibration" in measures:
        scores["calibration"] = calibration_scores(sum(count["bins"] for count in counts))
    if "surface" in measures:
        scores["surface"] = surface_means([image["surface"] for image in images]) | {
            "unit": unit,
            "tolerance": tolerance,
        }
    if "membrane" in measures:
        parts = [image["membrane"] for image in images]
        scores["membrane"] = means(parts, parts[0])
    if "objects" in measures:
        pooled = sum(count["objects"] for count in counts)
        parts = [image["objects"] for image in images]
        scores["objects"] = by_class(map(object_scores, pooled)) | means(parts, ("f1", "panoptic_quality"))
    return scores


def first_class(run):
    """The first class that is scored: the one behind the background of a multiclass task."""
    return 1 if run.data.task == "multiclass" else 0


def check_memory(run, cases, measures, cleaning, memory):
    """Refuses an image whose label maps, and what it takes to score them, do not fit the memory."""
    planes = len(run.data.class_names) if run.data.task == "multilabel" else 1
    for case in cases:
        what = ", ".join(measures) or "post-processing"
        maps = (3 if cleaning else 2) * planes
        need = BASE_MEMORY + math.prod(case.image.shape) * (maps + (SCORING_BYTES if measures else 0))
        if need > memory:
            # Rounded up: what the message asks for suffices.
            tenths = math.ceil(10 * need / GIGABYTE)
            raise ValueError(
                f"--memory: expected at least {tenths / 10} GB for {what} of the whole label map of "
                f"{case.image.name}; received {memory / GIGABYTE:.1f} GB"
            )


def measure_image(run, case, measures, tolerance, cleaning, gate, **plan_options):
    """Predicts and scores one image.

    Returns:
        Its scores, and the counts that add up to the pooled scores of several images.
    """
    pixels, bins, maps = predict_and_count(run, case, measures, cleaning, gate, **plan_options)
    image, count = overlap_scores(pixels), {"pixels": pixels, "bins": bins}
    if "presence" in measures:
        true, predicted = present_pixels(pixels)
        image["presence"] = {"true_pixels": true.tolist(), "predicted_pixels": predicted.tolist()}
    if "calibration" in measures:
        image["calibration"] = calibration_scores(bins)
    if "surface" in measures:
        spacing, _ = pixel_spacing(case.image)
        scores = (
            metrics.surface.surface_scores(truth & valid, guess & valid, tolerance, spacing)
            for truth, guess, valid in class_masks(run, maps)
        )
        image["surface"] = by_class(scores) | {"spacing": list(spacing)}
    if "membrane" in measures:
        image["membrane"] = by_class(membrane_scores(*masks) for masks in class_masks(run, maps))
    if "objects" in measures:
        count["objects"] = np.array([object_counts(*masks) for masks in class_masks(run, maps)])
        image["objects"] = by_class(map(object_scores, count["objects"]))
    return image, count


def predict_and_count(run, case, measures, cleaning, gate, **plan_options):
    """Predicts one image tile by tile.

    Returns:
        The confusion counts of the scored classes `(classes, 3)`; the calibration bins, if asked for; the true and the
        predicted label map `(2, *shape)`, for a task that is not multiclass `(2, *shape, classes)`, if a measure
        needs them.
    """
    task, ignore, classes = run.data.task, run.data.ignore_index, len(run.data.class_names)
    pixels, bins, maps = np.zeros((classes, 3), np.int64), None, None
    if cleaning or gate or set(measures) & set(WHOLE_MAP):
        maps = np.zeros((2, *case.image.shape, *(() if task == "multiclass" else (classes,))), np.uint8)
    read = reader(run, case.image)
    plan = plan_image(run, case.image, **plan_options)
    thresholds = thresholds_for(run, case.name)
    listeners = listen(run) if gate else None
    for window, logits in predict_tiles(scorer(run, plan, listeners), read, plan):
        truth = case.read_label(window)
        guess = metrics.predicted_labels(logits, task, thresholds)
        if not (cleaning or gate):
            pixels += metrics.confusion_counts(truth, guess, classes, ignore, task=task)
        if "calibration" in measures:
            found = metrics.calibration.calibration_counts(truth, metrics.probabilities(logits, task), task, ignore)
            bins = found if bins is None else bins + found
        if maps is not None:
            maps[(0, *window.slices)], maps[(1, *window.slices)] = truth, guess
    if gate:
        maps[1] = without(maps[1], absent_classes(run, listeners, gate), task)
    if cleaning:
        clean = clean_labels(lambda first, last: maps[1, first:last], plan.shape, cleaning, task)
        # Whole first: what is read must not be what is already clean.
        maps[1] = clean(0, plan.shape[0])
    if cleaning or gate:
        for truth, guess in zip(*maps, strict=True):
            pixels += metrics.confusion_counts(truth, guess, classes, ignore, task=task)
    return pixels[first_class(run) :], bins, maps


def class_masks(run, maps):
    """Yields the true, the predicted and the valid pixels of each scored class, as booleans."""
    multiclass, ignore = run.data.task == "multiclass", run.data.ignore_index
    for number in range(first_class(run), len(run.data.class_names)):
        truth, guess = maps if multiclass else maps[..., number]
        value = number if multiclass else 1
        valid = np.ones(truth.shape, bool) if ignore is None else truth != ignore
        yield truth == value, guess == value, valid


def by_class(scores):
    """One dict of lists from a dict per class."""
    scores = list(scores)
    return {name: [score[name] for score in scores] for name in scores[0]}


def means(images, names):
    """Means over images of scores that have a number per class; their names begin with `mean_`."""
    return {f"mean_{name}": np.mean([image[name] for image in images], axis=0).tolist() for name in names}


def overlap_scores(pixels):
    return {name: score(pixels).tolist() for name, score in OVERLAP.items()}


def present_pixels(pixels):
    """The true and the predicted pixels of each class, from confusion counts."""
    tp, fp, fn = np.moveaxis(pixels, -1, 0)
    return tp + fn, tp + fp


def presence_scores(pixels):
    """How well each class's number of predicted pixels tells in which images it is there."""
    true, predicted = present_pixels(np.array(pixels))
    return by_class(metrics.presence.presence_scores(*sums) for sums in zip(true.T, predicted.T, strict=True))


def calibration_scores(bins):
    return {"expected_calibration_error": metrics.calibration.expected_calibration_error(bins)}


def surface_means(images):
    """Means over images; distances without the images where only one side has the class, which are counted instead."""
    scores = means(images, ("surface_dice",))
    for name in ("hausdorff95", "average_surface_distance"):
        distances = np.array([image[name] for image in images])
        finite = np.isfinite(distances)
        number = finite.sum(axis=0)
        total = np.where(finite, distances, 0).sum(axis=0)
        scores[f"mean_{name}"] = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0).tolist()
    return scores | {"one_sided": (len(images) - number).tolist()}


def pixel_spacing(source):
    """Reads the size of a pixel off the frame of an image.

    Returns:
        `(spacing, unit)`: the size along each axis, and `mm`, `um` or `m` for a volume, `m` for a map, where degrees
        are converted at the image's centre, `map unit` for a map whose coordinate system is unknown, `px` for an image
        that has neither.

    Raises:
        ValueError: If a size is not a number above 0.
    """
    spatial_dims, frame = len(source.shape), source.frame
    if frame.affine is not None and frame.header is not None:
        steps = np.asarray(frame.affine, float)[:3, :spatial_dims]
        unit = VOLUME_UNITS[frame.header.get_xyzt_units()[0]]
    elif frame.transform is not None and not frame.transform.is_identity:
        transform = frame.transform
        steps = np.array([[transform.b, transform.a], [transform.e, transform.d]])
        height, width = source.shape
        latitude = transform.f + transform.d * width / 2 + transform.e * height / 2
        scale, unit = metres_per_unit(frame.crs, latitude)
        steps = steps * np.reshape(scale, (-1, 1))
    else:
        return (1.0,) * spatial_dims, "px"
    spacing = np.linalg.norm(steps, axis=0)
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"{source.name}: expected pixel sizes above 0; received {spacing.tolist()}")
    return tuple(spacing.tolist()), unit


def metres_per_unit(crs, latitude):
    """The metres that the units of a map's axes `(x, y)` are long, and their name: `m`, or `map unit` without a CRS."""
    if not crs:
        return (1.0, 1.0), "map unit"
    _, factor = crs.units_factor
    if not crs.is_geographic:
        return (factor, factor), "m"
    sine, cosine = math.sin(latitude * factor), math.cos(latitude * factor)
    flattened = 1 - EARTH_ECCENTRICITY * sine**2
    east = EARTH_RADIUS / math.sqrt(flattened) * cosine
    north = EARTH_RADIUS * (1 - EARTH_ECCENTRICITY) / flattened**1.5
    return (factor * east, factor * north), "m"


def shared_unit(cases):
    """The unit of the spacing of all images: a mean of distances in several would mean nothing."""
    units = {pixel_spacing(case.image)[1]: case.image.name for case in cases}
    if len(units) > 1:
        received = ", ".join(f"{unit} in {name}" for unit, name in units.items())
        raise ValueError(f"surface: expected images with pixel sizes in one unit; received {received}")
    return next(iter(units))


def membrane_scores(truth, guess, valid):
    """Scores the division that a class makes as a membrane. Pixels that do not count are membrane on both sides."""
    segments = metrics.membrane.segments_from_membrane
    # The true membrane keeps its width, on which nothing counts; the predicted one gives way to its segments.
    return metrics.membrane.segment_scores(segments(truth | ~valid, thin=False), segments(guess | ~valid))


def object_counts(truth, guess, valid):
    """Matches the connected parts of a class: `panoptic_counts`, then `object_counts`, in one array that adds up."""
    truth, guess = (ndimage.label(mask & valid)[0] for mask in (truth, guess))
    matches = metrics.objects.object_counts(truth, guess)
    return np.concatenate([metrics.objects.panoptic_counts(truth, guess), matches.ravel()])


def object_scores(counts):
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
