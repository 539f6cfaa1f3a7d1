"""Several trained runs, or one under test-time augmentation, that answer as one model in a single pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import numpy as np

from maskzoo.errors import ImageError, OptionError, RunError
from maskzoo.files import JSON

from .. import data
from ..models import analysis
from .decisions import agreed, decided_together
from .ensemble_plan import EnsemblePlan, plan_members
from .ensemble_scorer import EnsembleScorer, Reduction, ScoringMember
from .options import DEFAULT_TILES, REDUCTIONS, TileOptions, check_one_of
from .run import Run, check_axes
from .run_files import Decision
from .tile_plan import TilePlan
from .tiles import ReadWindow, Scorer, predict_of, tile_predictor
from .tta import TTATransform, parse_tta

# What the members of an ensemble must have in common.
SHARED = {
    "task": "the task",
    "class_names": "the classes",
    "channels": "images with channels",
    "spatial_dims": "spatial axes",
}


# Pixel sizes that differ by less than this fraction are the same.
SAME_SPACING = 0.01


class Ensemble:
    """Runs that answer together: a `Predictor` of several networks.

    Args:
        runs: The members; architectures, folds, seeds, normalisation and patch sizes may differ.
        weights: A weight from 0 for each run, of which only the ratios matter; `None` for those that `decide` found for
            these runs, known by their models wherever they lie, else equal ones.
        reduction: `probabilities` or `logits`, of which the mean is taken, or `votes`: the fraction of the members that
            see the class, each at its own threshold (in a multiclass task, as the likeliest).
        temperature: Each member's logits are divided by it first; below 1 it sharpens, above 1 it softens.
        tta: Test-time augmentation of every member: see `tta.parse_tta`.

    Attributes:
        members: The runs.
        weights: Their weights, which sum to 1.
        transforms: The transforms in which each member is shown a tile.
        data: That of the first run, with which the others agree in task, classes, channels and axes.
        thresholds: What `decide` found for these runs, else the weighted mean of their own; 0.5 for votes.
        decision: What `decide` found for these runs, or on what all of them agree.

    Raises:
        RunError: If the runs differ in task, classes, channels or axes.
        OptionError: If an option is out of range.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        weights: Sequence[float] | None = None,
        reduction: str = "probabilities",
        temperature: float = 1.0,
        tta: str = "none",
    ) -> None:
        self.members = tuple(runs)
        if not self.members:
            raise OptionError("runs", "at least one run", "none")
        check_members(self.members)
        check_channels(self.members)
        check_reading(self.members)
        check_one_of("reduction", reduction, REDUCTIONS)
        if not 0 < temperature < math.inf:
            raise OptionError("temperature", "a number above 0", temperature)
        self.reduction, self.temperature, self.tta = reduction, float(temperature), tta
        self.data = self.members[0].data
        self.transforms = parse_tta(tta, self.data.spatial_dims)
        check_scales(self.members, self.transforms)
        found = decided_together(self.members)
        self.weights = checked_weights(found and found.weights if weights is None else weights, len(self.members))
        self.decision = found or agreed(self.members)
        if reduction == "votes":
            self.thresholds = (0.5,) * len(self.members[0].thresholds)
        elif found and found.thresholds:
            self.thresholds = found.thresholds
        else:
            means = np.average([run.thresholds for run in self.members], axis=0, weights=self.weights)
            self.thresholds = tuple(means.tolist())
        self._normalizations = distinct([run.data.normalization for run in self.members])

    @property
    def name(self) -> str:
        """The names of the members."""
        return " + ".join(run.name for run in self.members)

    @property
    def settings(self) -> Mapping[str, JSON]:
        """What the answers depend on beside the files of the runs, by argument: JSON values."""
        return {
            "weights": list(self.weights),
            "reduction": self.reduction,
            "temperature": self.temperature,
            "tta": self.tta,
            "crf": [run.crf for run in self.members],
            **({"rescale": True} if any(run.rescale for run in self.members) else {}),
        }

    def with_members(self, members: Sequence[Run]) -> Ensemble:
        """Returns the same ensemble of other runs, one for each member."""
        return self._changed(members=tuple(members))

    def with_thresholds(self, thresholds: tuple[float, ...], decision: Decision) -> Ensemble:
        """Returns the same ensemble with other thresholds and another decision."""
        return self._changed(thresholds=thresholds, decision=decision)

    def _changed(self, **attributes: object) -> Ensemble:
        changed = copy.copy(self)
        for name, value in attributes.items():
            setattr(changed, name, value)
        return changed

    def plan(self, source: data.Source, options: TileOptions = DEFAULT_TILES) -> TilePlan:
        """Plans the tiles of an image: with the halo of the member that needs most.

        Where a member sees the whole image, the tiles of all members are blended.

        Args:
            source: An open source.
            options: How to cut it.

        Returns:
            An `EnsemblePlan`.

        Raises:
            ImageError: If the image does not fit the runs.
            OptionError: If no tile suits all members, or the memory does not suffice.
        """
        turned = any(one.transposes or one.reverses for one in self.transforms)
        return plan_members(self.members, len(self._normalizations), source, options, symmetric=turned)

    def reader(self, source: data.Source) -> ReadWindow:
        """Returns the function that reads a window once, in each normalisation of the members, one after another.

        Raises:
            ImageError: If the number of axes or of channels is another than that of the training images, or a transform
                exchanges axes along which pixels differ in size.
        """
        check_axes(self.data, source)
        check_exchanges(self.transforms, source)
        readers = [data.Normalizer.from_dict(values)(source) for values in self._normalizations]
        if len(readers) == 1:
            return readers[0]

        def read(window: data.Window) -> np.ndarray:
            pixels = source.read(window)
            return np.concatenate([reader.normalize(pixels) for reader in readers], axis=-1)

        return read

    def scorer(self, plan: TilePlan, models: Sequence[Scorer] | None = None) -> Scorer:
        """Returns what `predict_tiles` takes beside a plan of this ensemble.

        Args:
            plan: A plan of this ensemble.
            models: What answers instead of the members' own networks, one for each.
        """
        answering = models or [run.engine or run.model for run in self.members]
        parts = plan.members if isinstance(plan, EnsemblePlan) and plan.members else (None,) * len(self.members)
        channels, members = self.data.channels, []
        for run, weight, part, model in zip(self.members, self.weights, parts, answering, strict=True):
            first = self._normalizations.index(run.data.normalization) * channels
            predict = predict_of(model)
            predict_tile = predict if part is None else tile_predictor(model, part)
            members.append(ScoringMember(run, weight, part, slice(first, first + channels), predict, predict_tile))
        reduction = Reduction(self.data.task, self.reduction, self.temperature)
        return EnsembleScorer(plan, members, self.transforms, reduction)


