"""Thresholds, holes, minimum areas and ensemble weights, searched on predictions of images that no member has seen.

A threshold's score follows from how many pixels of each class have each probability, so one pass over the predictions
scores all of them, exactly. An area's score follows in the same way from the areas of the objects, and from how many
of their pixels are right.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .. import data, metrics
from ..inference.ensemble import Ensemble, check_members, logits_from
from ..inference.tile_plan import predict_tiles
from ..postprocessing.cleaning import (
    Strips,
    background,
    clean_labels,
    cleaning_of,
    fill_holes,
    find_components,
    strip_height,
)

METRICS = ("mean_dice", "dice", "mean_iou", "iou")
# Thresholds are multiples of 1 / STEPS.
STEPS = 1024
# Differences of scores below this are rounding.
TIE = 1e-12
# Pixels of all images together on which weights are compared.
WEIGHT_PIXELS = 1 << 20
WEIGHT_STEPS = (0.3, 0.1, 0.05, 0.02)


@dataclass(frozen=True)
class HeldOut:
    """One image that a model has not seen, with what it answered; rows are read on demand.

    Attributes:
        name: Name of the image.
        shape: Spatial sizes.
        truth: Function from the first row and the row behind the last one to labels: as `Case.read_label` gives them.
        logits: The same to logits `(rows, *shape[1:], classes)`.
    """

    name: str
    shape: tuple[int, ...]
    truth: Callable
    logits: Callable

    def strips(self, read):
        return Strips(self.shape, strip_height(self.shape), read)

    def rows(self):
        """Yields truth and logits of the whole image, strip by strip."""
        for first, last in self.strips(self.truth).borders:
            yield self.truth(first, last), self.logits(first, last)


@dataclass(frozen=True)
class Question:
    """What is decided, and how an answer is scored.

    Attributes:
        task: `binary`, `multilabel` or `multiclass`.
        class_names: Names of the classes.
        ignore_index: Label of pixels that do not count.
        metric: One of `METRICS`; `mean_` is the mean over images, the others pool the pixels of all images.
        shared: One threshold for all classes, not one for each.
        pattern: Regular expression whose match in an image's name is its group, which gets thresholds of its own.
        areas: Search holes and minimum areas too.
    """

    task: str
    class_names: tuple[str, ...]
    ignore_index: int | None = None
    metric: str = METRICS[0]
    shared: bool = False
    pattern: str | None = None
    areas: bool = True

    def __post_init__(self):
        if self.metric not in METRICS:
            raise ValueError(f"--metric: expected one of {', '.join(METRICS)}; received {self.metric!r}")

    @property
    def scored(self):
        """Numbers of the classes that are scored: without the background of a multiclass task."""
        return range(1 if self.task == "multiclass" else 0, len(self.class_names))

    def truth_of(self, labels, number):
        """Where a class is and where the label counts."""
        if self.task != "multiclass":
            labels = labels[..., number]
        valid = np.ones(labels.shape, bool) if self.ignore_index is None else labels != self.ignore_index
        return (labels == (number if self.task == "multiclass" else 1)) & valid, valid

    def measure(self, counts):
        """Dice or IoU of counts `(..., 3)`: tp, fp, fn."""
        return (metrics.dice_from_counts if self.metric.endswith("dice") else metrics.iou_from_counts)(counts)

    def score(self, counts):
        """The metric of the counts of several images, `(images, ..., 3)`."""
        if self.metric.startswith("mean_"):
            return self.measure(counts).mean(axis=0)
        return self.measure(counts.sum(axis=0))


@dataclass
class Finding:
    """What was found for one model, or for an ensemble.

    Attributes:
        decision: What `decision.json` holds of it.
        curves: For each group the score of each scored class at every threshold `k / STEPS`: `(classes, STEPS - 1)`.
        scores: Per scored class: `half` (at 0.5), `threshold` (at the chosen one), `decided` (with holes and areas),
            `left_out` (at the threshold that all other images would choose for each image; `None` for one image).
    """

    decision: dict
    curves: dict = field(default_factory=dict)
    scores: dict = field(default_factory=dict)


def decide(runs, *, metric=METRICS[0], shared=False, pattern=None, areas=True, tta="none", **plan_options):
    """Searches what is best for runs on the images that they held out.

    Runs that held out the same images are members of an ensemble, whose weights are searched; runs that held out others
    are the same model trained on another fold, and are decided on together.

    Args:
        runs: List of `Run`. In every fold there are as many, in the same order.
        metric: One of `METRICS`.
        shared: One threshold for all classes.
        pattern: Regular expression that finds the group of an image in its name.
        areas: Search holes and minimum areas too.
        tta: Test-time augmentation: see `tta.parse_tta`.
        **plan_options: `tile` and `memory` of `inference.plan_image`.

    Returns:
        `(folds, findings, together)`: list of lists of runs, one per fold; a `Finding` for each member; the `Finding`
        of their ensemble, or `None` for a single member. Decisions name the runs by folder.

    Raises:
        ValueError: If the runs do not belong together, or held out nothing.
    """
    folds = arranged(runs)
    first = runs[0].data
    question = Question(first.task, first.class_names, first.ignore_index, metric, shared, pattern, areas)
    if question.task == "multiclass" and (shared or pattern):
        raise ValueError("--shared, --groups: expected a task with thresholds; received multiclass, which has none")
    with tempfile.TemporaryDirectory(prefix="maskzoo-decide-") as folder:
        members = [[] for _ in folds[0]]
        for number, fold in enumerate(folds):
            for member, run in enumerate(fold):
                place = Path(folder) / f"{number}-{member}"
                place.mkdir()
                members[member] += predicted(run, place, tta, **plan_options)
        findings = [search(question, images) for images in members]
        together = None
        if len(members) > 1:
            weights = search_weights(question, members)
            mean = [mixed(images, weights, question.task) for images in zip(*members, strict=True)]
            together = search(question, mean)
            together.decision |= {
                "members": [run.name for fold in folds for run in fold],
                "weights": [weight / len(folds) for _ in folds for weight in weights],
            }
    for finding, column in zip([*findings, together], [*zip(*folds, strict=True), runs], strict=True):
        if finding:
            finding.decision["chosen_on"] |= {"runs": [run.name for run in column], "tta": tta}
    return folds, findings, together


def arranged(runs):
    """The runs by the images that they held out: a list of lists of equal length.

    Raises:
        ValueError: If they differ in task or classes, or in how many held out the same images.
    """
    check_members(runs)
    folds = {}
    for run in runs:
        if not run.data.validation:
            raise ValueError(f"{run.path}: expected a run that held out images to decide on; received one without")
        folds.setdefault((str(run.data.spec["path"]), *sorted(run.data.validation)), []).append(run)
    sizes = sorted({len(fold) for fold in folds.values()})
    if len(sizes) > 1:
        raise ValueError(
            f"runs: expected as many for each set of held-out images; received {sizes[0]} for one and {sizes[-1]} for "
            f"another"
        )
    return list(folds.values())


def predicted(run, folder, tta, **plan_options):
    """Predicts a run's held-out images into files; returns a `HeldOut` for each."""
    ensemble = Ensemble([run], how="logits" if tta == "none" else "probabilities", tta=tta)
    images = []
    for number, case in enumerate(
        tqdm(data.labelled_cases(run.data.as_mapping()), unit="image", desc=run.name, disable=None)
    ):
        plan = ensemble.plan(case.image, **plan_options)
        shape = (*plan.shape, len(run.data.class_names))
        logits = np.lib.format.open_memmap(folder / f"{number}.npy", "w+", np.float32, shape)
        for window, answers in predict_tiles(ensemble.scorer(plan), ensemble.reader(case.image), plan):
            logits[window.slices] = answers
        logits.flush()
        images.append(HeldOut(case.name, plan.shape, rows_of_case(case), slicer(logits)))
    return images


