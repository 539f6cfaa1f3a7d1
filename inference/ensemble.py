"""Several trained runs, or one seen in several views, that answer as one model in a single pass over the image."""

import math
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np

from .. import data, metrics
from ..models import analysis
from .predict_image import plan_image
from .tile_plan import GIGABYTE, Plan, logits_of, round_up
from .tta import parse_tta, see

HOW = ("probabilities", "logits", "votes")
# What the members of an ensemble must have in common.
SHARED = {
    "task": "the task",
    "class_names": "the classes",
    "channels": "images with channels",
    "spatial_dims": "spatial axes",
}
# Keeps logits finite where all members are sure.
SMALLEST = 1e-7


@dataclass(frozen=True)
class EnsemblePlan(Plan):
    """A `Plan` whose halo suffices for every member of an ensemble.

    Attributes:
        members: The plan of each member; empty where tiles are blended, which all members then see whole.
    """

    members: tuple[Plan, ...] = ()


class Ensemble:
    """Runs that answer together. It stands where a `Run` does in prediction and evaluation.

    Args:
        runs: List of `Run`; architectures, folds, seeds, normalisation and patch sizes may differ.
        weights: A weight from 0 for each run, of which only the ratios matter; `None` for those that `decide` found for
            these runs, else equal ones.
        how: `probabilities` or `logits`, of which the mean is taken, or `votes`: the share of the members that see the
            class, each at its own threshold (in a multiclass task, as the likeliest).
        temperature: Each member's logits are divided by it first; below 1 it sharpens, above 1 it softens.
        tta: Test-time augmentation of every member: see `tta.parse_tta`.

    Attributes:
        data: Task, classes, channels and rank, as in a run.
        thresholds: As in a run: what `decide` found for these runs, else the weighted mean of their own; 0.5 for votes.
        decision: As in a run; beside the thresholds only what `decide` found for these runs, or on what all runs agree.

    Raises:
        ValueError: If the runs differ in task, classes, channels or axes, or an option is out of range.
    """

    def __init__(self, runs, *, weights=None, how="probabilities", temperature=1.0, tta="none"):
        self.runs = list(runs)
        if not self.runs:
            raise ValueError("runs: expected at least one run; received none")
        check_members(self.runs)
        if how not in HOW:
            raise ValueError(f"--how: expected one of {', '.join(HOW)}; received {how!r}")
        if not 0 < temperature < math.inf:
            raise ValueError(f"--temperature: expected a number above 0; received {temperature}")
        self.how, self.temperature, self.tta = how, float(temperature), tta
        self.data = self.runs[0].data
        self.views = parse_tta(tta, self.data.spatial_dims)
        check_scales(self.runs, self.views)
        found = decided_together(self.runs)
        self.weights = checked_weights(found and found.weights if weights is None else weights, len(self.runs))
        self.decision = found or agreed(self.runs)
        if how == "votes":
            thresholds = [0.5] * len(self.runs[0].thresholds)
        elif found and found.thresholds:
            thresholds = found.thresholds
        else:
            thresholds = np.average([run.thresholds for run in self.runs], axis=0, weights=self.weights).tolist()
        self.thresholds = tuple(thresholds)
        self._normalizations = distinct([run.data.normalization for run in self.runs])

    @property
    def name(self):
        return " + ".join(run.name for run in self.runs)

    def plan(self, source, *, tile=None, memory=4 * GIGABYTE, **options):
        """Plans the tiles of an image: with the halo of the member that needs most.

        Where a member sees the whole image, the tiles of all members are blended.

        Args:
            source: An open source.
            tile: Pixels per tile and axis, instead of choosing.
            memory: Bound in bytes on the expected peak memory of the process.
            **options: Further options of `plan_image`.

        Returns:
            An `EnsemblePlan`.

        Raises:
            ValueError: If no tile suits all members, or the memory does not suffice.
        """
        plan = self._plan(source, tile, memory, options)
        if plan.memory > memory:
            # What the members share was not in their own plans.
            plan = self._plan(source, tile, 2 * memory - plan.memory, options)
        if plan.memory > memory:
            raise ValueError(
                f"--memory: expected at least {math.ceil(10 * plan.memory / GIGABYTE) / 10} GB for {len(self.runs)} "
                f"runs with {plan.tile} tiles; received {memory / GIGABYTE:.1f} GB"
            )
        return plan

    def _plan(self, source, tile, memory, options):
        turned = any((view.axes, view.flipped) != (self.views[0].axes, self.views[0].flipped) for view in self.views)
        plan_for = partial(plan_image, source=source, memory=memory, symmetric=turned, **options)
        plans = [plan_for(run, tile=tile) for run in self.runs]
        if any(any(plan.overlap) for plan in plans):
            plan = self._blended_plan(plans, plan_for)
        else:
            if len(plans) > 1 and any(plan.tiles > 1 for plan in plans):
                size = round_up(min(max(plan.tile) for plan in plans), common_step(self.runs))
                plans = [plan_for(run, tile=size) for run in self.runs]
            plan = largest_halo(plans)
        return EnsemblePlan(**shallow(plan) | {"memory": self._memory(plan, plans)})

    def _blended_plan(self, plans, plan_for):
        """The plan of tiles that every member sees whole."""
        index = next(index for index, plan in enumerate(plans) if any(plan.overlap))
        plan, size = plans[index], None
        while plan.input_size != size:
            size = plan.input_size
            for run in self.runs:
                size = analysis.nearest_size(run.model, size)
            plan = plan_for(self.runs[index], tile=max(size))
        for run in self.runs:
            if any(analysis.geometry(run.model).crop) or analysis.nearest_size(run.model, size) != size:
                raise ValueError(
                    f"{run.path}: expected a model that takes tiles of {' x '.join(map(str, size))} with same padding, "
                    f"to be blended with {self.runs[index].path}; received {run.model.name}"
                )
        return plan

    def _memory(self, plan, plans):
        """Expected peak memory in bytes: the member that needs most, the other members' weights, what they share."""
        weights = [4 * analysis.parameters(run.model)[0] for run in self.runs]
        pixels = plan.batch * math.prod(plan.input_size)
        need = max(p.memory - w for p, w in zip(plans, weights, strict=True)) + sum(weights)
        # The images in every normalisation, and turned; the sum over members, one answer and its probabilities.
        images = self.data.channels * len(self._normalizations)
        return round(need + 4 * pixels * (4 * images + 3 * len(self.data.class_names)))

    def reader(self, source):
        """The function that reads a window once, in each normalisation of the members, channels behind channels."""
        readers = [data.Normalizer.from_dict(values)(source) for values in self._normalizations]
        if len(readers) == 1:
            return readers[0]

        def read(window):
            pixels = source.read(window)
            return np.concatenate([reader.normalize(pixels) for reader in readers], axis=-1)

        return read

    def scorer(self, plan, models=None):
        """What `predict_tiles` takes beside a plan of this ensemble; `models` answer instead of the members' own."""
        return Scorer(self, plan, models or [run.engine or run.model for run in self.runs])


