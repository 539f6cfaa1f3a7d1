"""What a data set holds, and which of its pairs look wrong; a damaged pair is listed, never the end of the list."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..images.image_files import file_suffix
from ..images.opening import open_source
from ..images.statistics import MEASURED_PIXELS, measured_windows
from ..labels.finding import band_scheme, value_scheme
from ..labels.scheme import LabelScheme
from ..labels.values import StackedSource, bands_are_equal, label_values, one_band_expected, undeclared
from ..sets.folders import files_by_stem, find_folders
from ..sets.pairs import label_opener, open_pairs
from ..sets.spec_file import read_spec, spatial_dims_of
from ..sets.specification import SYNTHETIC, DataSpec
from ..windows import Window

SHOWN_PIXELS = 1 << 22
NAME_LENGTH = 32


@dataclass
class Pair:
    """One image with its label, as far as they could be read.

    Attributes:
        name: Name within the data set.
        image: Source of the image, None where it cannot be read.
        label: Source of the label, None where it cannot be read or has another size.
        digest: Hash of the pixels that were looked at.
        low: Least value of the image.
        high: Greatest value of the image.
        values: Per band of the label, how many pixels have which value.
        window: Where the label has the most pixels other than 0, for a picture of a large image.
    """

    name: str
    image: Any = None
    label: Any = None
    digest: str = ""
    low: float = 0.0
    high: float = 0.0
    values: list[Counter] = field(default_factory=list)
    window: Window | None = None

    def foreground(self, scheme):
        """Returns how many pixels each class of a `LabelScheme` has."""
        if scheme.bands is not None:
            present = scheme.values[1]
            return [sum(self.values[band][value] for value in present) for band in scheme.bands]
        groups = scheme.values[-1:] if scheme.task == "binary" else scheme.values
        return [sum(self.values[0][value] for value in group) for group in groups]


@dataclass(frozen=True)
class Inspection:
    """What `inspect_data` found.

    Attributes:
        report: Everything that was found, as values that JSON can hold.
        pairs: The pairs whose labels could be read.
        scheme: What the label values mean, None where that is not clear.
    """

    report: dict
    pairs: list[Pair]
    scheme: LabelScheme | None

    def samples(self, count=6):
        """Returns rows for `save_overlays` of pairs spread over the data set, and the names of their classes.

        Of an image of more than four million pixels, the part whose label has most pixels other than 0 is shown.

        Raises:
            ValueError: Where no pair can be shown.
        """
        pairs = [p for p in self.pairs if self.scheme and set().union(*p.values) <= set(self.scheme.declared)]
        if not pairs:
            raise ValueError(f"{self.report['path']}: expected labels that can be shown; received none")
        # A background is what is left when the classes are drawn.
        first = int(self.scheme.task == "multiclass" and self.scheme.class_names[0] in ("0", "background"))
        rows = []
        for index in np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)):
            pair = pairs[index]
            masks = self.scheme.masks(self.scheme.reader(pair.label)(pair.window))
            name = pair.name if len(pair.name) <= NAME_LENGTH else f"{pair.name[: NAME_LENGTH - 3]}..."
            rows.append((name, pair.image.read(pair.window), {"label": masks[..., first:].astype(np.uint8)}))
        return rows, list(self.scheme.class_names[first:])


def inspect_data(spec, *, spatial_dims=None) -> Inspection:
    """Looks at every image and label of a data set.

    Images beyond `MEASURED_PIXELS` are looked at in windows spread over them.

    Args:
        spec: A `DataSpec`, or what `read_spec` takes.
        spatial_dims: Number of spatial axes; by default that of the files, else 2.

    Raises:
        OSError: Where the data set is not there.
        ValueError: Where its specification is wrong.
    """
    spec = spec if isinstance(spec, DataSpec) else read_spec(spec)
    spatial_dims = spatial_dims or spatial_dims_of(spec) or 2
    problems: dict[str, list[str]] = {}

    def note(kind, line):
        problems.setdefault(kind, []).append(line)

    files, opened, bands = openers(spec, spatial_dims, note)
    pairs = [look(Pair(name), *functions, note) for name, functions in opened.items()]
    labelled = [pair for pair in pairs if pair.label is not None]
    scheme = found_scheme(spec, labelled, bands, note)
    compare_pairs(pairs, note)
    readable = [pair for pair in pairs if pair.image is not None]
    report = {
        "path": spec.path,
        "files": len(files),
        "pairs": len(labelled),
        "rank": spatial_dims,
        "suffixes": counted(file_suffix(file) for file in files),
        "sizes": counted(" x ".join(map(str, pair.image.shape)) for pair in readable),
        "smallest": [min(axis) for axis in zip(*(pair.image.shape for pair in readable), strict=True)],
        "largest": [max(axis) for axis in zip(*(pair.image.shape for pair in readable), strict=True)],
        "channels": counted(pair.image.channels for pair in readable),
        "dtypes": counted(str(pair.image.dtype) for pair in readable),
        "values": [min(p.low for p in readable), max(p.high for p in readable)] if readable else None,
        "sampled": sum(prod(pair.image.shape) > MEASURED_PIXELS for pair in readable),
        "label_dtypes": counted(str(pair.label.dtype) for pair in labelled),
        "label_values": value_rows(labelled),
        "task": scheme and scheme.task,
        "ignore": list(spec.ignore),
        "classes": class_rows(labelled, scheme, note) if scheme else [],
        "suspicious": problems,
    }
    return Inspection(report, labelled, scheme)


def openers(spec, spatial_dims, note):
    """Returns the image files, functions that open image and label by name, and the names of the labels' bands."""
    if spec.path == SYNTHETIC:
        pairs, bands = open_pairs(spec, spatial_dims, 0)
        opened = {name: (lambda i=image: i, lambda _, k=label: k) for name, image, label in pairs}
        return [Path(name) for name in opened], opened, bands
    folder, labels = find_folders(spec)
    images = files_by_stem(folder)
    alone = set()

    def check(images, stems, place):
        for stem in sorted(images.keys() ^ stems.keys()):
            have, want = (images, place) if stem in images else (stems, folder)
            note("without counterpart", f"{have[stem]}: nothing of this name in {want}")
        alone.update(images.keys() - stems.keys())

    open_label, bands = label_opener(spec, labels, images, spatial_dims, check)

    def functions(name):
        label = None if name in alone else lambda image: open_label(name, image)
        return lambda: open_source(images[name], spatial_dims=spatial_dims), label

    return list(images.values()), {name: functions(name) for name in sorted(images)}, bands


