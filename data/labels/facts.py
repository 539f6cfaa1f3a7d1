"""What labels hold: the values that occur in each, and whether its bands differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..images.source import Source
from ..images.statistics import measured_windows
from .polygons import PolygonSource
from .run_source import RunSource
from .values import bands_are_equal, label_values, unresampled

MOST_VALUES = 1 << 12
MEASURED_PIXELS = 1 << 28


@dataclass(frozen=True)
class LabelFacts:
    """What one label holds.

    Attributes:
        source: The label.
        values: The values that occur, in any band.
        several: Whether its bands differ.
    """

    source: Source
    values: frozenset[int]
    several: bool = False


def scan(sources: Sequence[Source]) -> list[LabelFacts]:
    """Returns what each label holds, large ones read on windows spread over them."""
    found = []
    for source in sources:
        if isinstance(unresampled(source), RunSource | PolygonSource):
            found.append(LabelFacts(source, frozenset((0, 1))))
            continue
        values: set[int] = set()
        several = False
        for window in measured_windows(source.shape, max(MEASURED_PIXELS // len(sources), 1 << 18)):
            array = label_values(source, window, range(source.channels))
            several = several or not bands_are_equal(array)
            values |= set(np.unique(array).tolist())
            if len(values) > MOST_VALUES:
                break
        found.append(LabelFacts(source, frozenset(values), several))
    return found
