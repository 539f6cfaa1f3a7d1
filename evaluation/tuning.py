"""The search for what is best for trained runs on held-out images: thresholds, holes, minimum areas, weights."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from maskzoo.errors import OptionError, RunError

from .. import data
from ..data.labels.scheme import IGNORED
from ..inference.decisions import distinct_names
from ..inference.ensemble import check_members
from ..inference.memory_bound import bounded_tiles
from ..inference.options import DEFAULT_TILES, TileOptions
from ..inference.run import Run
from ..inference.run_files import Decision
from ..inference.seen_images import held_out_by
from ..postprocessing.cleaning import cleaning_of
from .ensemble_weights import search_weights
from .held_out import HeldOutImage, in_order_of, predict_held_out, weighted_mean
from .object_sizes import class_mask, search_sizes
from .search_space import METRICS, SearchSpace
from .thresholds import ChosenThresholds, label_counts, search_thresholds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchResult:
    """What was found for one model, or for an ensemble.

    Attributes:
        decision: What `decision.json` holds of it.
        at_half: Score of each scored class at a threshold of 0.5.
        at_thresholds: Score of each scored class at the chosen thresholds.
        decided: Score of each scored class at the chosen thresholds, with holes filled and small objects removed.
        left_out: Score of each scored class at the thresholds that all other images would choose for each image;
            `None` for a single image, or without thresholds.
        curves: For each group the score of each scored class at every threshold: `(classes, STEPS - 1)`.
    """

    decision: Decision
    at_half: np.ndarray
    at_thresholds: np.ndarray
    decided: np.ndarray
    left_out: np.ndarray | None = None
    curves: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of images that it was found on."""
        return (self.decision.chosen_on or {"images": 0})["images"]


@dataclass(frozen=True)
class Tuning:
    """What `decide` found.

    Attributes:
        folds: The runs: a list for each set of held-out images, with a run of each member.
        members: What was found for each member.
        ensemble: What was found for all members together; `None` for a single member.
    """

    folds: list[list[Run]]
    members: list[SearchResult]
    ensemble: SearchResult | None

    def named(self) -> dict[str, SearchResult]:
        """What was found, by the names of the runs that it was found for."""
        columns = zip(*self.folds, strict=True)
        columns = [list(column) for column in columns]
        names = [" + ".join(run.name for run in column) for column in columns]
        if len(set(names)) < len(names):
            distinct = distinct_names([run for column in columns for run in column])
            names = [" + ".join(distinct[n * len(self.folds) : (n + 1) * len(self.folds)]) for n in range(len(columns))]
        results = dict(zip(names, self.members, strict=True))
        return results | ({"ensemble": self.ensemble} if self.ensemble else {})


def decide(
    runs: Sequence[Run],
    *,
    metric: str = METRICS[0],
    shared: bool = False,
    groups: str | None = None,
    areas: bool = True,
    tta: str = "none",
    tiles: TileOptions = DEFAULT_TILES,
) -> Tuning:
    """Searches what is best for runs on the images that they held out.

    Runs that held out the same images are members of an ensemble, whose weights are searched. Runs that held out other
    images are the same models trained on another fold; there is one decision for all folds of a model.

    Args:
        runs: The runs; every fold has as many.
        metric: One of `METRICS`.
        shared: One threshold for all classes.
        groups: Regular expression that finds the group of an image in its name.
        areas: Whether holes and minimum areas are searched too.
        tta: Test-time augmentation: see `tta.parse_tta`.
        tiles: Tile and memory of the prediction. It is exact, whatever the seam tolerance.

    Raises:
        OptionError: An option has no meaning for the task.
        RunError: The runs do not belong together, or held out nothing.
    """
    folds = arrange_folds(runs)
    tiles = bounded_tiles(replace(tiles, seam_tolerance=0))
    described = runs[0].data
    if groups is not None:
        data.groups_by_pattern([name for fold in folds for name in fold[0].data.validation], groups)
    # What a run was not told to leave out may be lacking in an image.
    space = SearchSpace(described.task, described.class_names, IGNORED, metric, shared, groups, areas)
    with tempfile.TemporaryDirectory(prefix="maskzoo-decide-") as folder:
        images: list[list[HeldOutImage]] = [[] for _ in folds[0]]
        for number, fold in enumerate(folds):
            first: list[HeldOutImage] = []
            for member, run in enumerate(fold):
                place = Path(folder) / f"{number}-{member}"
                place.mkdir()
                predicted = predict_held_out(run, place, tta, tiles)
                first = first or predicted
                images[member] += in_order_of(predicted, first, run)
        members = [
            chosen_on(search(space, part), column, tta)
            for part, column in zip(images, zip(*folds, strict=True), strict=True)
        ]
        ensemble = None
        if len(members) > 1:
            weights = search_weights(space, images)
            mean = [weighted_mean(parts, weights, space.task) for parts in zip(*images, strict=True)]
            found = chosen_on(search(space, mean), runs, tta)
            everyone = [run for fold in folds for run in fold]
            together = replace(
                found.decision,
                members=tuple(distinct_names(everyone)),
                weights=tuple(weight / len(folds) for _ in folds for weight in weights),
                models=tuple(run.identity for run in everyone),
                folds=tuple(number for number, fold in enumerate(folds) for _ in fold),
            )
            ensemble = replace(found, decision=together)
    return Tuning(folds, members, ensemble)


