"""Run-length labels in their dialects: decoded whole or window by window, and encoded as a stream."""

from __future__ import annotations

import csv
import itertools
import re
import sys
from math import prod
from pathlib import Path

import numpy as np

from ..images.reading import read_mirrored
from ..images.source import Frame, Source
from ..sets.normalization import unknown
from ..windows import window_grid

EMPTY = ("", "-1", "nan", "none")
ID_COLUMNS = ("imageid", "image_id", "image", "id", "image_label", "imageid_classid", "filename")
RUN_COLUMNS = ("encodedpixels", "encoded_pixels", "rle", "rles", "encoding", "segmentation", "annotation")
CLASS_COLUMNS = ("classid", "class_id", "class", "label")


def decode_rle(runs, shape, *, relative=False, one_based=None, column_major=True):
    """Decodes runs into a mask.

    Args:
        runs: Pairs of numbers, as text or a sequence: where a run starts and how long it is. Empty text, `"-1"`, None
            and NaN are the empty mask.
        shape: Size of the mask per axis, rows first.
        relative: The first number of a pair is not the start of its run but the gap since the end of the run before.
        one_based: The first pixel has number 1. By default it has when the starts are absolute; a gap before the first
            run counts pixels, so with `relative` it has number 0.
        column_major: Pixels are counted down the columns, not along the rows.

    Returns:
        `uint8` array of `shape`, 1 inside the runs.

    Raises:
        ValueError: Where the numbers are not pairs, or a run does not lie inside the mask.
    """
    mask = np.zeros(prod(shape), np.uint8)
    for start, stop in parse_runs(runs, shape, relative=relative, one_based=one_based):
        mask[start:stop] = 1
    return mask.reshape(shape, order="F" if column_major else "C")


def encode_rle(mask, *, relative=False, one_based=None, column_major=True) -> str:
    """Encodes the nonzero pixels of a mask as runs, so that `decode_rle` with the same options gives the mask back.

    Args:
        mask: Array; nonzero is inside.
        relative: See `decode_rle`.
        one_based: See `decode_rle`.
        column_major: See `decode_rle`.

    Returns:
        Text such as `"3 2 9 1"`; an empty mask is `""`, and with `relative` `"-1"`.
    """
    flat = np.asarray(mask).ravel(order="F" if column_major else "C") != 0
    return "".join(format_runs([flat_runs(flat)], relative=relative, one_based=one_based))


def encode_windows(read, shape, *, relative=False, one_based=None, column_major=True, pixels=1 << 24):
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
    across = 1 if column_major else 0
    size = list(shape)
    size[across] = max(1, pixels // shape[1 - across])

    def runs():
        position = 0
        for window in window_grid(shape, size):
            flat = np.asarray(read(window)).reshape(window.size).ravel(order="F" if column_major else "C") != 0
            yield flat_runs(flat) + position
            position += len(flat)

    return format_runs(joined(runs()), relative=relative, one_based=one_based)


def flat_runs(flat):
    """Returns `(starts, stops)` of the runs of true values, as an array of pairs."""
    edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2)


def joined(parts):
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


def format_runs(parts, *, relative, one_based):
    """Writes arrays of `(start, stop)` in a dialect, piece by piece."""
    first = first_number(relative, one_based)
    end, separator = 0, ""
    for runs in parts:
        if not len(runs):
            continue
        starts, lengths = runs[:, 0] + first, runs[:, 1] - runs[:, 0]
        if relative:
            starts = starts - np.concatenate([[end], runs[:-1, 1] + first])
            end = runs[-1, 1] + first
        yield separator + " ".join(map(str, np.stack([starts, lengths], axis=1).ravel().tolist()))
        separator = " "
    if relative and not separator:
        yield "-1"


def first_number(relative, one_based):
    """Returns the number of the first pixel."""
    return int(not relative if one_based is None else one_based)