def look(pair, open_image, open_label, note):
    """Reads an image and its label, and notes what is wrong with either."""
    try:
        image = open_image()
        read_image(pair, image)
    except (OSError, ValueError) as error:
        note("unreadable", str(error))
        return pair
    pair.image = image
    if pair.low == pair.high:
        note("blank images", f"{image.name}: {pair.low:g} everywhere")
    if open_label is None:
        return pair
    try:
        label = open_label(image)
        if label.shape != image.shape:
            swapped = ", rows and columns swapped" if label.shape == image.shape[::-1] else ""
            note("sizes that differ", f"{image.name}: {image.shape}, its label {label.shape}{swapped}")
            return pair
        read_label(pair, label)
    except (OSError, ValueError) as error:
        note("unreadable", str(error))
        return pair
    pair.label = label
    return pair


def read_image(pair, image):
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    lows, highs = [], []
    for window in measured_windows(image.shape, MEASURED_PIXELS):
        pixels = image.read(window)
        digest.update(np.ascontiguousarray(pixels))
        lows.append(pixels.min())
        highs.append(pixels.max())
    pair.digest, pair.low, pair.high = digest.hexdigest(), float(min(lows)), float(max(highs))


def read_label(pair, label):
    whole = prod(label.shape) <= SHOWN_PIXELS
    pair.window = Window((0,) * len(label.shape), label.shape) if whole else None
    values, most, equal = [Counter() for _ in range(label.channels)], -1, True
    for window in measured_windows(label.shape, MEASURED_PIXELS):
        array = label_values(label, window, range(label.channels))
        equal = equal and bands_are_equal(array)
        for band, counter in enumerate(values):
            found, counts = np.unique(array[..., band], return_counts=True)
            counter.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        if not whole and (some := np.count_nonzero(array)) > most:
            pair.window, most = window, some
    pair.values = values[:1] if equal and not isinstance(label, StackedSource) else values


