"""Several trained runs, or one under test-time augmentation, that answer as one model in a single pass."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from maskzoo.errors import OptionError, RunError

from .. import data, metrics
from ..models import analysis
from .options import DEFAULT_TILES, GIGABYTE, REDUCTIONS, TileOptions, check_one_of
from .run import Run, check_axes
from .run_files import Decision
from .tile_plan import TilePlan, round_up
from .tiles import Predict, ReadWindow, Scorer, predict_of
from .tta import TTATransform, parse_tta

# What the members of an ensemble must have in common.
SHARED = {
    "task": "the task",
    "class_names": "the classes",
    "channels": "images with channels",
    "spatial_dims": "spatial axes",
}


@dataclass(frozen=True)
class EnsemblePlan(TilePlan):
    """A `TilePlan` whose halo suffices for every member of an ensemble.

    Attributes:
        members: The plan of each member; empty where tiles are blended, which all members then see whole.
    """

    members: tuple[TilePlan, ...] = ()

    def as_notes(self) -> None:
        """Nothing: the plan of an ensemble is made anew."""


class Ensemble:
    """Runs that answer together: a `Predictor` of several networks.

    Args:
        runs: The members; architectures, folds, seeds, normalisation and patch sizes may differ.
        weights: A weight from 0 for each run, of which only the ratios matter; `None` for those that `decide` found for
            these runs, else equal ones.
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
    ):
        self.members = tuple(runs)
        if not self.members:
            raise OptionError("runs", "at least one run", "none")
        check_members(self.members)
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
    def settings(self) -> Mapping[str, Any]:
        """What the answers depend on beside the files of the runs, by argument: JSON values."""
        return {
            "weights": list(self.weights),
            "reduction": self.reduction,
            "temperature": self.temperature,
            "tta": self.tta,
            "crf": [run.crf for run in self.members],
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
        memory = options.memory
        plan = self._plan(source, options)
        if memory < plan.memory < 2 * memory:
            # What the members share was not in their own plans.
            plan = self._plan(source, replace(options, memory=2 * memory - plan.memory))
        if plan.memory > memory:
            need = math.ceil(10 * plan.memory / GIGABYTE) / 10
            expected = f"at least {need} GB for {len(self.members)} runs with {plan.tile} tiles"
            raise OptionError("memory", expected, f"{memory / GIGABYTE:.1f} GB")
        return plan

    def _plan(self, source: data.Source, options: TileOptions) -> EnsemblePlan:
        first = self.transforms[0]
        turned = any((one.axes, one.flipped) != (first.axes, first.flipped) for one in self.transforms)

        def plan_for(run: Run, tile: int | None) -> TilePlan:
            return run.plan(source, replace(options, tile=tile), symmetric=turned)

        plans = [plan_for(run, options.tile) for run in self.members]
        if any(plan.is_blended for plan in plans):
            plan = self._blended_plan(plans, plan_for)
        else:
            if len(plans) > 1 and any(plan.tiles > 1 for plan in plans):
                size = round_up(min(max(plan.tile) for plan in plans), common_step(self.members))
                plans = [plan_for(run, size) for run in self.members]
            plan = largest_halo(plans)
        values = shallow(plan)
        values["memory"] = self._memory(plan, plans)
        return EnsemblePlan(**values)

    def _blended_plan(self, plans: list[TilePlan], plan_for: Callable[[Run, int | None], TilePlan]) -> TilePlan:
        """The plan of tiles that every member sees whole."""
        index = next(index for index, plan in enumerate(plans) if plan.is_blended)
        plan, size = plans[index], ()
        while plan.input_size != size:
            size = plan.input_size
            for run in self.members:
                size = analysis.nearest_size(run.model, size)
            plan = plan_for(self.members[index], max(size))
        for run in self.members:
            if any(analysis.geometry(run.model).crop) or analysis.nearest_size(run.model, size) != size:
                expected = (
                    f"a model that takes tiles of {' x '.join(map(str, size))} with same padding, to be blended with "
                    f"{self.members[index].path}"
                )
                raise RunError(run.path, expected, run.model.name)
        return plan

    def _memory(self, plan: TilePlan, plans: list[TilePlan]) -> int:
        """Expected peak memory in bytes: the member that needs most, the other members' weights, what they share."""
        weights = [4 * analysis.parameters(run.model)[0] for run in self.members]
        pixels = plan.batch * math.prod(plan.input_size)
        need = max(p.memory - w for p, w in zip(plans, weights, strict=True)) + sum(weights)
        # The images in every normalisation, and turned; the sum over members, one answer and its probabilities.
        images = self.data.channels * len(self._normalizations)
        return round(need + 4 * pixels * (4 * images + 3 * self.data.num_classes))

    def reader(self, source: data.Source) -> ReadWindow:
        """Returns the function that reads a window once, in each normalisation of the members, one after another.

        Raises:
            ImageError: If the number of axes or of channels is another than that of the training images.
        """
        check_axes(self.data, source)
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
            members.append(ScoringMember(run, weight, part, slice(first, first + channels), predict_of(model)))
        return EnsembleScorer(self, plan, members)


@dataclass(frozen=True)
class ScoringMember:
    """One member of an ensemble, as it answers on the tiles of a plan.

    Attributes:
        run: The member.
        weight: Its weight.
        part: Its own plan; `None` where it is given all that the ensemble is given.
        channels: The channels of what the ensemble reads that are normalised as it was trained.
        predict: From images to logits.
    """

    run: Run
    weight: float
    part: TilePlan | None
    channels: slice
    predict: Predict


class EnsembleScorer:
    """The members of an ensemble on the tiles of one plan."""

    def __init__(self, ensemble: Ensemble, plan: TilePlan, members: Sequence[ScoringMember]):
        self._ensemble, self._plan, self._members = ensemble, plan, members

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of the members' mean, `(batch, *size, classes)`; the size is that of the plan's tile.

        Args:
            images: `(batch, *size, channels)` as the ensemble's reader gives them.
        """
        ensemble = self._ensemble
        task, total = ensemble.data.task, None
        for member in self._members:
            if member.weight == 0:
                continue
            shown, part = images[..., member.channels], member.part
            if part is not None:
                shown = shown[(slice(None), *inner(self._plan, part))]
            allowed = partial(analysis.nearest_size, member.run.model)
            for transform in ensemble.transforms:
                logits = transform.predict(member.predict, shown, allowed)
                if part is not None:
                    cut = tuple(slice(c, c + n) for c, n in zip(part.crop, self._plan.tile, strict=True))
                    logits = logits[(slice(None), *cut)]
                score = scored(logits, member.run.thresholds, task, ensemble.reduction, ensemble.temperature)
                score *= member.weight / len(ensemble.transforms)
                total = score if total is None else np.add(total, score, out=total)
        if total is None:
            raise OptionError("weights", "one above 0", ensemble.weights)
        return total if ensemble.reduction == "logits" else metrics.logits_from(total, task)


def scored(
    logits: np.ndarray, thresholds: Sequence[float], task: str, reduction: str, temperature: float
) -> np.ndarray:
    """One member's logits `(..., classes)` as what is averaged, in an array of its own."""
    if reduction == "votes":
        votes = metrics.predicted_labels(logits, task, thresholds)
        if task == "multiclass":
            votes = votes[..., None] == np.arange(logits.shape[-1])
        return votes.astype(np.float32)
    logits = np.divide(logits, temperature, dtype=np.float32)
    return logits if reduction == "logits" else np.asarray(metrics.probabilities(logits, task), np.float32)


def inner(plan: TilePlan, part: TilePlan) -> tuple[slice, ...]:
    """The part of an ensemble's input that is one member's."""
    starts = (before - own for (before, _), (own, _) in zip(plan.halo, part.halo, strict=True))
    return tuple(slice(start, start + size) for start, size in zip(starts, part.input_size, strict=True))


def largest_halo(plans: Sequence[TilePlan]) -> EnsemblePlan:
    """The plan whose tile is common to all, with the halo that reaches as far as each of theirs.

    Raises:
        OptionError: If the plans have no tile in common.
    """
    tile = tuple(map(min, zip(*(plan.tile for plan in plans), strict=True)))
    for plan in plans:
        if any(own != common < n for own, common, n in zip(plan.tile, tile, plan.shape, strict=True)):
            raise OptionError("tile", "a size that suits every run", f"tiles of {tile} and {plan.tile}")
    halo = tuple(
        (
            max(plan.halo[axis][0] for plan in plans),
            max(plan.tile[axis] + plan.halo[axis][1] for plan in plans) - tile[axis],
        )
        for axis in range(len(tile))
    )
    batch = min(plan.batch for plan in plans)
    common = {"tile": tile, "halo": halo, "crop": (0,) * len(tile), "batch": batch, "members": tuple(plans)}
    return EnsemblePlan(**shallow(plans[0]) | common)


def shallow(plan: TilePlan) -> dict[str, Any]:
    """The attributes of a plan, by name."""
    return {entry.name: getattr(plan, entry.name) for entry in fields(plan)}


def common_step(runs: Sequence[Run]) -> int:
    """The least number of pixels that every member's tiles are multiples of."""
    geometries = [analysis.geometry(run.model) for run in runs]
    return math.lcm(*(number for g in geometries for number in (*g.stride, *(rule.multiple for rule in g.rules))))


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


def shown(value: object) -> object:
    """Several names as a list without brackets; anything else as it is."""
    return ", ".join(value) if isinstance(value, tuple) else value


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


def decided_together(runs: Sequence[Run]) -> Decision | None:
    """What `decide` found for exactly these runs together, its weights in their order; `None` where there is none."""
    if len(runs) == 1:
        return runs[0].decision
    found = runs[0].decision.ensemble
    if found is None or found.members is None or found.weights is None:
        return None
    weights = dict(zip(found.members, found.weights, strict=True))
    if sorted(weights) != sorted(run.name for run in runs):
        return None
    return replace(found, weights=tuple(weights[run.name] for run in runs))


def agreed(runs: Sequence[Run]) -> Decision:
    """What all runs have decided alike."""
    first, *others = (run.decision for run in runs)
    return first.agreed_with(others)


def distinct(values: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The values without repetitions, in their order."""
    return [value for index, value in enumerate(values) if value not in values[:index]]
