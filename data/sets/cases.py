"""Labelled images as training and evaluation see them: normalised windows, and labels of known meaning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..images.source import Source
from ..labels.instances import InstanceSource
from ..labels.scheme import LabelReader, LabelScheme
from ..labels.values import StackedSource, unresampled
from ..windows import Window
from .normalization import NormalizedSource, Normalizer
from .pairs import Pair


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Attributes:
        name: Name within the data set.
        path: File of the image, `None` if it was made on the fly.
        image: The image.
        read_image: Function from a `Window` to normalised float32 values `(*size, channels)`.
        read_label: Function from a `Window` to `uint8` labels: see `LabelScheme.reader`.
        read_instances: Function from a `Window` to the number of the object that each pixel belongs to, `uint16` or
            `uint32` `(*size,)`, 0 outside; `None` if the labels do not tell objects apart.
        weight: How often the case is seen in training, relative to the others.
        ignore_index: Label of pixels that do not count, `None` if all do.
        unknown: Numbers of the classes of which the label says nothing, because their file is missing.
    """

    name: str
    path: Path | None
    image: Source
    read_image: NormalizedSource
    read_label: LabelReader
    read_instances: Callable[[Window], np.ndarray] | None = None
    weight: float = 1.0
    ignore_index: int | None = None
    unknown: tuple[int, ...] = ()


def make_cases(pairs: Sequence[Pair], scheme: LabelScheme, normalizer: Normalizer) -> list[Case]:
    """Makes cases of opened pairs of image and label, of what label values mean, and of the normalisation."""
    return [make_case(pair, scheme, normalizer) for pair in pairs]


def make_case(pair: Pair, scheme: LabelScheme, normalizer: Normalizer) -> Case:
    """Makes the case of one pair; pixels that its image lacks do not count."""
    read_label = scheme.reader(pair.label, pair.image)
    return Case(
        pair.name,
        pair.image.path,
        pair.image,
        normalizer(pair.image),
        read_label,
        pair.label.read_instances if isinstance(pair.label, InstanceSource) else None,
        ignore_index=read_label.ignore_index,
        unknown=unknown_classes(pair.label, scheme),
    )


def unknown_classes(label: Source, scheme: LabelScheme) -> tuple[int, ...]:
    """Returns the numbers of the classes whose file is missing from a label of several."""
    label = unresampled(label)
    absent = label.unknown if isinstance(label, StackedSource) else ()
    bands = scheme.bands or (0,)
    return tuple(number for number, band in enumerate(bands) if band in absent)