def chosen_on(result: SearchResult, runs: Sequence[Run], tta: str) -> SearchResult:
    """The same result, which notes the runs and the test-time augmentation that it was found with."""
    noted = {**(result.decision.chosen_on or {}), "runs": [run.name for run in runs], "tta": tta}
    return replace(result, decision=replace(result.decision, chosen_on=noted))


def arrange_folds(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs by the images that they held out: lists of equal length.

    Raises:
        RunError: They differ in task or classes, or one held out nothing.
        OptionError: They differ in how many held out the same images.
    """
    check_members(runs)
    folds: dict[frozenset[str], list[Run]] = {}
    for run in runs:
        if not run.data.validation:
            raise RunError(run.path, "a run that held out images to decide on", "one without")
        folds.setdefault(held_out_by(run.data), []).append(run)
    sizes = sorted({len(fold) for fold in folds.values()})
    if len(sizes) > 1:
        received = f"{sizes[0]} for one set and {sizes[-1]} for another"
        raise OptionError("runs", "the same number of runs for each set of held-out images", received)
    return aligned(list(folds.values()))


def aligned(folds: Sequence[Sequence[Run]]) -> list[list[Run]]:
    """The folds with their runs in one order of architectures, that of the first fold: a weight is an architecture's.

    Runs whose architecture the first fold does not have take the places that are left, in their own order.
    """
    order = [architecture(run) for run in folds[0]]
    found = []
    for fold in folds:
        left = list(fold)
        column: list[Run | None] = [None] * len(order)
        for place, kind in enumerate(order):
            if (number := next((n for n, run in enumerate(left) if architecture(run) == kind), None)) is not None:
                column[place] = left.pop(number)
        if len(left) > 0 and len(order) > 1:
            others = [run for place, run in enumerate(folds[0]) if column[place] is None]
            logger.warning(
                "%s take the places of %s, whose architectures their fold lacks, and share their weights",
                ", ".join(distinct_names(left)),
                ", ".join(distinct_names(others)),
            )
        found.append([left.pop(0) if run is None else run for run in column])
    return found


def architecture(run: Run) -> list[tuple[int, ...]]:
    """What tells the architecture of a run from another: the shapes of its weights, in their order."""
    return [tuple(weight.shape) for weight in run.model.weights]


def search(space: SearchSpace, images: Sequence[HeldOutImage]) -> SearchResult:
    """Searches thresholds, then holes at these thresholds, then minimum areas with these holes filled."""
    chosen = search_thresholds(space, images)
    decided, holes, areas = chosen.at_best, None, None
    if space.areas:
        holes, areas, decided = search_object_sizes(space, images, chosen)
    half, left_out = float(np.mean(chosen.at_half)), chosen.left_out
    decision = Decision(
        thresholds=chosen.thresholds,
        groups=chosen.groups,
        holes=holes,
        minimum_area=areas,
        metric=space.metric,
        score=float(np.mean(decided)),
        score_at_half=half,
        gain=float(np.mean(decided)) - half,
        gain_of_thresholds_left_out=None if left_out is None else float(np.mean(left_out)) - half,
        chosen_on={"images": len(images)},
    )
    return SearchResult(decision, chosen.at_half, chosen.at_best, decided, left_out, chosen.curves)


def search_object_sizes(
    space: SearchSpace, images: Sequence[HeldOutImage], chosen: ChosenThresholds
) -> tuple[tuple[int, ...], tuple[int, ...], np.ndarray]:
    """Returns the holes and the minimum area of every class, and the scores of the scored classes with both."""
    classes = len(space.class_names)
    holes, areas, decided = [0] * classes, [0] * classes, np.array(chosen.at_best)
    for row, number in enumerate(space.scored):
        masks = [class_mask(space, image, chosen.by_image[image.name], number) for image in images]
        holes[number], areas[number], decided[row] = search_sizes(space, images, masks, number)
    if space.task == "multiclass":
        # Where one class has taken a hole, the next cannot: the score is known only with all classes together.
        cleaning = cleaning_of(classes, holes=holes, minimum_area=areas)
        counts = np.stack([label_counts(space, image, cleaning) for image in images])
        decided = space.score(counts[:, space.scored])
    return tuple(holes), tuple(areas), decided
