"""Values of label images: read as integers, from one file or from one file per class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from maskzoo.errors import LabelError

from ..images.cropped_source import CroppedSource
from ..images.pyramid import ResampledSource
from ..images.resized_source import ResizedSource
from ..images.source import Source
from ..images.turning import TurnedSource
from ..windows import Window

SHOWN_VALUES = 8
# How far from a whole number a value may be that was computed, in units of it and of the step of scaled values.
ROUNDING, LARGEST_STEP = 1e-4, 0.5
# The value of a class whose file is missing for an image.
UNKNOWN_CLASS = -1


class StackedSource(Source):
    """Reads several label images, one per class, as the bands of one.

    Args:
        sources: The label images; `None` of a class whose file is missing.
        missing: The value of every pixel of such a class.

    Attributes:
        unknown: Numbers of the bands whose file is missing and whose value is therefore not known.

    Raises:
        LabelError: If they differ in size.
    """

    def __init__(self, sources: Sequence[Source | None], missing: int = UNKNOWN_CLASS) -> None:
        self.sources = [source for source in sources if source is not None]
        first = self.sources[0]
        self.path, self.name, self.shape = first.path, first.name, first.shape
        self.dtype = np.result_type(*(source.dtype for source in self.sources))
        self.channels = len(sources)
        self.frame = first.frame
        self.notes = tuple(dict.fromkeys(note for source in self.sources for note in source.notes))
        self._bands, self._missing = list(sources), missing
        absent = tuple(number for number, source in enumerate(sources) if source is None)
        self.unknown = absent if missing == UNKNOWN_CLASS else ()
        if self.unknown:
            self.dtype = np.result_type(self.dtype, np.int8)
        for source in self.sources:
            if source.shape != self.shape:
                raise LabelError(source.name, f"the size of {self.name}, {by(self.shape)}", by(source.shape))

    @property
    def files(self) -> list[Path]:
        """The files that the values come from."""
        return [file for source in self.sources for file in source.files]

    def read(self, window: Window) -> np.ndarray:
        """Returns the label of a window as an array `(*size, bands)`."""
        empty = np.full(window.size, self._missing, np.int8)
        bands = [empty if source is None else label_values(source, window) for source in self._bands]
        return np.stack(bands, axis=-1)


def label_values(source: Source, window: Window, bands: Iterable[int] | None = None) -> np.ndarray:
    """Reads the values of a label image as integers.

    Args:
        source: The label image.
        window: The part that is read.
        bands: Bands to read; `None` for the only one there should be.

    Returns:
        Integer array `(*size, bands)`, or `(*size,)` without `bands`.

    Raises:
        LabelError: If values are not whole numbers, or several bands differ where one is meant.
    """
    array = source.read(window)
    if array.dtype.kind == "f":
        whole = np.rint(array)
        if (wrong := np.abs(whole - array) > rounding(source)).any():
            raise undeclared(source.name, "that are whole numbers", np.unique(array[wrong]))
        array = whole.astype(np.int64)
    if bands is not None:
        return array[..., list(bands)]
    if not bands_are_equal(array):
        raise one_band_expected(source)
    return array[..., 0]


def rounding(source: Source) -> float:
    """Returns how far the values of a label may be from whole numbers: half a step of values that are stored scaled."""
    return max(ROUNDING, min(unresampled(source).value_step, LARGEST_STEP) * 0.5001)


def is_rounded(source: Source) -> bool:
    """Says whether a label holds values, in a window at its middle, that are whole numbers only after rounding."""
    if source.dtype.kind != "f":
        return False
    size = tuple(min(length, 256) for length in source.shape)
    array = source.read(Window(tuple((n - k) // 2 for n, k in zip(source.shape, size, strict=True)), size))
    return bool((np.rint(array) != array).any())


def bands_are_equal(array: np.ndarray) -> bool:
    """Says whether a label image `(*size, bands)` has one band, or grey colours, as some programs save masks."""
    return array.shape[-1] == 1 or bool((array == array[..., :1]).all())


def one_band_expected(source: Source) -> LabelError:
    """Returns the error for a label image in colours if its values are to be read."""
    return LabelError(source.name, "one band of label values, or equal bands", f"{source.channels} that differ")


def undeclared(name: str, declared: Sequence[int] | str, received: Sequence[float] | np.ndarray) -> LabelError:
    """Returns the error for label values that no class has.

    Args:
        name: Name of the label.
        declared: The label values that may occur, or what they should be.
        received: Those that no class has.
    """
    expected = declared if isinstance(declared, str) else ", ".join(map(str, declared))
    return LabelError(name, f"label values {expected}", listed(received))


def listed(values: Sequence[float] | np.ndarray) -> str:
    """Returns label values in words: the first eight."""
    more = ["..."] if len(values) > SHOWN_VALUES else []
    return ", ".join([*(f"{value:.12g}" for value in values[:SHOWN_VALUES]), *more])


def by(shape: Sequence[int]) -> str:
    """Returns a size in words, such as `512 x 256`."""
    return " x ".join(map(str, shape))


def unresampled(source: Source) -> Source:
    """Returns the source that one which is resampled, resized, turned or cropped reads, or the source itself."""
    while isinstance(source, ResampledSource | ResizedSource | TurnedSource | CroppedSource):
        source = source.source
    return source
