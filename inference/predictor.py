"""`Predictor`, what a run and an ensemble of runs both are, and how one is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Protocol, overload

import keras

from maskzoo.errors import OptionError
from maskzoo.files import JSON

from .. import data
from ..models import analysis
from ..postprocessing import Cleaning, cleaning_of
from .decisions import warn_of_other_conditions
from .ensemble import Ensemble
from .options import DEFAULT_TILES, PredictOptions, TileOptions, listed
from .run import Run, read_run
from .run_files import Decision, RunData
from .tile_plan import TilePlan
from .tiles import ReadWindow, Scorer

if TYPE_CHECKING:
    from ..data import Source


class Predictor(Protocol):
    """What answers for the pixels of an image: one run, or several together."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def data(self) -> RunData:
        """Task, classes, channels and number of axes; of an ensemble the rest is that of its first member."""
        ...

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Probability from which a class counts as present, one per class."""
        ...

    @property
    def decision(self) -> Decision:
        """What was chosen for it."""
        ...

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs that answer."""
        ...

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each member."""
        ...

    @property
    def settings(self) -> Mapping[str, JSON]:
        """What the answers depend on beside the files of the runs, by argument: JSON values."""
        ...

    def plan(self, source: Source, options: TileOptions = DEFAULT_TILES) -> TilePlan:
        """Plans the tiles of an image: see `Run.plan`."""
        ...

    def reader(self, source: Source) -> ReadWindow:
        """Returns the function that reads one window of an image as the networks were trained to see it."""
        ...

    def scorer(self, plan: TilePlan, models: Sequence[Scorer] | None = None) -> keras.Model | Scorer:
        """Returns what `predict_tiles` takes beside a plan; `models` answer instead of the members' own networks."""
        ...

    def with_members(self, members: Sequence[Run]) -> Predictor:
        """Returns the same with other members, one for each."""
        ...

    def with_thresholds(self, thresholds: tuple[float, ...], decision: Decision) -> Predictor:
        """Returns the same with other thresholds and another decision."""
        ...


@dataclass(frozen=True)
class PostProcessing:
    """What is done to the masks of a predictor.

    Attributes:
        cleaning: Holes, objects and their sizes; `None` for nothing.
        gate: Least probability of each class's image-level label for the class to be in the mask; `None` for no gate.
    """

    cleaning: Cleaning | None = None
    gate: tuple[float, ...] | None = None


NO_POST_PROCESSING = PostProcessing()


@overload
def load_run(paths: str | os.PathLike[str]) -> Run: ...
@overload
def load_run(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], options: PredictOptions | None = None
) -> Run | Ensemble: ...
def load_run(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], options: PredictOptions | None = None
) -> Run | Ensemble:
    """Reads one run folder, or several that predict together.

    Args:
        paths: A run folder or a sequence of them; `RUN:last` is the model of a run's last epoch.
        options: How they predict. Options of masks, such as the least area, are those of `post_processing`.

    Returns:
        A `Run`; an `Ensemble` for several runs, or for one that is averaged over transforms.

    Raises:
        MissingFile: If a part of a folder is missing.
        RunError: If a model or a description cannot be read, or the runs do not belong together.
        OptionError: If an option does not fit the runs.
    """
    options = options or PredictOptions()
    if not isinstance(paths, (str, os.PathLike)) and not paths:
        raise OptionError("paths", "at least one run folder", "none")
    runs = [read_run(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    if options.rescale:
        runs = [replace(run, rescale=True) for run in runs]
    if options.crf:
        runs = [run.with_crf(options.crf) for run in runs]
    if options.no_decision:
        runs = [run.with_thresholds((0.5,) * len(run.thresholds), Decision()) for run in runs]
    predictor: Run | Ensemble = runs[0]
    if len(runs) > 1 or options.averages:
        predictor = Ensemble(
            runs,
            weights=options.weights,
            reduction=options.reduction,
            temperature=options.temperature,
            tta=options.tta,
        )
    warn_of_other_conditions(predictor.decision, options)
    if options.threshold is None:
        return predictor
    thresholds = one_per_class("threshold", listed(options.threshold), predictor.data.num_classes)
    found = predictor.decision
    kept = Decision(holes=found.holes, minimum_area=found.minimum_area, gate=found.gate)
    return predictor.with_thresholds(thresholds, kept)


def post_processing(predictor: Predictor, options: PredictOptions) -> PostProcessing:
    """Returns what is done to masks: what was asked for, else what was chosen for the runs.

    Raises:
        OptionError: If there is not one gate, or one per class.
    """
    decision, classes = predictor.decision, predictor.data.num_classes
    holes = inf if options.fill_holes == "all" else options.fill_holes
    cleaning = cleaning_of(
        classes,
        holes=decision.holes if holes is None else holes,
        minimum_area=decision.minimum_area if options.min_area is None else options.min_area,
        watershed=options.watershed,
        largest=options.largest,
    )
    gate = decision.gate if options.gate is None else one_per_class("gate", listed(options.gate), classes)
    if gate is not None and not all(0 <= least < 1 for least in gate):
        raise OptionError("gate", "probabilities from 0 to below 1", gate)
    return PostProcessing(cleaning or None, gate if gate and any(gate) else None)


def one_per_class(name: str, numbers: Sequence[float], classes: int) -> tuple[float, ...]:
    """One number for each class, from as many or from one for all.

    Raises:
        OptionError: If there are others.
    """
    each = tuple(numbers) * (classes if len(numbers) == 1 else 1)
    if len(each) != classes:
        raise OptionError(name, f"one number, or one for each of {classes} classes", list(numbers))
    return each


def check_blending(predictor: Predictor, options: TileOptions) -> None:
    """Refuses options of blending for models whose tiles are exact and not blended.

    Raises:
        OptionError: If there is one.
    """
    if any(analysis.geometry(run.model).is_global for run in predictor.members):
        return
    for name in ("overlap", "blend"):
        value = getattr(options, name)
        if value != getattr(DEFAULT_TILES, name):
            raise OptionError(name, "a model that sees the whole image; the tiles of this one are exact", value)


def plan_image(predictor: Predictor, source: Source, options: TileOptions = DEFAULT_TILES) -> TilePlan:
    """Plans the tiles of an image.

    Args:
        predictor: A `Run`, or an `Ensemble`.
        source: An open source of `data.open_source`.
        options: How to cut it.

    Raises:
        ImageError: If the image does not fit the run.
        OptionError: If the model cannot be tiled within the memory.
    """
    return predictor.plan(source, options)


def thresholds_for(predictor: Predictor, name: str) -> tuple[float, ...]:
    """The thresholds for an image: those of its group, where `decide` found groups and its name shows one.

    Args:
        predictor: A `Run`, or an `Ensemble`.
        name: Name of the image, without folder and suffix.
    """
    groups = predictor.decision.groups
    if groups is None:
        return predictor.thresholds
    try:
        group = data.groups_by_pattern([name], groups.pattern)[name]
    except ValueError:
        return predictor.thresholds
    return tuple(groups.thresholds.get(group, predictor.thresholds))
