"""CSV tables of run-length labels: one row per object or per image, with or without classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from maskzoo.errors import LabelError, OptionError
from maskzoo.names import one_of

from .run_lengths import EMPTY, Dialect, parse_runs
from .run_rows import image_key, read_rows
from .run_source import RunSource
from .values import by


class RunTable:
    """The rows of a run-length CSV, by image and class.

    Args:
        path: CSV with one row per object or per image: an image, its runs, and possibly a class, in a column of its own
            or as `image_Class`. With or without header, byte-order mark and blanks.
        classes: Class names; `None`: those found, sorted.
        dialect: How the runs are written.

    Attributes:
        path: The file.
        class_names: Names of the classes; none if the rows name no class.

    Raises:
        OSError: If the file cannot be read.
        LabelError: If it has no column of runs or an unknown class.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        classes: Sequence[str] | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        self.path = Path(path)
        self._dialect = dialect or Dialect()
        self._texts: dict[str, list[tuple[str | None, str]]] = {}
        self._sizes: dict[str, set[tuple[int, int]]] = {}
        found: set[str | None] = set()
        for image, name, text, size in read_rows(self.path, classes or ()):
            texts = self._texts.setdefault(image, [])
            # A row without class and runs says that its image shows nothing.
            if name is not None or text.lower() not in EMPTY:
                found.add(name)
                texts.append((name, text))
            if size is not None:
                self._sizes.setdefault(image, set()).add(size)
        if found <= {None} and len(classes or ()) <= 1:
            self.class_names = list(classes or ())
            self._bands: dict[str | None, int] = {None: 0}
            return
        if None in found:
            raise LabelError(path, "a class in every row, such as image.jpg_Class", "rows without")
        named = sorted(name for name in found if name is not None)
        self.class_names = list(classes) if classes is not None else named
        if others := [name for name in named if name not in self.class_names]:
            raise LabelError(f"{path}: class", one_of(others[0], self.class_names), others[0])
        self._bands = {name: number for number, name in enumerate(self.class_names)}

    @property
    def images(self) -> list[str]:
        """The names of the images, without suffix."""
        return list(self._texts)

    def open(self, image: str, shape: Sequence[int]) -> RunSource:
        """Returns the label of an image, one band per class, or one band in all if there are no classes.

        Args:
            image: Name, with or without suffix; one without rows has an empty label.
            shape: Rows and columns of the image.

        Raises:
            LabelError: If its runs cannot be read, or do not lie inside the image, or are of another size.
        """
        name = f"{self.path} ({image})"
        for size in self._sizes.get(image_key(image), ()):
            if size != tuple(shape):
                raise LabelError(name, f"runs of an image of its size, {by(shape)}", f"{by(size)} as the table says")
        bands = [[np.zeros((0, 2), np.int64)] for _ in self._bands]
        for label, text in self._texts.get(image_key(image), ()):
            try:
                runs = parse_runs(text, shape, self._dialect)
            except OptionError as error:
                raise LabelError(name, f"{error.expected}{self._other_dialect(text, shape)}", error.received) from None
            if not self._dialect.relative:
                require_rising(name, runs, self._other_dialect(text, shape))
            bands[self._bands[label]].append(runs)
        return RunSource(name, shape, [np.concatenate(parts) for parts in bands], self._dialect.column_major)

    def _other_dialect(self, text: str, shape: Sequence[int]) -> str:
        """Returns a hint if runs that do not fit would, were they relative, or absolute, or counted from 0."""
        counted, other = {"one_based": not self._dialect.first}, {"relative": not self._dialect.relative}
        for changes in [other] if self._dialect.relative else [counted, other]:
            dialect = replace(self._dialect, **{"one_based": None, **changes})
            try:
                runs = parse_runs(text, shape, dialect)
            except OptionError:
                continue
            if dialect.relative or (runs[1:, 0] >= runs[:-1, 1]).all():
                ((name, value),) = changes.items()
                return f", as they are with `rle: {{{name}: {str(value).lower()}}}`"
        return ""


def require_rising(name: str, runs: np.ndarray, hint: str) -> None:
    """Refuses runs of one row that fall or overlap: they are written otherwise than they were read.

    Args:
        name: What messages call the label.
        runs: Array of `(start, stop)`.
        hint: What the message says of other ways to read them.

    Raises:
        LabelError: If a run starts before the end of the one before.
    """
    wrong = np.flatnonzero(runs[1:, 0] < runs[:-1, 1])
    if len(wrong):
        (start, stop), (after, _) = runs[wrong[0]], runs[wrong[0] + 1]
        received = f"one that starts at {after} after one from {start} to {stop} (the first pixel counted as 0)"
        raise LabelError(name, f"runs each of which starts after the one before{hint}", received)
