"""The plan of an ensemble: one tile for all members, with the halo of the member that needs most."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from maskzoo.errors import OptionError, RunError
from maskzoo.files import JSON

from ..models import analysis
from .memory_bound import bounded_tiles
from .options import GIGABYTE, TileOptions
from .run import Run
from .tile_plan import TilePlan, round_up

if TYPE_CHECKING:
    from ..data import Source


@dataclass(frozen=True)
class EnsemblePlan(TilePlan):
    """A `TilePlan` whose halo suffices for every member of an ensemble.

    Attributes:
        members: The plan of each member; empty where tiles are blended, which all members then see whole.
    """

    members: tuple[TilePlan, ...] = ()

    @classmethod
    def from_notes(cls, notes: Mapping[str, JSON]) -> EnsemblePlan:
        """Returns the plan that `as_notes` described."""
        values = shallow(TilePlan.from_notes(notes))
        values["members"] = tuple(map(TilePlan.from_notes, notes["members"]))
        return cls(**values)


def noted_plan(notes: Mapping[str, JSON] | None) -> TilePlan | None:
    """Returns the plan of a run, or of an ensemble, that `as_notes` described; `None` where there are no notes."""
    if notes is None:
        return None
    return (EnsemblePlan if "members" in notes else TilePlan).from_notes(notes)


def plan_members(
    runs: Sequence[Run], normalizations: int, source: Source, options: TileOptions, *, symmetric: bool
) -> EnsemblePlan:
    """Plans the tiles of an image for runs that answer together.

    Args:
        runs: The members.
        normalizations: Number of different normalisations of theirs.
        source: An open source.
        options: How to cut it.
        symmetric: As in `tile_plan.plan_tiles`.

    Raises:
        ImageError: If the image does not fit the runs.
        OptionError: If no tile suits all members, or the memory does not suffice.
        RunError: If a member does not take the tiles of one that sees the whole image.
    """
    options = bounded_tiles(options)
    memory = options.memory
    plan = common_plan(runs, normalizations, source, options, symmetric)
    if memory < plan.memory < 2 * memory:
        # What the members share was not in their own plans.
        less = replace(options, memory=2 * memory - plan.memory)
        plan = common_plan(runs, normalizations, source, less, symmetric)
    if plan.memory > memory and options.share:
        plan = common_plan(runs, normalizations, source, replace(options, memory=1), symmetric)
    elif plan.memory > memory:
        need = math.ceil(10 * plan.memory / GIGABYTE) / 10
        expected = f"at least {need} GB for {len(runs)} runs with {plan.tile} tiles"
        raise OptionError("memory", expected, f"{memory / GIGABYTE:.1f} GB")
    return replace(plan, bound=options.reason)


def common_plan(
    runs: Sequence[Run], normalizations: int, source: Source, options: TileOptions, symmetric: bool
) -> EnsemblePlan:
    """The plan that all members can follow, whatever memory they need together."""

    def plan_for(run: Run, tile: int | None) -> TilePlan:
        return run.plan(source, replace(options, tile=tile), symmetric=symmetric)

    plans = [plan_for(run, options.tile) for run in runs]
    if any(plan.is_blended for plan in plans):
        plan = blended_plan(runs, plans, plan_for)
    else:
        if len(plans) > 1 and any(plan.tiles > 1 for plan in plans):
            size = round_up(min(max(plan.tile) for plan in plans), common_step(runs))
            plans = [plan_for(run, size) for run in runs]
        plan = largest_halo(plans)
    values = shallow(plan)
    values["memory"] = common_memory(runs, normalizations, plan, plans)
    return EnsemblePlan(**values)


def blended_plan(
    runs: Sequence[Run], plans: Sequence[TilePlan], plan_for: Callable[[Run, int | None], TilePlan]
) -> TilePlan:
    """The plan of tiles that every member sees whole.

    Raises:
        RunError: If a member does not take such tiles.
    """
    index = next(index for index, plan in enumerate(plans) if plan.is_blended)
    plan, size = plans[index], ()
    while plan.input_size != size:
        size = plan.input_size
        for run in runs:
            size = analysis.nearest_size(run.model, size)
        plan = plan_for(runs[index], max(size))
    for run in runs:
        if any(analysis.geometry(run.model).crop) or analysis.nearest_size(run.model, size) != size:
            expected = (
                f"a model that takes tiles of {' x '.join(map(str, size))} with same padding, to be blended with "
                f"{runs[index].path}"
            )
            raise RunError(run.path, expected, run.model.name)
    return plan


def common_memory(runs: Sequence[Run], normalizations: int, plan: TilePlan, plans: Sequence[TilePlan]) -> int:
    """Expected peak memory in bytes: the member that needs most, the other members' weights, what they share."""
    described = runs[0].data
    weights = [4 * analysis.parameters(run.model)[0] for run in runs]
    pixels = plan.batch * math.prod(plan.input_size)
    need = max(p.memory - w for p, w in zip(plans, weights, strict=True)) + sum(weights)
    # The images in every normalisation, and turned; the sum over members, one answer and its probabilities.
    images = described.channels * normalizations
    return round(need + 4 * pixels * (4 * images + 3 * described.num_classes))


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


# Attributes of whatever types a plan has.
def shallow(plan: TilePlan) -> dict[str, Any]:
    """The attributes of a plan, by name."""
    return {entry.name: getattr(plan, entry.name) for entry in fields(plan)}


def common_step(runs: Sequence[Run]) -> int:
    """The least number of pixels that every member's tiles are multiples of."""
    geometries = [analysis.geometry(run.model) for run in runs]
    return math.lcm(*(number for g in geometries for number in (*g.stride, *(rule.multiple for rule in g.rules))))
