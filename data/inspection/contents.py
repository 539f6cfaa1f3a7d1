"""What a data set holds, and which of its pairs look wrong; a damaged pair is listed and does not stop the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from maskzoo.errors import LabelError
from maskzoo.names import counted

from ..images.image_files import file_suffix
from ..images.opening import open_source
from ..images.statistics import MEASURED_PIXELS
from ..labels.finding import band_scheme, value_scheme
from ..labels.scheme import LabelScheme
from ..labels.values import one_band_expected, undeclared
from ..sets.folders import files_by_stem, find_folders
from ..sets.pairs import label_opener, open_pairs
from ..sets.spec_file import read_spec, spatial_dims_of
from ..sets.specification import SYNTHETIC, DataSpec
from .examined_pairs import ExaminedPair, Note, OpenImage, OpenLabel, compare_pairs, examine

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

    files, opened, bands = openers(spec, spatial_dims, note)
    pairs = [examine(name, *functions, note) for name, functions in opened.items()]
    labelled = [pair for pair in pairs if pair.label is not None]
    scheme = found_scheme(spec, labelled, bands, note)
    compare_pairs(pairs, note)
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
        "sampled": sum(prod(image.shape) > MEASURED_PIXELS for image in images),
        "label_dtypes": frequencies(str(pair.readable_label.dtype) for pair in labelled),
        "label_values": value_rows(labelled),
        "task": scheme and scheme.task,
        "ignore": list(spec.ignore),
        "classes": class_rows(labelled, scheme, note) if scheme else [],
        "suspicious": problems,
    }
    return Inspection(report, labelled, scheme)


def openers(
    spec: DataSpec, spatial_dims: int, note: Note
) -> tuple[list[Path], Mapping[str, tuple[OpenImage, OpenLabel | None]], Sequence[str] | None]:
    """Returns the image files, functions that open image and label by name, and the names of the labels' bands."""
    if spec.path == SYNTHETIC:
        pairs, bands = open_pairs(spec, spatial_dims, 0)
        opened = {name: (lambda i=image: i, lambda _image, k=label: k) for name, image, label in pairs}
        return [Path(name) for name in opened], opened, bands
    folder, labels = find_folders(spec)
    images = files_by_stem(folder)
    alone: set[str] = set()

    def check(images: Mapping[str, Path], stems: Mapping[str, Path], place: Path) -> None:
        for stem in sorted(images.keys() ^ stems.keys()):
            have, want = (images, place) if stem in images else (stems, folder)
            note("without counterpart", f"{have[stem]}: nothing of this name in {want}")
        alone.update(images.keys() - stems.keys())

    open_label, bands = label_opener(spec, labels, images, spatial_dims, check)

    def functions(name: str) -> tuple[OpenImage, OpenLabel | None]:
        label = None if name in alone else lambda image: open_label(name, image)
        return lambda: open_source(images[name], spatial_dims=spatial_dims), label

    return list(images.values()), {name: functions(name) for name in sorted(images)}, bands


def found_scheme(
    spec: DataSpec, pairs: Sequence[ExaminedPair], bands: Sequence[str] | None, note: Note
) -> LabelScheme | None:
    """Returns the scheme that most labels obey, `None` if there is none; notes the labels that do not."""
    if not pairs:
        return None
    ignore = tuple(sorted(spec.ignore))
    every = sorted({value for pair in pairs for value in pair.found_values()} - set(ignore))
    task, classes = spec.task, spec.classes
    try:
        if bands is not None and (len(bands) > 1 or task == "multilabel"):
            scheme = band_scheme(len(bands), bands, ignore)
        elif bands is None and (several := [pair for pair in pairs if len(pair.values) > 1]):
            if task in ("binary", "multiclass"):
                raise one_band_expected(several[0].readable_label)
            scheme = band_scheme(several[0].readable_label.channels, classes, ignore)
        else:
            scheme = value_scheme(task, bands or classes, ignore, usual_values(pairs, every, ignore))
    except ValueError as error:
        note("unclear labels", str(error))
        return None
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
    return scheme


def usual_values(pairs: Sequence[ExaminedPair], every: Sequence[int], ignore: Sequence[int]) -> Sequence[int]:
    """Returns all label values, or 0 and 255 (or 1) if most labels have no others: then the rest are mistakes."""
    for high in (1, 255):
        usual = sum(set(pair.values[0]) - set(ignore) <= {0, high} for pair in pairs)
        if high in every and usual > 0.9 * len(pairs):
            return [0, high]
    return every


def value_rows(pairs: Sequence[ExaminedPair]) -> list[dict[str, float]]:
    """Returns each label value with its fraction of the pixels and the number of labels that have it."""
    totals: Counter[int] = Counter()
    files: Counter[int] = Counter()
    for pair in pairs:
        merged: Counter[int] = sum(pair.values, Counter())
        totals.update(merged)
        files.update(merged.keys())
    pixels = max(sum(totals.values()), 1)
    return [{"value": value, "share": totals[value] / pixels, "files": files[value]} for value in sorted(totals)]


def class_rows(pairs: Sequence[ExaminedPair], scheme: LabelScheme, note: Note) -> list[dict[str, str | float]]:
    """Returns each class with its fraction of the pixels that count and the number of images that show it."""
    counts = np.array([pair.foreground(scheme) for pair in pairs], dtype=np.int64)
    sizes = [sum(pair.values[0].values()) - sum(pair.values[0][v] for v in scheme.ignore) for pair in pairs]
    for pair, count, size in zip(pairs, counts, sizes, strict=True):
        foreground = count[1:] if scheme.task == "multiclass" else count
        if not size:
            note("nothing counts", f"{pair.name}: every pixel is ignored")
        elif not foreground.any() and pair.found_values() <= set(scheme.declared):
            note("empty labels", pair.name)
        elif scheme.task == "binary" and count[0] == size:
            note("full labels", pair.name)
    fractions = counts.sum(axis=0) / max(sum(sizes), 1)
    shown = (counts > 0).sum(axis=0)
    return [
        {"name": name, "share": float(fraction), "images": int(number)}
        for name, fraction, number in zip(scheme.class_names, fractions, shown, strict=True)
    ]


def frequencies(values: Iterable[str] | Iterable[int]) -> dict[str | int, int]:
    """Returns how often each value occurs, the most frequent first."""
    return dict(Counter[str | int](values).most_common())
