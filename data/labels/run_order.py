"""Whether runs are read in the order in which they were written: down the columns, or along the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maskzoo.errors import LabelError

from .run_source import RunSource

# Pixels at borders from which on a table says enough, and how many times as many there may be as in the other order.
FEWEST_BORDER_PIXELS, TORN = 100, 1.25


def require_written_order(sources: Sequence[RunSource]) -> None:
    """Refuses runs that make torn areas as they are read, and whole ones in the other order.

    In the right order the next line goes on where a run lies. Masks of as many rows as columns tell nothing: in the
    other order they are mirrored.

    Args:
        sources: The run-length labels of a data set.

    Raises:
        LabelError: If they were written in the other order.
    """
    oblong = [source for source in sources if source.shape[0] != source.shape[1]]
    read = sum(torn_pixels(source, source.line) for source in oblong)
    other = sum(torn_pixels(source, source.shape[0] + source.shape[1] - source.line) for source in oblong)
    if read >= FEWEST_BORDER_PIXELS and read > TORN * other:
        first = next(source for source in oblong if any(map(len, source.runs)))
        hint = f"`rle: {{column_major: {str(not first.column_major).lower()}}}`"
        raise LabelError(
            first.name,
            f"runs that make whole areas, as they do with {hint}; `rle` with `column_major` reads them as it says",
            "runs that make torn ones",
        )


def torn_pixels(source: RunSource, line: int) -> int:
    """Returns how many pixels of a label lie inside while the one in the next line does not.

    Args:
        source: The label.
        line: Pixels per line.
    """
    return sum(int(runs[:, 1].sum() - runs[:, 0].sum()) - overlap(runs, line) for runs in map(merged, source.runs))


def merged(runs: np.ndarray) -> np.ndarray:
    """Returns sorted runs `(start, stop)` of which those that touch or overlap are one."""
    if not len(runs):
        return runs
    reach = np.maximum.accumulate(runs[:, 1])
    first = np.concatenate([[True], runs[1:, 0] > reach[:-1]])
    return np.stack([runs[first, 0], reach[np.concatenate([first[1:], [True]])]], axis=1)


def overlap(runs: np.ndarray, step: int) -> int:
    """Returns how many pixels of sorted separate runs have another one inside, a number of pixels further on."""
    if not len(runs):
        return 0
    before = np.concatenate([[0], np.cumsum(runs[:, 1] - runs[:, 0])])

    def pixels_up_to(places: np.ndarray) -> np.ndarray:
        index = np.searchsorted(runs[:, 0], places, "right") - 1
        inside = np.clip(places - runs[index, 0], 0, runs[index, 1] - runs[index, 0])
        return np.where(index < 0, 0, before[index] + inside)

    return int((pixels_up_to(runs[:, 1] + step) - pixels_up_to(runs[:, 0] + step)).sum())