class Scorer:
    """The members of an ensemble on the tiles of one plan."""

    def __init__(self, ensemble, plan, models):
        self._ensemble, self._plan = ensemble, plan
        self._members = []
        for index, run in enumerate(ensemble.runs):
            part = plan.members[index] if plan.members else None
            group = ensemble._normalizations.index(run.data.normalization)
            first = group * ensemble.data.channels
            predict, allowed = logits_of(models[index]), partial(analysis.nearest_size, run.model)
            channels = slice(first, first + ensemble.data.channels)
            self._members.append((run, ensemble.weights[index], part, channels, predict, allowed))

    def predict(self, images):
        """Returns the logits of the members' mean, `(batch, *size, classes)`; the size is that of the plan's tile."""
        ensemble, total = self._ensemble, None
        task = ensemble.data.task
        for run, weight, part, channels, predict, allowed in self._members:
            if weight == 0:
                continue
            seen = images[..., channels]
            if part is not None:
                seen = seen[(slice(None), *inner(self._plan, part))]
            for view in ensemble.views:
                logits = see(predict, seen, view, allowed)
                if part is not None:
                    cut = tuple(slice(c, c + n) for c, n in zip(part.crop, self._plan.tile, strict=True))
                    logits = logits[(slice(None), *cut)]
                score = scored(logits, run, task, ensemble.how, ensemble.temperature)
                score *= weight / len(ensemble.views)
                total = score if total is None else np.add(total, score, out=total)
        return total if ensemble.how == "logits" else logits_from(total, task)