def rows_of_case(case):
    rest = case.image.shape[1:]
    return lambda first, last: case.read_label(data.Window((first, *(0,) * len(rest)), (last - first, *rest)))


def slicer(array):
    return lambda first, last: np.asarray(array[first:last])


def mixed(images, weights, task):
    """One image as an ensemble answers it: the weighted mean of the probabilities of its members."""

    def logits(first, last):
        parts = zip(weights, images, strict=True)
        return logits_from(sum(w * metrics.probabilities(i.logits(first, last), task) for w, i in parts if w), task)

    return HeldOut(images[0].name, images[0].shape, images[0].truth, logits)


def search(question, images):
    """Searches thresholds, then holes at these thresholds, then minimum areas with these holes filled.

    Args:
        question: A `Question`.
        images: List of `HeldOut`.

    Returns:
        A `Finding`.
    """
    classes = len(question.class_names)
    thresholds = dict.fromkeys([image.name for image in images], (0.5,) * classes)
    finding = Finding({"thresholds": [0.5] * classes})
    if question.task == "multiclass":
        counts = np.stack([label_counts(question, image) for image in images])[:, question.scored]
        finding.scores["half"] = finding.scores["threshold"] = question.score(counts)
        finding.scores["left_out"] = None
    else:
        thresholds = search_thresholds(question, images, finding)
    decided = finding.scores["threshold"]
    if question.areas:
        holes, areas, decided = [0] * classes, [0] * classes, np.array(decided)
        for row, number in enumerate(question.scored):
            masks = [masked(question, image, thresholds[image.name], number) for image in images]
            # What is enclosed may be of another class; only background is filled.
            empty = [masked(question, image, (), 0).read if question.task == "multiclass" else None for image in images]
            holes[number], _ = search_holes(question, images, masks, number, empty)
            masks = [fill_holes(mask, holes[number], nothing) for mask, nothing in zip(masks, empty, strict=True)]
            areas[number], decided[row] = search_areas(question, images, masks, number)
        finding.decision |= {"holes": holes, "minimum_area": areas}
        if question.task == "multiclass":
            # Where one class has taken a hole, the next cannot: found only with all classes together.
            cleaning = cleaning_of(classes, holes=holes, minimum_area=areas)
            counts = np.stack([label_counts(question, image, cleaning) for image in images])
            decided = question.score(counts[:, question.scored])
    finding.scores["decided"] = decided
    half, left_out = finding.scores["half"], finding.scores["left_out"]
    finding.decision |= {
        "metric": question.metric,
        "score": float(np.mean(decided)),
        "score_at_half": float(np.mean(half)),
        "gain": float(np.mean(decided) - np.mean(half)),
        "gain_of_thresholds_left_out": None if left_out is None else float(np.mean(left_out) - np.mean(half)),
        "chosen_on": {"images": len(images)},
    }
    return finding


