"""What a data set holds, and which of its pairs look wrong; a damaged pair is listed and does not stop the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from maskzoo.errors import LabelError
from maskzoo.names import counted

from ..images.image_files import file_suffix
from ..images.statistics import MEASURED_PIXELS
from ..labels.facts import LabelFacts
from ..labels.finding import band_scheme, understand
from ..labels.scheme import LabelScheme
from ..labels.values import UNKNOWN_CLASS, StackedSource, undeclared, unresampled
from ..sets.folders import find_folders, image_files, left_out, with_channels
from ..sets.image_opening import open_stored
from ..sets.label_opening import LabelOpener, declared_classes, label_opener, other_names, settled_labels
from ..sets.pairs import open_pairs, pixel_notes
from ..sets.spec_file import read_spec, spatial_dims_of
from ..sets.specification import SYNTHETIC, DataSpec
from .examined_pairs import ExaminedPair, Note, OpenImage, OpenLabel, compare_pairs, count_values, examine, kind_of
from .file_groups import file_groups

NAME_LENGTH = 32


@dataclass(frozen=True)
class Inspection:
    """What `inspect_data` found.

    Attributes:
        report: Everything that was found, as values that JSON can hold.
        pairs: The pairs whose labels could be read.
        scheme: What the label values mean; `None` if that is not clear.
    """

    report: dict[str, Any]  # JSON values
    pairs: list[ExaminedPair]
    scheme: LabelScheme | None

    def samples(self, count: int = 6) -> tuple[list[tuple[str, np.ndarray, dict[str, np.ndarray]]], list[str]]:
        """Returns rows for `save_overlays` of pairs spread over the data set, and the names of their classes.

        Of an image of more than four million pixels, the part whose label has most pixels other than 0 is shown.

        Raises:
            LabelError: If no pair can be shown.
        """
        scheme = self.scheme
        pairs = [pair for pair in self.pairs if scheme and pair.found_values() <= set(scheme.declared)]
        if scheme is None or not pairs:
            raise LabelError(self.report["path"], "labels that can be shown", "none")
        # A background is what is left when the classes are drawn.
        first = int(scheme.task == "multiclass" and scheme.class_names[0] in ("0", "background"))
        rows = []
        for index in np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)):
            pair = pairs[index]
            if pair.image is None or pair.label is None or pair.window is None:
                continue
            masks = scheme.masks(scheme.reader(pair.label)(pair.window))
            name = pair.name if len(pair.name) <= NAME_LENGTH else f"{pair.name[: NAME_LENGTH - 3]}..."
            rows.append((name, pair.image.read(pair.window), {"label": masks[..., first:].astype(np.uint8)}))
        return rows, list(scheme.class_names[first:])


def inspect_data(spec: DataSpec | str | Path, *, spatial_dims: int | None = None) -> Inspection:
    """Reads every image and label of a data set and describes what it holds.

    Images beyond `MEASURED_PIXELS` are read in windows spread over them.

    Args:
        spec: A specification, or what `read_spec` takes.
        spatial_dims: Number of spatial axes; by default that of the files, else 2.

    Raises:
        OSError: If the data set is not there.
        ValueError: If its specification is wrong.
    """
    spec = spec if isinstance(spec, DataSpec) else read_spec(spec)
    spatial_dims = spatial_dims or spatial_dims_of(spec) or 2
    problems: dict[str, list[str]] = {}

    def note(kind: str, line: str) -> None:
        problems.setdefault(kind, []).append(line)

    files, opened, opener = openers(spec, spatial_dims, note)
    pairs = [examine(name, *functions, note) for name, functions in opened.items()]
    labelled = [pair for pair in pairs if pair.label is not None]
    remarks = settle(spec, labelled, opener, note) if opener is not None and labelled else []
    scheme, more = found_scheme(spec, labelled, None if opener is None else opener.bands, note)
    compare_pairs(pairs, note)
    ignored = scheme.ignore if scheme else spec.ignored_values
    images = [pair.image for pair in pairs if pair.image is not None]
    readable = [pair for pair in pairs if pair.image is not None]
    report = {
        "path": spec.path,
        "files": len(files),
        "pairs": len(labelled),
        "rank": spatial_dims,
        "suffixes": frequencies(file_suffix(file) for file in files),
        "sizes": frequencies(" x ".join(map(str, image.shape)) for image in images),
        "smallest": [min(axis) for axis in zip(*(image.shape for image in images), strict=True)],
        "largest": [max(axis) for axis in zip(*(image.shape for image in images), strict=True)],
        "channels": frequencies(image.channels for image in images),
        "dtypes": frequencies(str(image.dtype) for image in images),
        "values": [min(p.low for p in readable), max(p.high for p in readable)] if readable else None,
        "groups": file_groups(pairs, note),
        "pixels": pixel_notes(pairs),
        "sampled": sum(prod(image.shape) > MEASURED_PIXELS for image in images),
        "label_dtypes": frequencies(str(pair.readable_label.dtype) for pair in labelled),
        "label_values": value_rows(labelled),
        "task": scheme and scheme.task,
        "ignore": [value for value in ignored if spec.missing is None or value != UNKNOWN_CLASS],
        "classes": class_rows(labelled, scheme, note) if scheme else [],
        "remarks": [*remarks, *more],
        "suspicious": problems,
    }
    return Inspection(report, labelled, scheme)


def openers(
    spec: DataSpec, spatial_dims: int, note: Note
) -> tuple[list[Path], Mapping[str, tuple[OpenImage, OpenLabel | None]], LabelOpener | None]:
    """Returns the image files, functions that open image and label by name, and what opens the labels of files."""
    if spec.path == SYNTHETIC:
        pairs, _ = open_pairs(spec, spatial_dims, 0)
        opened = {name: (lambda i=image: i, lambda _image, k=label: k) for name, image, label in pairs}
        return [Path(name) for name in opened], opened, None
    folder, labels = find_folders(spec)
    spec = with_channels(spec)
    images = image_files(spec)
    alone: set[str] = set()
    for line in left_out(spec):
        note("left out", line)

    def check(images: Mapping[str, Path], stems: Mapping[str, Path], place: Path) -> None:
        hint = other_names(images, stems, place)
        for stem in sorted(images.keys() ^ stems.keys()):
            have, want = (images, place) if stem in images else (stems, folder)
            note("without counterpart", f"{have[stem]}: nothing of this name in {want}{hint}")
        alone.update(images.keys() - stems.keys())

    open_label = label_opener(spec, labels, images, spatial_dims, check)
    as_stored = replace(spec, level=None, resolution=None)

    def functions(name: str) -> tuple[OpenImage, OpenLabel | None]:
        label = None if name in alone else lambda image: open_label(name, image)
        return lambda: open_stored(images[name], as_stored, spatial_dims), label

    return list(images.values()), {name: functions(name) for name in sorted(images)}, open_label


def settle(spec: DataSpec, pairs: Sequence[ExaminedPair], opener: LabelOpener, note: Note) -> list[str]:
    """Reads labels as a look at all of them shows, and returns what was found out: see `settled_labels`."""
    labels = [pair.readable_label for pair in pairs]
    try:
        settled, remarks = settled_labels(spec, labels, opener.bands)
    except ValueError as error:
        note(kind_of(error), str(error))
        return opener.remarks
    for pair, before, after in zip(pairs, labels, settled, strict=True):
        if after is not before:
            pair.label = after
            count_values(pair, after)
    return [*opener.remarks, *remarks]


def found_scheme(
    spec: DataSpec, pairs: Sequence[ExaminedPair], bands: Sequence[str] | None, note: Note
) -> tuple[LabelScheme | None, list[str]]:
    """Returns the scheme that most labels obey, `None` if there is none, and remarks; notes the labels that do not."""
    remarks: list[str] = []
    if not pairs:
        return None, remarks
    ignore = spec.ignored_values
    try:
        if bands is not None and (len(bands) > 1 or spec.task == "multilabel"):
            scheme = band_scheme(len(bands), bands, ignore)
        else:
            facts = [
                LabelFacts(pair.readable_label, frozenset(pair.found_values()), bands is None and len(pair.values) > 1)
                for pair in pairs
            ]
            classes = bands or declared_classes(spec)
            scheme, remarks = understand(
                facts, task=spec.task, classes=classes, ignore=ignore, usual=usual_values(pairs, ignore)
            )
    except ValueError as error:
        note("unclear labels", str(error))
        return None, remarks
    for pair in pairs:
        label = pair.readable_label
        if scheme.bands is not None and len(pair.values) <= max(scheme.bands):
            pair.values = pair.values * label.channels
        if scheme.bands is not None and len(pair.values) <= max(scheme.bands):
            bands_found = counted(len(pair.values), "band")
            note("undeclared values", f"{label.name}: {bands_found}, expected {len(scheme.bands)}")
            pair.values = pair.values + [Counter()] * (max(scheme.bands) + 1 - len(pair.values))
        elif others := sorted(pair.found_values() - set(scheme.declared)):
            note("undeclared values", str(undeclared(label.name, scheme.declared, others)))
    return scheme, remarks


def usual_values(pairs: Sequence[ExaminedPair], ignore: Sequence[int]) -> list[frozenset[int]]:
    """Returns the values of each label, without those that are mistakes where nine of ten labels are 0 and 255 or 1."""
    found = [frozenset(pair.found_values()) for pair in pairs]
    usual = sum(values - set(ignore) <= {0, 255} or values - set(ignore) <= {0, 1} for values in found)
    if usual <= 0.9 * len(pairs) or usual == len(pairs):
        return found
    return [values if values - set(ignore) <= {0, 1} else values & {0, 255, *ignore} for values in found]


def value_rows(pairs: Sequence[ExaminedPair]) -> list[dict[str, float]]:
    """Returns each label value with its fraction of the pixels and the number of labels that have it."""
    totals: Counter[int] = Counter()
    files: Counter[int] = Counter()
    for pair in pairs:
        merged: Counter[int] = sum(pair.values, Counter())
        label = unresampled(pair.readable_label)
        if isinstance(label, StackedSource) and label.unknown:
            del merged[UNKNOWN_CLASS]
        totals.update(merged)
        files.update(merged.keys())
    pixels = max(sum(totals.values()), 1)
    return [{"value": value, "share": totals[value] / pixels, "files": files[value]} for value in sorted(totals)]


def class_rows(pairs: Sequence[ExaminedPair], scheme: LabelScheme, note: Note) -> list[dict[str, str | float]]:
    """Returns each class with its fraction of the pixels that count and the number of images that show it."""
    counts = np.array([pair.foreground(scheme) for pair in pairs], dtype=np.int64)
    sizes = np.array([pair.counting(scheme) for pair in pairs], dtype=np.int64)
    for pair, count, size in zip(pairs, counts, sizes, strict=True):
        foreground = count[1:] if scheme.task == "multiclass" else count
        if not size.any():
            note("nothing counts", f"{pair.name}: every pixel is ignored")
        elif not foreground.any() and pair.found_values() <= set(scheme.declared):
            note("empty labels", pair.name)
        elif scheme.task == "binary" and count[0] == size[0]:
            note("full labels", pair.name)
    fractions = counts.sum(axis=0) / np.maximum(sizes.sum(axis=0), 1)
    shown = (counts > 0).sum(axis=0)
    for name, number in zip(scheme.class_names, shown, strict=True):
        if not number and not (scheme.task == "multiclass" and name == scheme.class_names[0]):
            note("classes that never occur", name)
    return [
        {"name": name, "share": float(fraction), "images": int(number)}
        for name, fraction, number in zip(scheme.class_names, fractions, shown, strict=True)
    ]


def frequencies(values: Iterable[str] | Iterable[int]) -> dict[str | int, int]:
    """Returns how often each value occurs, the most frequent first."""
    return dict(Counter[str | int](values).most_common())
