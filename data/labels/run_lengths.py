"""Run-length encoded masks: decoded from text and encoded into it, in all of its dialects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from maskzoo.errors import OptionError
from maskzoo.names import counted

from ..windows import Window, window_grid

EMPTY = ("", "-1", "nan", "none", "null")
LIST_SIGNS = str.maketrans(",;[]()", "      ")
# Runs as people write them: text, numbers, or what a table has in an empty cell.
Runs = str | float | Sequence[int] | np.ndarray | None


@dataclass(frozen=True)
class Dialect:
    """How runs are written: see `decode_rle`.

    Args:
        relative: The first number of a pair is not the start of its run but the gap since the end of the run before.
        one_based: The first pixel has number 1; `None`: it has if the starts are absolute.
        column_major: Pixels are counted down the columns, not along the rows.
    """

    relative: bool = False
    one_based: bool | None = None
    column_major: bool = True

    @property
    def first(self) -> int:
        """The number of the first pixel."""
        return int(not self.relative if self.one_based is None else self.one_based)


def decode_rle(
    runs: Runs,
    shape: Sequence[int],
    *,
    relative: bool = False,
    one_based: bool | None = None,
    column_major: bool = True,
) -> np.ndarray:
    """Decodes runs into a mask.

    Args:
        runs: Pairs of numbers, as text or a sequence: where a run starts and how long it is. Empty text, `"-1"`, `None`
            and NaN are the empty mask.
        shape: Size of the mask per axis, rows first.
        relative: The first number of a pair is not the start of its run but the gap since the end of the run before.
        one_based: The first pixel has number 1. By default it has if the starts are absolute; a gap before the first
            run counts pixels, so with `relative` it has number 0.
        column_major: Pixels are counted down the columns, not along the rows.

    Returns:
        `uint8` array of `shape`, 1 inside the runs.

    Raises:
        OptionError: If the numbers are not pairs, or a run does not lie inside the mask.
    """
    dialect = Dialect(relative, one_based, column_major)
    mask = np.zeros(prod(shape), np.uint8)
    for start, stop in parse_runs(runs, shape, dialect):
        mask[start:stop] = 1
    return mask.reshape(shape, order="F" if column_major else "C")


def encode_rle(
    mask: np.ndarray, *, relative: bool = False, one_based: bool | None = None, column_major: bool = True
) -> str:
    """Encodes the nonzero pixels of a mask as runs, so that `decode_rle` with the same options gives the mask back.

    Args:
        mask: Array; nonzero is inside.
        relative: See `decode_rle`.
        one_based: See `decode_rle`.
        column_major: See `decode_rle`.

    Returns:
        Text such as `"3 2 9 1"`; an empty mask is `""`, and with `relative` `"-1"`.
    """
    dialect = Dialect(relative, one_based, column_major)
    return "".join(format_runs([flat_runs(flattened(mask, dialect))], dialect))


def encode_windows(
    read: Callable[[Window], np.ndarray],
    shape: Sequence[int],
    *,
    relative: bool = False,
    one_based: bool | None = None,
    column_major: bool = True,
    pixels: int = 1 << 24,
) -> Iterator[str]:
    """Encodes a mask of any size as a stream of text, reading a band of columns or rows at a time.

    Args:
        read: Function from a `Window` to an array of its size, nonzero inside the mask.
        shape: Rows and columns of the mask.
        relative: See `decode_rle`.
        one_based: See `decode_rle`.
        column_major: See `decode_rle`.
        pixels: Pixels that are held in memory at a time.

    Returns:
        Iterator of parts of the text that `encode_rle` would return.
    """
    dialect = Dialect(relative, one_based, column_major)
    across = 1 if column_major else 0
    size = list(shape)
    size[across] = max(1, pixels // shape[1 - across])

    def runs() -> Iterator[np.ndarray]:
        position = 0
        for window in window_grid(shape, size):
            flat = flattened(np.asarray(read(window)).reshape(window.size), dialect)
            yield flat_runs(flat) + position
            position += len(flat)

    return format_runs(joined(runs()), dialect)


def flattened(mask: np.ndarray, dialect: Dialect) -> np.ndarray:
    """Returns which pixels of a mask are inside, boolean, in the order in which a dialect counts them."""
    return np.asarray(mask).ravel(order="F" if dialect.column_major else "C") != 0


def flat_runs(flat: np.ndarray) -> np.ndarray:
    """Returns the runs of true values as an array of `(start, stop)`, the first pixel 0."""
    edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2)


def joined(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Joins runs that end where the next part begins."""
    held = None
    for runs in parts:
        if held is not None:
            if len(runs) and runs[0, 0] == held[0, 1]:
                runs[0, 0] = held[0, 0]
            elif not len(runs) or runs[0, 0] > held[0, 1]:
                yield held
        held = None
        if len(runs):
            yield runs[:-1]
            held = runs[-1:]
    if held is not None:
        yield held


def format_runs(parts: Iterable[np.ndarray], dialect: Dialect) -> Iterator[str]:
    """Writes arrays of `(start, stop)` in a dialect, part by part."""
    end, separator = 0, ""
    for runs in parts:
        if not len(runs):
            continue
        starts, lengths = runs[:, 0] + dialect.first, runs[:, 1] - runs[:, 0]
        if dialect.relative:
            starts = starts - np.concatenate([[end], runs[:-1, 1] + dialect.first])
            end = runs[-1, 1] + dialect.first
        yield separator + " ".join(map(str, np.stack([starts, lengths], axis=1).ravel().tolist()))
        separator = " "
    if dialect.relative and not separator:
        yield "-1"


def parse_runs(runs: Runs, shape: Sequence[int], dialect: Dialect) -> np.ndarray:
    """Returns runs in a dialect as an array of `(start, stop)`, the first pixel 0: see `decode_rle`."""
    numbers = run_numbers(runs)
    if len(numbers) % 2:
        raise OptionError("runs", "pairs of numbers", counted(len(numbers), "number"))
    if len(numbers) and np.abs(numbers).max() > prod(shape) + 1:
        # Sums of them may not fit into 64 bits.
        raise OptionError(
            "runs", f"runs inside a mask of {' x '.join(map(str, shape))}", f"one with {np.abs(numbers).max()}"
        )
    starts, lengths = numbers.reshape(-1, 2).T
    if dialect.relative and len(starts):
        starts = np.cumsum(starts + np.concatenate([[0], lengths[:-1]]))
    starts = starts - dialect.first
    stops = starts + lengths
    wrong = np.flatnonzero((starts < 0) | (lengths < 0) | (stops > prod(shape)))
    if len(wrong):
        raise OptionError(
            "runs",
            f"runs inside a mask of {' x '.join(map(str, shape))}",
            f"one from {starts[wrong[0]]} to {stops[wrong[0]]} (the first pixel counted as 0)",
        )
    return np.stack([starts, stops], axis=1)


def run_numbers(runs: Runs) -> np.ndarray:
    """Returns the numbers of runs as an `int64` array, none for what stands for an empty mask."""
    if runs is None or (isinstance(runs, float) and np.isnan(runs)):
        return np.zeros(0, np.int64)
    if isinstance(runs, str):
        # Lists that were written as text: "[3, 2, 9, 1]".
        text = runs.translate(LIST_SIGNS).strip()
        try:
            return np.zeros(0, np.int64) if text.lower() in EMPTY else np.fromstring(text, np.int64, sep=" ")
        except ValueError:
            raise OptionError("runs", "pairs of whole numbers", f"{text:.40}") from None
    numbers = np.asarray(runs, np.int64).ravel()
    return numbers[:0] if numbers.tolist() == [-1] else numbers