def search_thresholds(question, images, finding):
    """Fills in thresholds, curves and scores of a finding; returns the thresholds of each image."""
    names = [image.name for image in images]
    counts = threshold_counts(np.stack([histograms(question, image) for image in images]))
    groups = dict.fromkeys(names, "") | (data.groups_by_pattern(names, question.pattern) if question.pattern else {})
    by_group, at_half, at_best, left_out = {}, [], [], []
    middle = STEPS // 2 - 1
    for group in dict.fromkeys(groups.values()):
        inside = counts[[groups[name] == group for name in names]]
        finding.curves[group] = question.score(inside)
        best = best_thresholds(question, finding.curves[group])
        by_group[group] = [(index + 1) / STEPS for index in best]
        at_half.append(inside[:, :, middle])
        at_best.append(np.take_along_axis(inside, best[None, :, None, None], 2)[:, :, 0])
        if len(inside) > 1:
            left_out.append(at_choice_of_others(question, inside))
    finding.scores["half"] = question.score(np.concatenate(at_half))
    finding.scores["threshold"] = question.score(np.concatenate(at_best))
    finding.scores["left_out"] = question.score(np.concatenate(left_out)) if len(left_out) == len(by_group) else None
    if question.pattern:
        # An image of no known group is decided as all images together would be.
        overall = best_thresholds(question, question.score(counts))
        finding.decision["thresholds"] = [(index + 1) / STEPS for index in overall]
        finding.decision["groups"] = {"pattern": question.pattern, "thresholds": by_group}
    else:
        finding.decision["thresholds"] = by_group[""]
    return {name: tuple(by_group[groups[name]]) for name in names}


def at_choice_of_others(question, counts):
    """The counts of each image at the thresholds that all other images choose: `(images, classes, 3)`."""
    if question.metric.startswith("mean_"):
        scores = question.measure(counts)
        others = (scores.sum(axis=0) - scores) / (len(scores) - 1)
    else:
        others = (question.measure(part) for part in counts.sum(axis=0) - counts)
    best = np.stack([best_thresholds(question, curves) for curves in others])
    return np.take_along_axis(counts, best[:, :, None, None], 2)[:, :, 0]


def best_thresholds(question, curves):
    """Indices of the best thresholds of each class, from scores `(classes, STEPS - 1)`."""
    if question.shared:
        curves = np.broadcast_to(curves.mean(axis=0), curves.shape)
    away = np.abs(np.arange(1, STEPS) / STEPS - 0.5)
    # Of equal ones the nearest to 0.5.
    return np.array([min(np.flatnonzero(curve >= curve.max() - TIE), key=lambda k: away[k]) for curve in curves])


def histograms(question, image):
    """Pixels of an image by probability and truth: `(classes, STEPS, 2)`.

    Entry `k` counts the pixels that are present at threshold `k / STEPS` and no more at the next one, decided as
    `metrics.predicted_labels` does.
    """
    thresholds = np.arange(1, STEPS) / STEPS
    edges = np.log(thresholds / (1 - thresholds))
    found = np.zeros((len(question.class_names), STEPS, 2), np.int64)
    for labels, logits in image.rows():
        for number in question.scored:
            truth, valid = question.truth_of(labels, number)
            steps = np.searchsorted(edges, logits[..., number][valid], side="right")
            found[number] += np.bincount(2 * steps + truth[valid], minlength=2 * STEPS).reshape(STEPS, 2)
    return found