def found_scheme(spec, pairs, bands, note):
    """Returns the `LabelScheme` that most labels obey, None where there is none; notes the labels that do not."""
    if not pairs:
        return None
    ignore = tuple(sorted(spec.ignore))
    every = sorted(set().union(*(values for pair in pairs for values in pair.values)) - set(ignore))
    task, classes = spec.task, spec.classes
    try:
        if bands is not None and (len(bands) > 1 or task == "multilabel"):
            scheme = band_scheme(len(bands), bands, ignore)
        elif bands is None and (several := [pair for pair in pairs if len(pair.values) > 1]):
            if task in ("binary", "multiclass"):
                raise one_band_expected(several[0].label)
            scheme = band_scheme(several[0].label.channels, classes, ignore)
        else:
            scheme = value_scheme(task, bands or classes, ignore, usual_values(pairs, every, ignore))
    except ValueError as error:
        note("unclear labels", str(error))
        return None
    for pair in pairs:
        if scheme.bands is not None and len(pair.values) <= max(scheme.bands):
            pair.values = pair.values * pair.label.channels
        if scheme.bands is not None and len(pair.values) <= max(scheme.bands):
            note("undeclared values", f"{pair.label.name}: {len(pair.values)} bands, expected {len(scheme.bands)}")
            pair.values = pair.values + [Counter()] * (max(scheme.bands) + 1 - len(pair.values))
        elif others := sorted(set().union(*pair.values) - set(scheme.declared)):
            note("undeclared values", str(undeclared(pair.label.name, scheme.declared, others)))
    return scheme


def usual_values(pairs, every, ignore):
    """Returns all label values, or 0 and 255 (or 1) where most labels have no others: then the rest are mistakes."""
    for high in (1, 255):
        usual = sum(set(pair.values[0]) - set(ignore) <= {0, high} for pair in pairs)
        if high in every and usual > 0.9 * len(pairs):
            return [0, high]
    return every


def compare_pairs(pairs, note):
    """Notes images that are alike, and those whose channels or type are not those of the others."""
    alike = {}
    for pair in pairs:
        if pair.image is not None:
            alike.setdefault(pair.digest, []).append(pair)
    for group in alike.values():
        if len(group) > 1 and group[0].low < group[0].high:
            note("duplicate images", " = ".join(pair.name for pair in group))
    kinds = Counter(pair.image.channels for pair in pairs if pair.image is not None)
    for pair in pairs:
        if pair.image is not None and pair.image.channels != (usual := kinds.most_common(1)[0][0]):
            note("channels that differ", f"{pair.image.name}: {pair.image.channels}, most have {usual}")


def value_rows(pairs):
    """Returns each label value with its share of the pixels and the number of labels that have it."""
    totals, files = Counter(), Counter()
    for pair in pairs:
        merged = sum(pair.values, Counter())
        totals.update(merged)
        files.update(merged.keys())
    pixels = max(sum(totals.values()), 1)
    return [{"value": value, "share": totals[value] / pixels, "files": files[value]} for value in sorted(totals)]


def class_rows(pairs, scheme, note):
    """Returns each class with its share of the pixels that count and the number of images that show it."""
    counts = np.array([pair.foreground(scheme) for pair in pairs], dtype=np.int64)
    sizes = [sum(pair.values[0].values()) - sum(pair.values[0][v] for v in scheme.ignore) for pair in pairs]
    for pair, count, size in zip(pairs, counts, sizes, strict=True):
        foreground = count[1:] if scheme.task == "multiclass" else count
        if not size:
            note("nothing counts", f"{pair.name}: every pixel is ignored")
        elif not foreground.any() and set().union(*pair.values) <= set(scheme.declared):
            note("empty labels", pair.name)
        elif scheme.task == "binary" and count[0] == size:
            note("full labels", pair.name)
    shares = counts.sum(axis=0) / max(sum(sizes), 1)
    shown = (counts > 0).sum(axis=0)
    return [
        {"name": name, "share": float(share), "images": int(number)}
        for name, share, number in zip(scheme.class_names, shares, shown, strict=True)
    ]


def counted(things):
    """Returns how often each thing occurs, the most frequent first."""
    return dict(Counter(things).most_common())
