"""The rows of a run-length CSV: image, class, runs and size of the mask, whatever its columns are called."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from maskzoo.errors import LabelError, readable

ID_COLUMNS = ("imageid", "image", "id", "imagelabel", "imageidclassid", "filename", "img")
RUN_COLUMNS = (
    "encodedpixels",
    "rle",
    "rles",
    "rlemask",
    "encoding",
    "segmentation",
    "annotation",
    "predicted",
)
CLASS_COLUMNS = ("classid", "class", "label")
HEIGHT_COLUMNS = ("height", "imgheight", "imageheight")
WIDTH_COLUMNS = ("width", "imgwidth", "imagewidth")
IMAGE_SUFFIXES = r"jpe?g|png|tiff?|svs|gif|bmp|webp|dcm|npy|nii|nii\.gz"


class RunRow(NamedTuple):
    """One row.

    Attributes:
        image: Name of the image, without folder and suffix.
        name: The class; `None` without one.
        runs: The runs, as text.
        size: Rows and columns of the mask; `None` where the table does not say them.
    """

    image: str
    name: str | None
    runs: str
    size: tuple[int, int] | None


class Columns(NamedTuple):
    """Numbers of the columns of a table; `None` of those that it lacks."""

    image: int
    name: int | None
    runs: int
    height: int | None
    width: int | None


def read_rows(path: Path, classes: Sequence[str] = ()) -> Iterator[RunRow]:
    """Yields the rows of a CSV: see `RunTable`.

    Args:
        path: The file: UTF-8, or UTF-16 with a byte-order mark.
        classes: Known classes, which the names of images may end in.

    Raises:
        LabelError: If it has no column of runs.
    """
    csv.field_size_limit((1 << 31) - 1)  # what fits everywhere
    with readable(path, "a CSV file", LabelError), open(path, encoding=encoding_of(path), newline="") as file:
        stripped = ([cell.strip() for cell in row] for row in csv.reader(file, delimiter=delimiter_of(file)))
        rows = (row for row in stripped if any(row))
        head = next(rows, None)
        if head is None:
            raise LabelError(path, "a CSV with images and runs", "an empty file")
        found = find_columns(path, head)
        every = rows if found is not None else itertools.chain([head], rows)
        columns = found or Columns(0, None, len(head) - 1, None, None)
        for row in every:
            if len(row) != len(head):
                raise LabelError(path, f"{len(head)} columns in every row", ", ".join(row)[:60])
            yield run_row(row, columns, classes)


def run_row(row: Sequence[str], columns: Columns, classes: Sequence[str]) -> RunRow:
    """Returns what the cells of a row say."""
    image, name = row[columns.image], None
    if columns.name is None:
        image, name = split_class(image, classes)
    else:
        name = row[columns.name] or None
    size = None
    if columns.height is not None and columns.width is not None:
        sides = row[columns.height], row[columns.width]
        size = (int(sides[0]), int(sides[1])) if all(side.isdigit() for side in sides) else None
    return RunRow(image_key(image), name, row[columns.runs], size)


def encoding_of(path: Path) -> str:
    """Returns the encoding of a text file: UTF-16 where its byte-order mark says so, else UTF-8."""
    with open(path, "rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def delimiter_of(file: TextIO) -> str:
    """Returns what separates the columns of an open CSV, by its first line: a comma, a semicolon or a tab."""
    line = file.readline()
    file.seek(0)
    return max(",;\t", key=line.count)


def find_columns(path: Path, head: Sequence[str]) -> Columns | None:
    """Returns the columns of a CSV by its header; `None` if the first row is not a header.

    Case, blanks and signs between the words of a header make no difference.

    Raises:
        LabelError: If it has no columns of images and runs.
    """
    names = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in head]

    def find(known: Sequence[str]) -> int | None:
        return next((names.index(name) for name in known if name in names), None)

    image, runs = find(ID_COLUMNS), find(RUN_COLUMNS)
    if image is not None and runs is not None:
        return Columns(image, find(CLASS_COLUMNS), runs, find(HEIGHT_COLUMNS), find(WIDTH_COLUMNS))
    if len(head) > 1 and re.fullmatch(r"-1|(\d+ +\d+ *)*", head[-1]):
        return None
    raise LabelError(
        path,
        "a header with columns such as ImageId and EncodedPixels, or rows of image and runs",
        f"{','.join(head):.60}",
    )


def split_class(image: str, classes: Sequence[str]) -> tuple[str, str | None]:
    """Splits `image.jpg_Class`, or `image_Class` of a known class, into image and class; `None` without a class."""
    if found := re.fullmatch(rf"(.+\.(?:{IMAGE_SUFFIXES}))_(.+)", image, re.IGNORECASE):
        return found[1], found[2]
    stem, _, name = image.rpartition("_")
    return (stem, name) if stem and name in classes else (image, None)


def image_key(image: str) -> str:
    """Returns the name of an image without its folder, of any system, and without a suffix that images have."""
    return re.sub(rf"\.({IMAGE_SUFFIXES})$", "", re.split(r"[\\/]", image)[-1], flags=re.IGNORECASE)