def threshold_counts(histogram):
    """Counts `(..., STEPS - 1, 3)` of tp, fp, fn at every threshold, from histograms `(..., STEPS, 2)`."""
    above = np.flip(np.flip(histogram, -2).cumsum(axis=-2), -2)
    fp, tp = above[..., 1:, 0], above[..., 1:, 1]
    return np.stack([tp, fp, above[..., :1, 1] - tp], axis=-1)


def label_counts(question, image, cleaning=None):
    """Counts `(classes, 3)` of tp, fp, fn of the likeliest classes of a class map, cleaned or not."""

    def read(first, last):
        return metrics.predicted_labels(image.logits(first, last), question.task)

    if cleaning:
        read = clean_labels(read, image.shape, cleaning, question.task)
    classes, ignore = len(question.class_names), question.ignore_index
    return sum(
        metrics.confusion_counts(image.truth(*rows), read(*rows), classes, ignore, task=question.task)
        for rows in image.strips(read).borders
    )


def masked(question, image, thresholds, number):
    """The mask of one class of an image, as `Strips`."""

    def read(first, last):
        labels = metrics.predicted_labels(image.logits(first, last), question.task, thresholds)
        return labels == number if question.task == "multiclass" else labels[..., number] == 1

    return image.strips(read)


def object_sums(question, image, mask, number, empty=None):
    """The components of a mask, with the right and the wrong pixels of each; of those only that are empty, if given."""

    def right(first, last):
        found, _ = question.truth_of(image.truth(first, last), number)
        return found if empty is None else found & empty(first, last)

    def wrong(first, last):
        found, valid = question.truth_of(image.truth(first, last), number)
        return valid & ~found if empty is None else valid & ~found & empty(first, last)

    return find_components(mask, values=[right, wrong])


def search_holes(question, images, masks, number, empty):
    """The largest area of holes to fill, 0 for none, and its score; of equal ones the smallest."""
    tables = []
    for image, mask, nothing in zip(images, masks, empty, strict=True):
        tp, fp = (values[1:].sum() for values in object_sums(question, image, mask, number).sums)
        holes = object_sums(question, image, background(mask), number, nothing)
        inside = np.flatnonzero(holes.inside[1:]) + 1
        right, wrong = (values[inside] for values in holes.sums)
        tables.append((holes.areas[inside], right, wrong, tp, fp, question_total(question, image, number)))
    sizes = np.unique(np.concatenate([[0], *(areas for areas, *_ in tables)])).astype(np.int64)
    return best_size(question, sizes, [hole_counts(sizes, *table) for table in tables])


def question_total(question, image, number):
    return sum(np.count_nonzero(question.truth_of(labels, number)[0]) for labels, _ in image.rows())


def hole_counts(sizes, areas, right, wrong, tp, fp, present):
    """Counts `(sizes, 3)` of an image whose holes of up to each size are filled."""
    order = np.argsort(areas)
    upto = np.searchsorted(areas[order], sizes, side="right")
    more, worse = (np.concatenate([[0], values[order].cumsum()])[upto] for values in (right, wrong))
    return np.stack([tp + more, fp + worse, present - tp - more], axis=-1)


def search_areas(question, images, masks, number):
    """The least area of objects that stay, 0 for all, and its score; of equal ones the smallest."""
    tables = []
    for image, mask in zip(images, masks, strict=True):
        objects = object_sums(question, image, mask, number)
        tables.append((objects.areas[1:], *(s[1:] for s in objects.sums), question_total(question, image, number)))
    sizes = np.unique(np.concatenate([[0], *(areas + 1 for areas, *_ in tables)])).astype(np.int64)
    return best_size(question, sizes, [area_counts(sizes, *table) for table in tables])


def area_counts(sizes, areas, right, wrong, present):
    """Counts `(sizes, 3)` of an image without the objects that are smaller than each size."""
    order = np.argsort(areas)
    upto = np.searchsorted(areas[order], sizes, side="left")
    tp, fp = (values.sum() - np.concatenate([[0], values[order].cumsum()])[upto] for values in (right, wrong))
    return np.stack([tp, fp, present - tp], axis=-1)


def best_size(question, sizes, counts):
    scores = question.score(np.stack(counts))
    best = np.flatnonzero(scores >= scores.max() - TIE)[0]
    return int(sizes[best]), float(scores[best])


