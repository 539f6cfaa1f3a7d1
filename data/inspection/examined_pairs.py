"""One image with its label, as far as they can be read, and what looks wrong with either."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import ImageError, LabelError, MisplacedLabel
from maskzoo.names import counted

from ..images.statistics import MEASURED_PIXELS, measured_windows
from ..labels.scheme import LabelScheme
from ..labels.values import StackedSource, bands_are_equal, label_values, unresampled
from ..windows import Window

if TYPE_CHECKING:
    from ..images.source import Source

SHOWN_PIXELS = 1 << 22
MISPLACED = "labels that lie elsewhere"

# Takes a kind of problem and one line about it.
Note = Callable[[str, str], None]
OpenImage = Callable[[], "Source"]
OpenLabel = Callable[["Source"], "Source"]


@dataclass
class ExaminedPair:
    """One image with its label, as far as they could be read.

    Attributes:
        name: Name within the data set.
        image: The image; `None` if it cannot be read.
        label: The label; `None` if it cannot be read or has another size.
        digest: Hash of the pixels that were read.
        low: Least value of the image.
        high: Greatest value of the image.
        values: Per band of the label, how many pixels have which value.
        window: What a picture shows: all of a small image, of a large one where the label has the most pixels other
            than 0.
    """

    name: str
    image: Source | None = None
    label: Source | None = None
    digest: str = ""
    low: float = 0.0
    high: float = 0.0
    values: list[Counter[int]] = field(default_factory=list)
    window: Window | None = None

    @property
    def readable_label(self) -> Source:
        """The label of a pair whose label could be read."""
        if self.label is None:
            raise LabelError(self.name, "a label that can be read", "none")
        return self.label

    def found_values(self) -> set[int]:
        """Returns all values of the label, in any band."""
        return {value for band in self.values for value in band}

    def foreground(self, scheme: LabelScheme) -> list[int]:
        """Returns how many pixels each class of a scheme has."""
        if scheme.bands is not None:
            present = scheme.values[1]
            return [sum(self.values[band][value] for value in present) for band in scheme.bands]
        groups = scheme.values[-1:] if scheme.task == "binary" else scheme.values
        return [sum(self.values[0][value] for value in group) for group in groups]

    def counting(self, scheme: LabelScheme) -> list[int]:
        """Returns how many pixels count for each class of a scheme."""
        bands = scheme.bands or [0] * scheme.num_classes
        return [sum(n for value, n in self.values[band].items() if value not in scheme.ignore) for band in bands]


def examine(name: str, open_image: OpenImage, open_label: OpenLabel | None, note: Note) -> ExaminedPair:
    """Reads an image and its label, and notes what is wrong with either; damaged files are noted, not raised.

    Args:
        name: Name within the data set.
        open_image: Opens the image.
        open_label: Opens the label of the opened image; `None` if there is none.
        note: Receives the problems.
    """
    pair = ExaminedPair(name)
    try:
        image = open_image()
        measure_image(pair, image)
    except (OSError, ValueError) as error:
        note(kind_of(error), str(error))
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
        count_values(pair, label)
    except (OSError, ValueError) as error:
        note(kind_of(error), str(error))
        return pair
    pair.label = label
    return pair


def kind_of(error: Exception) -> str:
    """Returns the kind of problem that an error tells of which an image or a label met."""
    if isinstance(error, MisplacedLabel):
        return MISPLACED
    if isinstance(error, LabelError):
        return "labels that cannot be used"
    return "images that cannot be used" if isinstance(error, ImageError) else "unreadable"


def measure_image(pair: ExaminedPair, image: Source) -> None:
    """Fills in hash and range of an image."""
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    lows, highs = [], []
    for window in measured_windows(image.shape, MEASURED_PIXELS):
        pixels, valid = image.read(window), image.valid(window)
        digest.update(np.ascontiguousarray(pixels).data)
        held = pixels if valid is None else pixels[valid]
        if held.size:
            lows.append(held.min())
            highs.append(held.max())
    pair.digest, pair.low, pair.high = digest.hexdigest(), float(min(lows, default=0)), float(max(highs, default=0))


def count_values(pair: ExaminedPair, label: Source) -> None:
    """Fills in the values of a label, one counter for bands that are equal, and the window to show."""
    whole = prod(label.shape) <= SHOWN_PIXELS
    pair.window = Window((0,) * len(label.shape), label.shape) if whole else None
    values: list[Counter[int]] = [Counter() for _ in range(label.channels)]
    most, equal = -1, True
    for window in measured_windows(label.shape, MEASURED_PIXELS):
        array = label_values(label, window, range(label.channels))
        equal = equal and bands_are_equal(array)
        for band, counter in enumerate(values):
            found, counts = np.unique(array[..., band], return_counts=True)
            counter.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        if not whole and (some := np.count_nonzero(array)) > most:
            pair.window, most = window, some
    # Files of one class each are bands with different meanings, even if they look the same.
    pair.values = values[:1] if equal and not isinstance(unresampled(label), StackedSource) else values


def compare_pairs(pairs: list[ExaminedPair], note: Note) -> None:
    """Notes images that are the same, and those whose channels are not those of most others."""
    same: dict[str, list[ExaminedPair]] = {}
    for pair in pairs:
        if pair.image is not None:
            same.setdefault(pair.digest, []).append(pair)
    for group in same.values():
        if len(group) > 1 and group[0].low < group[0].high:
            note("duplicate images", " = ".join(pair.name for pair in group))
    images = [pair.image for pair in pairs if pair.image is not None]
    kinds = Counter(image.channels for image in images)
    for image in images:
        if image.channels != (usual := kinds.most_common(1)[0][0]):
            channels = counted(image.channels, "channel")
            note("channels that differ", f"{image.name}: {channels}, most images have {usual}")