def check_members(runs: Sequence[Run]) -> None:
    """Refuses runs that do not answer the same question.

    Raises:
        RunError: They do not.
    """
    for run in runs[1:]:
        for key, what in SHARED.items():
            expected, received = getattr(runs[0].data, key), getattr(run.data, key)
            if expected != received:
                raise RunError(run.path, f"{what} of {runs[0].path}, {shown(expected)}", shown(received))


def check_channels(runs: Sequence[Run]) -> None:
    """Refuses runs that take other bands, or channels from other files or in another order.

    Raises:
        RunError: They do.
    """
    first, *others = (
        {"bands": run.data.spec.get("bands"), "channels": list((run.data.spec.get("channels") or {}).values())}
        for run in runs
    )
    for run, other in zip(runs[1:], others, strict=True):
        for name, expected in first.items():
            if other[name] != expected:
                raise RunError(run.path, f"the {name} of {runs[0].path}, {expected or 'all'}", other[name] or "all")


def check_reading(runs: Sequence[Run]) -> None:
    """Refuses runs that were trained on images at other scales: all are shown an image as the first reads it.

    Raises:
        RunError: They were.
    """
    first = runs[0].data.scale
    for run in runs[1:]:
        own = run.data.scale
        for name in ("level", "resolution", "spacing", "resize", "orientation"):
            one, other = first.get(name), own.get(name)
            # Where volumes are as they are stored, or axes as their file says, only the file can tell a difference.
            is_open = name == "orientation" and (run.data.spatial_dims == 2 or "stored" in (one, other))
            if not is_open and not same_size(one, other):
                raise RunError(run.path, f"a run whose `{name}` is that of {runs[0].path}, {one}", other)


def same_size(one: JSON, other: JSON) -> bool:
    """Says whether two values of a scale are equal, sizes within 1 %."""
    numbers = [np.ravel(value) for value in (one, other)]
    if None in (one, other) or isinstance(one, str) or isinstance(other, str) or numbers[0].size != numbers[1].size:
        return one == other
    return bool(np.allclose(*numbers, rtol=SAME_SPACING, atol=0))


def shown(value: object) -> object:
    """Several names as a list without brackets; anything else as it is."""
    return ", ".join(value) if isinstance(value, tuple) else value


def check_exchanges(transforms: Sequence[TTATransform], source: data.Source) -> None:
    """Refuses transforms that exchange axes along which the pixels of an image differ in size: no scanner sees it so.

    Raises:
        ImageError: There is one.
    """
    spacing = source.frame.spacing
    if spacing is None:
        return
    for transform in transforms:
        for axis, other in enumerate(transform.axes):
            if not math.isclose(spacing[axis], spacing[other], rel_tol=SAME_SPACING):
                sizes = " x ".join(f"{size:g}" for size in spacing)
                expected = "pixels of one size along the axes that `tta` exchanges, or `tta` flips"
                raise ImageError(source.name, expected, f"pixels of {sizes}")


def check_scales(runs: Sequence[Run], transforms: Sequence[TTATransform]) -> None:
    """Refuses a change of scale for a model whose output is smaller than its input.

    Raises:
        OptionError: There is one.
    """
    for run in runs:
        if any(one.scale != 1 for one in transforms) and any(analysis.geometry(run.model).crop):
            raise OptionError("tta", "no scales for a model with valid padding", run.model.name)


def checked_weights(weights: Sequence[float] | None, number: int) -> tuple[float, ...]:
    """Weights that sum to 1; equal ones for `None`.

    Raises:
        OptionError: If there is not one per run, one is below 0 or not finite, or all are 0.
    """
    found = np.ones(number) if weights is None else np.asarray(weights, float)
    if found.shape != (number,) or not np.isfinite(found).all() or found.min() < 0 or found.sum() == 0:
        raise OptionError("weights", f"{number} numbers from 0, one per run", found.tolist())
    return tuple((found / found.sum()).tolist())


def distinct(values: Sequence[Mapping[str, JSON]]) -> list[Mapping[str, JSON]]:
    """The values without repetitions, in their order."""
    return [value for index, value in enumerate(values) if value not in values[:index]]