def scored(logits, run, task, how, temperature):
    """One member's logits as what is averaged, in an array of its own."""
    if how == "votes":
        votes = metrics.predicted_labels(logits, task, run.thresholds)
        if task == "multiclass":
            votes = votes[..., None] == np.arange(logits.shape[-1])
        return votes.astype(np.float32)
    logits = np.divide(logits, temperature, dtype=np.float32)
    return logits if how == "logits" else np.asarray(metrics.probabilities(logits, task), np.float32)


def logits_from(probabilities, task):
    """The logits that give these probabilities."""
    if task == "multiclass":
        return np.log(np.maximum(probabilities, SMALLEST))
    clipped = np.clip(probabilities, SMALLEST, 1 - SMALLEST)
    return np.log(clipped) - np.log1p(-clipped)


def inner(plan, part):
    """The part of an ensemble's input that is one member's."""
    starts = (before - own for (before, _), (own, _) in zip(plan.halo, part.halo, strict=True))
    return tuple(slice(start, start + size) for start, size in zip(starts, part.input_size, strict=True))


def largest_halo(plans):
    """The plan whose tile is common to all, with the halo that reaches as far as each of theirs."""
    tile = tuple(map(min, zip(*(plan.tile for plan in plans), strict=True)))
    for plan in plans:
        if any(own != common < n for own, common, n in zip(plan.tile, tile, plan.shape, strict=True)):
            raise ValueError(f"--tile: expected one that suits every run; received tiles of {tile} and {plan.tile}")
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


def shallow(plan):
    return {entry.name: getattr(plan, entry.name) for entry in fields(plan)}


def common_step(runs):
    """The least number of pixels that every member's tiles are multiples of."""
    geometries = [analysis.geometry(run.model) for run in runs]
    return math.lcm(*(number for g in geometries for number in (*g.stride, *(rule.multiple for rule in g.rules))))


def check_members(runs):
    """Refuses runs that do not answer the same question."""
    for run in runs[1:]:
        for key, what in SHARED.items():
            expected, received = getattr(runs[0].data, key), getattr(run.data, key)
            if expected != received:
                raise ValueError(f"{run.path}: expected {what} of {runs[0].path}, {expected}; received {received}")


def check_scales(runs, views):
    """Refuses a change of scale for a model whose output is smaller than its input."""
    for run in runs:
        if any(view.scale != 1 for view in views) and any(analysis.geometry(run.model).crop):
            raise ValueError(f"--tta: expected no scales for a model with valid padding; received {run.model.name}")


def checked_weights(weights, number):
    """Weights that sum to 1.

    Raises:
        ValueError: If there is not one per run, one is below 0 or not finite, or all are 0.
    """
    weights = np.ones(number) if weights is None else np.asarray(weights, float)
    if weights.shape != (number,) or not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() == 0:
        raise ValueError(f"--weights: expected {number} numbers from 0, one per run; received {weights.tolist()}")
    return (weights / weights.sum()).tolist()


def decided_together(runs):
    """What `decide` found for exactly these runs together, its weights in their order; `None` where there is none."""
    if len(runs) == 1:
        return runs[0].decision
    found = runs[0].decision.ensemble
    if found is None:
        return None
    weights = dict(zip(found.members, found.weights, strict=True))
    if sorted(weights) != sorted(run.name for run in runs):
        return None
    return replace(found, weights=tuple(weights[run.name] for run in runs))


def agreed(runs):
    """What all runs have decided alike."""
    first, *others = (run.decision for run in runs)
    return first.agreed_with(others)


def distinct(values):
    return [value for index, value in enumerate(values) if value not in values[:index]]
