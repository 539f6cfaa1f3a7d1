"""Which case is drawn next: each in proportion to its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import OptionError

if TYPE_CHECKING:
    from ..sets.cases import Case


class CaseSampler:
    """Draws the numbers of cases in proportion to their weights.

    Args:
        cases: The cases; of none, nothing can be drawn.

    Raises:
        OptionError: If a weight is negative or all are 0.
    """

    def __init__(self, cases: Sequence[Case]) -> None:
        self._count = len(cases)
        self._probabilities = probabilities(cases)

    def draw(self, rng: np.random.Generator) -> int:
        """Returns the number of a case."""
        if self._probabilities is None:
            return int(rng.integers(self._count))
        return int(rng.choice(self._count, p=self._probabilities))


def probabilities(cases: Sequence[Case]) -> np.ndarray | None:
    """Returns how likely each case is drawn, `(cases,)`; `None` if all are equally likely."""
    weights = np.array([case.weight for case in cases], float)
    if not len(weights) or ((weights == weights[0]).all() and weights[0] > 0):
        return None
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.sum() > 0):
        raise OptionError("weight", "weights of 0 or more, some above 0", weights.tolist()[:8])
    return weights / weights.sum()