def parse_runs(runs, shape, *, relative=False, one_based=None, name="runs"):
    """Returns `(start, stop)` pairs, the first pixel 0, of runs in a dialect: see `decode_rle`."""
    if runs is None or (isinstance(runs, float) and np.isnan(runs)):
        runs = ""
    if isinstance(runs, str):
        text = runs.strip()
        try:
            numbers = np.zeros(0, np.int64) if text.lower() in EMPTY else np.fromstring(text, np.int64, sep=" ")
        except ValueError:
            raise ValueError(f"{name}: expected pairs of whole numbers; received {text:.40}") from None
    else:
        numbers = np.asarray(runs, np.int64).ravel()
        if numbers.tolist() == [-1]:
            numbers = numbers[:0]
    if len(numbers) % 2:
        raise ValueError(f"{name}: expected pairs of numbers; received {len(numbers)} numbers")
    starts, lengths = numbers.reshape(-1, 2).T
    if relative:
        starts = np.cumsum(starts + np.concatenate([[0], lengths[:-1]])) if len(starts) else starts
    starts = starts - first_number(relative, one_based)
    stops = starts + lengths
    if len(starts) and (starts.min() < 0 or lengths.min() < 0 or stops.max() > prod(shape)):
        wrong = np.flatnonzero((starts < 0) | (lengths < 0) | (stops > prod(shape)))[0]
        raise ValueError(
            f"{name}: expected runs inside a mask of {' x '.join(map(str, shape))}; received one from "
            f"{starts[wrong]} to {stops[wrong]} (the first pixel counted as 0)"
        )
    return np.stack([starts, stops], axis=1)


