"""The members of an ensemble on the tiles of one plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from .. import metrics
from ..models import analysis
from .run import Run
from .tile_plan import TilePlan
from .tiles import Predict
from .tta import TTATransform


@dataclass(frozen=True)
class ScoringMember:
    """One member of an ensemble, as it answers on the tiles of a plan.

    Attributes:
        run: The member.
        weight: Its weight.
        part: Its own plan; `None` where it is given all that the ensemble is given.
        channels: The channels of what the ensemble reads that are normalised as it was trained.
        predict: From images to logits.
        predict_tile: From images to the logits of the tile alone.
    """

    run: Run
    weight: float
    part: TilePlan | None
    channels: slice
    predict: Predict
    predict_tile: Predict


@dataclass(frozen=True)
class Reduction:
    """What is averaged over members and transforms.

    Attributes:
        task: `binary`, `multilabel` or `multiclass`.
        kind: One of `options.REDUCTIONS`.
        temperature: What each member's logits are divided by first.
    """

    task: str
    kind: str
    temperature: float

    def scored(self, logits: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
        """Returns one member's logits `(..., classes)` as what is averaged, in an array of its own."""
        if self.kind == "votes":
            votes = metrics.predicted_labels(logits, self.task, thresholds)
            if self.task == "multiclass":
                votes = votes[..., None] == np.arange(logits.shape[-1])
            return votes.astype(np.float32)
        logits = np.divide(logits, self.temperature, dtype=np.float32)
        if self.kind == "logits":
            return logits
        return np.asarray(metrics.probabilities(logits, self.task), np.float32)

    def logits(self, mean: np.ndarray) -> np.ndarray:
        """Returns the logits `(..., classes)` of a mean."""
        return mean if self.kind == "logits" else metrics.logits_from(mean, self.task)


class EnsembleScorer:
    """A `Scorer` of an ensemble: see `Ensemble.scorer`.

    Args:
        plan: The plan of the ensemble.
        members: The members, one at least with a weight above 0.
        transforms: The transforms in which each is shown a tile.
        reduction: What is averaged.
    """

    def __init__(
        self,
        plan: TilePlan,
        members: Sequence[ScoringMember],
        transforms: Sequence[TTATransform],
        reduction: Reduction,
    ) -> None:
        self._plan, self._transforms, self._reduction = plan, transforms, reduction
        self._members = [member for member in members if member.weight]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Returns the logits of the members' mean, `(batch, *size, classes)`; the size is that of the plan's tile.

        Args:
            images: `(batch, *size, channels)` as the ensemble's reader gives them.
        """
        total: np.ndarray | None = None
        # A member's own tile may be larger, where it holds the whole image.
        tile = tuple(map(slice, self._plan.tile))
        for member in self._members:
            shown, part = images[..., member.channels], member.part
            if part is not None:
                shown = shown[(slice(None), *inner(self._plan, part))]
            allowed = partial(analysis.nearest_size, member.run.model)
            for transform in self._transforms:
                if part is None:
                    logits = transform.predict(member.predict, shown, allowed)
                elif transform.scale == 1:
                    logits = transform.predict(member.predict_tile, shown, allowed)[(slice(None), *tile)]
                else:
                    whole = transform.predict(member.predict, shown, allowed)
                    logits = whole[(slice(None), *map(slice, *zip(*part.part, strict=True)))][(slice(None), *tile)]
                score = self._reduction.scored(logits, member.run.thresholds)
                score *= member.weight / len(self._transforms)
                total = score if total is None else np.add(total, score, out=total)
        if total is None:
            raise RuntimeError("an ensemble without weights")
        return self._reduction.logits(total)


def inner(plan: TilePlan, part: TilePlan) -> tuple[slice, ...]:
    """The part of an ensemble's input that is one member's."""
    starts = (before - own for (before, _), (own, _) in zip(plan.halo, part.halo, strict=True))
    return tuple(slice(start, start + size) for start, size in zip(starts, part.input_size, strict=True))
