"""CSV tables of run-length labels: one row per object or per image, with or without classes."""

from __future__ import annotations

import csv
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np

from maskzoo.errors import LabelError, OptionError
from maskzoo.names import one_of

from .run_lengths import Dialect, parse_runs
from .run_source import RunSource

ID_COLUMNS = ("imageid", "image_id", "image", "id", "image_label", "imageid_classid", "filename")
RUN_COLUMNS = ("encodedpixels", "encoded_pixels", "rle", "rles", "encoding", "segmentation", "annotation", "predicted")
CLASS_COLUMNS = ("classid", "class_id", "class", "label")


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
        found: set[str | None] = set()
        for image, name, text in read_rows(self.path, classes or ()):
            found.add(name)
            self._texts.setdefault(image, []).append((name, text))
        if found == {None} and len(classes or ()) <= 1:
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
            image: Name, with or without suffix.
            shape: Rows and columns of the image.

        Raises:
            LabelError: If its runs cannot be read, or do not lie inside the image.
        """
        name = f"{self.path} ({image})"
        bands = [[np.zeros((0, 2), np.int64)] for _ in self._bands]
        for label, text in self._texts[image_key(image)]:
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


def read_rows(path: Path, classes: Sequence[str] = ()) -> Iterator[tuple[str, str | None, str]]:
    """Yields image, class or `None`, and runs of every row of a CSV: see `RunTable`."""
    csv.field_size_limit(sys.maxsize)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            stripped = ([cell.strip() for cell in row] for row in csv.reader(file, delimiter=delimiter_of(file)))
            rows = (row for row in stripped if any(row))
            head = next(rows, None)
            if head is None:
                raise LabelError(path, "a CSV with images and runs", "an empty file")
            columns = find_columns(path, head)
            every = rows if columns is not None else itertools.chain([head], rows)
            image_column, class_column, run_column = columns or (0, None, len(head) - 1)
            for row in every:
                if len(row) != len(head):
                    raise LabelError(path, f"{len(head)} columns in every row", ", ".join(row)[:60])
                if class_column is None:
                    image, name = split_class(row[image_column], classes)
                else:
                    image, name = row[image_column], row[class_column]
                yield image_key(image), name, row[run_column]
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(path, "a CSV file", error) from None


def delimiter_of(file: TextIO) -> str:
    """Returns what separates the columns of an open CSV, by its first line: a comma, a semicolon or a tab."""
    line = file.readline()
    file.seek(0)
    return max(",;\t", key=line.count)


def find_columns(path: Path, head: Sequence[str]) -> tuple[int, int | None, int] | None:
    """Returns the columns of image, class and runs by the header of a CSV; `None` if the first row is not a header."""
    names = [name.lower() for name in head]

    def find(known: Sequence[str]) -> int | None:
        return next((names.index(name) for name in known if name in names), None)

    image, runs = find(ID_COLUMNS), find(RUN_COLUMNS)
    if image is not None and runs is not None:
        return image, find(CLASS_COLUMNS), runs
    if len(head) > 1 and re.fullmatch(r"-1|(\d+ +\d+ *)*", head[-1]):
        return None
    raise LabelError(
        path,
        "a header with columns such as ImageId and EncodedPixels, or rows of image and runs",
        f"{','.join(head):.60}",
    )


def split_class(image: str, classes: Sequence[str]) -> tuple[str, str | None]:
    """Splits `image.jpg_Class`, or `image_Class` of a known class, into image and class; `None` without a class."""
    if found := re.fullmatch(r"(.+\.(?:jpe?g|png|tiff?|bmp|dcm|npy))_(.+)", image, re.IGNORECASE):
        return found[1], found[2]
    stem, _, name = image.rpartition("_")
    return (stem, name) if stem and name in classes else (image, None)


def image_key(image: str) -> str:
    """Returns the name of an image without a suffix that images have."""
    return re.sub(r"\.(jpe?g|png|tiff?|svs|bmp|dcm|npy|nii|nii\.gz)$", "", Path(image).name, flags=re.IGNORECASE)