class RunSource(Source):
    """Reads windows of run-length labels without ever holding the mask.

    Args:
        name: What to call the label in messages.
        shape: Rows and columns.
        runs: List of runs per band, each an array of `(start, stop)`, the first pixel 0; they may overlap.
        column_major: Pixels are counted down the columns.
    """

    path = None
    dtype = np.dtype(np.uint8)

    def __init__(self, name, shape, runs, column_major=True):
        self.name = name
        self.shape = tuple(shape)
        self.frame = Frame(self.shape)
        self.channels = len(runs)
        self._column_major = column_major
        self.runs = [np.ascontiguousarray(band[np.argsort(band[:, 0], kind="stable")]) for band in runs]
        # The furthest end up to each run, so that the runs that reach into a window are found by bisection.
        self._reach = [np.maximum.accumulate(band[:, 1]) for band in self.runs]

    def read(self, window):
        """Returns the label of a `Window` as `uint8` `(*size, bands)`, mirrored outside the image."""
        return read_mirrored(self, window, self._read)

    def _read(self, window):
        bands = [self._burn(window, runs, reach) for runs, reach in zip(self.runs, self._reach, strict=True)]
        return np.stack(bands, axis=-1)

    def _burn(self, window, runs, reach):
        along, across = (0, 1) if self._column_major else (1, 0)
        length = self.shape[along]
        first, last = window.offset[across], window.stop[across]
        begin, end = np.searchsorted(reach, first * length, "right"), np.searchsorted(runs[:, 0], last * length)
        starts, stops = runs[begin:end].T
        # A run that passes the end of a line goes on in the next: one piece per line that the window shows.
        line, last_line = np.maximum(starts // length, first), np.minimum((stops - 1) // length, last - 1)
        pieces = np.maximum(last_line - line + 1, 0) * (stops > starts)
        which = np.repeat(np.arange(len(pieces)), pieces)
        line = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + line[which]
        size, before = window.size[along], window.offset[along]
        low = np.clip(starts[which] - line * length, 0, length) - before
        high = np.clip(stops[which] - line * length, 0, length) - before
        edges = np.zeros((window.size[across], size + 1), np.int32)
        np.add.at(edges, (line - first, np.clip(low, 0, size)), 1)
        np.add.at(edges, (line - first, np.clip(high, 0, size)), -1)
        inside = (np.cumsum(edges[:, :-1], axis=1) > 0).astype(np.uint8)
        return inside.T if self._column_major else inside


class RunTable:
    """The rows of a run-length CSV, by image and class.

    Args:
        path: CSV with one row per object or per image: an image, its runs, and possibly a class, in a column of its own
            or as `image_Class`. With or without header, byte-order mark and blanks.
        classes: Class names; None: those found, sorted.
        relative: See `decode_rle`.
        one_based: See `decode_rle`.
        column_major: See `decode_rle`.

    Raises:
        OSError: Where the file cannot be read.
        ValueError: Where it has no column of runs or an unknown class.
    """

    def __init__(self, path, *, classes=None, relative=False, one_based=None, column_major=True):
        self.path = Path(path)
        self._dialect = {"relative": relative, "one_based": one_based}
        self._column_major = column_major
        self._texts = {}
        found = set()
        for image, kind, text in read_rows(path, classes):
            found.add(kind)
            self._texts.setdefault(image, []).append((kind, text))
        if found == {None} and len(classes or ()) <= 1:
            self.class_names = list(classes or ())
            self._bands = {None: 0}
            return
        if None in found:
            raise ValueError(f"{path}: expected a class in every row, such as image.jpg_Class; received rows without")
        self.class_names = list(classes) if classes is not None else sorted(found)
        if others := sorted(found - set(self.class_names)):
            raise ValueError(unknown(f"{path}: class", others[0], self.class_names))
        self._bands = {kind: number for number, kind in enumerate(self.class_names)}

    @property
    def images(self):
        """The names of the images, without suffix."""
        return list(self._texts)

    def open(self, image, shape):
        """Returns the `RunSource` of an image, one band per class, or one band in all where there are no classes.

        Args:
            image: Name, with or without suffix.
            shape: Rows and columns of the image.
        """
        name = f"{self.path} ({image})"
        bands = [[np.zeros((0, 2), np.int64)] for _ in self._bands]
        for kind, text in self._texts[image_key(image)]:
            bands[self._bands[kind]].append(parse_runs(text, shape, name=name, **self._dialect))
        return RunSource(name, shape, [np.concatenate(parts) for parts in bands], self._column_major)


def read_rows(path, classes=None):
    """Yields `(image, class or None, runs)` of a run-length CSV: see `RunTable`."""
    csv.field_size_limit(sys.maxsize)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = ([cell.strip() for cell in row] for row in csv.reader(file))
            rows = (row for row in rows if any(row))
            head = next(rows, None)
            if head is None:
                raise ValueError(f"{path}: expected a CSV with images and runs; received an empty file")
            columns = find_columns(path, head)
            if columns is None:
                columns, rows = (0, None, len(head) - 1), itertools.chain([head], rows)
            for row in rows:
                if len(row) != len(head):
                    raise ValueError(f"{path}: expected {len(head)} columns in every row; received {row!s:.60}")
                image, kind, runs = (None if column is None else row[column] for column in columns)
                if kind is None:
                    image, kind = split_class(image, classes)
                yield image_key(image), kind, runs
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: expected a CSV file; received {error}") from None


def find_columns(path, head):
    """Returns the columns of image, class and runs by the header of a CSV; None where the first row is none."""
    names = [name.lower() for name in head]

    def find(known):
        return next((names.index(name) for name in known if name in names), None)

    image, runs = find(ID_COLUMNS), find(RUN_COLUMNS)
    if image is not None and runs is not None:
        return image, find(CLASS_COLUMNS), runs
    if len(head) > 1 and re.fullmatch(r"-1|(\d+ +\d+ *)*", head[-1]):
        return None
    raise ValueError(
        f"{path}: expected a header with columns such as ImageId and EncodedPixels, or rows of image and runs; "
        f"received {','.join(head):.60}"
    )


def split_class(image, classes):
    """Splits `image.jpg_Class`, or `image_Class` of a known class, into image and class; None without a class."""
    if found := re.fullmatch(r"(.+\.(?:jpe?g|png|tiff?|bmp|dcm|npy))_(.+)", image, re.IGNORECASE):
        return found.groups()
    stem, _, kind = image.rpartition("_")
    return (stem, kind) if stem and kind in (classes or ()) else (image, None)


def image_key(image):
    """Returns the name of an image without a suffix that images have."""
    return re.sub(r"\.(jpe?g|png|tiff?|svs|bmp|dcm|npy|nii|nii\.gz)$", "", Path(image).name, flags=re.IGNORECASE)