def search_weights(question, members):
    """The weights of an ensemble whose mean of probabilities scores best, each at its own best threshold.

    From the best of the single members and their plain mean, weight is moved to one member or taken from it, in ever
    smaller steps, as long as it helps. Large images are represented by evenly spread pixels.

    Args:
        question: A `Question`.
        members: For every member a list of `HeldOut`, of the same images.

    Returns:
        List of weights that sum to 1.
    """
    pixels = sum(math.prod(image.shape) for image in members[0])
    step = -(-pixels // WEIGHT_PIXELS)
    samples = [sampled(question, images, step) for images in zip(*members, strict=True)]
    number = len(members)
    corners = [np.eye(number)[index] for index in range(number)]
    known = {}

    def score(weights):
        key = tuple(np.round(weights, 4))
        if key not in known:
            known[key] = weighted_score(question, samples, key)
        return known[key]

    best = max([np.full(number, 1 / number), *corners], key=score)
    for move in WEIGHT_STEPS:
        better = True
        while better:
            better = False
            for index in range(number):
                less = best * np.where(np.arange(number) == index, max(0.0, 1 - move / max(best[index], move)), 1)
                steps = [(1 - move) * best + move * corners[index], less / less.sum() if less.sum() else best]
                for weights in steps:
                    if score(weights) > score(best) + TIE:
                        best, better = weights, True
    rounded = np.round(best, 3)
    return (rounded / rounded.sum()).round(6).tolist()


def sampled(question, images, step):
    """Every `step`-th pixel of an image: probabilities `(members, pixels, classes)`, labels `(pixels, ...)`."""
    chances, labels = [], []
    for first, last in images[0].strips(None).borders:
        truth = images[0].truth(first, last)
        truth = truth.reshape(-1, *([] if question.task == "multiclass" else [truth.shape[-1]]))
        labels.append(truth[::step])
        parts = []
        for image in images:
            logits = image.logits(first, last)
            parts.append(metrics.probabilities(logits.reshape(-1, logits.shape[-1])[::step], question.task))
        chances.append(np.stack(parts))
    return np.concatenate(chances, axis=1), np.concatenate(labels)


def weighted_score(question, samples, weights):
    counts = []
    for chances, labels in samples:
        mean = np.tensordot(np.asarray(weights, np.float32), chances, 1)
        image = HeldOut("", (len(mean),), slicer(labels), slicer(logits_from(mean, question.task)))
        counts.append(
            label_counts(question, image)
            if question.task == "multiclass"
            else threshold_counts(histograms(question, image))
        )
    if question.task == "multiclass":
        return question.score(np.stack(counts)[:, question.scored]).mean()
    curves = question.score(np.stack(counts))
    return np.take_along_axis(curves, best_thresholds(question, curves)[:, None], 1).mean()


def draw_findings(path, findings, class_names):
    """Draws the score of every threshold, with 0.5 and the chosen ones marked: a panel for each model and group.

    Args:
        path: PNG to write; it appears when it is complete.
        findings: Dict from name to `Finding`.
        class_names: Names of the scored classes.
    """
    from matplotlib.figure import Figure

    panels = [
        (f"{name}, {group}" if group else name, curve, thresholds_of(finding, group), finding.decision["metric"])
        for name, finding in findings.items()
        for group, curve in finding.curves.items()
    ]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    steps = np.arange(1, STEPS) / STEPS
    for axis, (title, curves, thresholds, metric) in zip(axes, panels, strict=False):
        axis.axvline(0.5, color="0.6", linestyle="--", linewidth=1, label="0.5")
        for number, (name, curve, threshold) in enumerate(zip(class_names, curves, thresholds, strict=True)):
            color = f"C{number}"
            best, half = curve[round(threshold * STEPS) - 1], curve[STEPS // 2 - 1]
            axis.plot(steps, curve, color=color, label=f"{name}: {threshold:.3f}, {best:.4f} ({best - half:+.4f})")
            axis.plot(threshold, best, "o", color=color)
            axis.plot(0.5, half, "o", color=color, fillstyle="none")
        axis.set(title=title, xlabel="threshold", ylabel=metric.replace("_", " "))
        # The interesting part of a curve is its top.
        top = max(curve.max() for curve in curves)
        axis.set_ylim(top - 0.25, top + 0.02)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower center")
    for axis in list(figure.axes)[len(panels) :]:
        axis.set_axis_off()
    data.save_figure(figure, path)


def thresholds_of(finding, group):
    return finding.decision["groups"]["thresholds"][group] if group else finding.decision["thresholds"]
