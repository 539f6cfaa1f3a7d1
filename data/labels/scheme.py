"""What the values of label images mean, and windows of labels as the losses take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from maskzoo.errors import DataError, LabelError

from ..images.missing_pixels import held_pixels, lacks_pixels
from ..images.source import Source
from ..windows import Window
from .values import label_values, undeclared

TASKS = ("binary", "multilabel", "multiclass")
# Labels of pixels that do not count, and of those whose value no class has.
IGNORED = 255
UNKNOWN = 254
# Class ids are bytes, the last of which is taken.
MOST_CLASSES = IGNORED
# Class names alone, or each with its label value or values.
Classes = Mapping[str, int | Sequence[int]] | Sequence[str]
# Label values, each with the red, green and blue that it has in the palette of its files.
Palette = tuple[tuple[int, int, int, int], ...]


@dataclass(frozen=True)
class LabelScheme:
    """What the values of label images mean.

    Args:
        task: `binary`, `multilabel` or `multiclass`.
        class_names: One name per output channel of a model.
        values: Label values of each class: for `binary` those of the background, then those of the class; for
            `multiclass` those of each class id; for `multilabel` those of each class, which may overlap, or, if there
            are `bands`, those of absence, then those of presence.
        ignore: Label values of pixels that do not count.
        bands: For `multilabel` in several bands, the band of each class, counted from 0.
        palette: Of labels with a palette: each label value with the red, green and blue that it has there.

    Raises:
        DataError: If a multiclass task has more classes than class ids.
    """

    task: str
    class_names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    ignore: tuple[int, ...] = ()
    bands: tuple[int, ...] | None = None
    palette: Palette = ()

    def __post_init__(self) -> None:
        if self.task == "multiclass" and self.num_classes > MOST_CLASSES:
            raise DataError("classes", f"at most {MOST_CLASSES} classes, as class ids are bytes", self.num_classes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelScheme:  # JSON values
        """Reads back what `as_dict` returned."""
        return cls(
            task=values["task"],
            class_names=tuple(values["class_names"]),
            values=tuple(tuple(group) for group in values["values"]),
            ignore=tuple(values.get("ignore", ())),
            bands=None if values.get("bands") is None else tuple(values["bands"]),
            palette=tuple((value, red, green, blue) for value, red, green, blue in values.get("palette", ())),
        )

    def as_dict(self) -> dict[str, Any]:  # JSON values
        """Returns the scheme as values that JSON can hold."""
        return asdict(self)

    @property
    def num_classes(self) -> int:
        """Number of output channels of a model."""
        return len(self.class_names)

    @property
    def declared(self) -> list[int]:
        """The label values that may occur; in a multilabel image 0 is none of the classes."""
        listed = {value for values in self.values for value in values}
        return sorted({*listed, *self.ignore, *((0,) if self.task == "multilabel" else ())})

    @property
    def ignore_index(self) -> int | None:
        """The label of pixels that do not count; `None` if all do."""
        return IGNORED if self.ignore else None

    def masks(self, labels: np.ndarray) -> np.ndarray:
        """Returns where each class is, boolean `(*size, classes)`, in labels that a reader of this scheme returned."""
        if self.task == "multiclass":
            return labels[..., None] == np.arange(self.num_classes, dtype=np.uint8)
        return labels == 1

    def reader(self, source: Source, image: Source | None = None) -> LabelReader:
        """Returns the reader of a label source: a function from a window to labels.

        The labels are `uint8`: `(*size, 1)` for a binary task, `(*size, classes)` for a multilabel one and class ids
        `(*size,)` for a multiclass one; 255 where a pixel does not count.

        Args:
            source: The label image.
            image: Its image, of the same size: what it lacks does not count, whatever the label says there.

        Raises:
            LabelError: If the source has too few bands.
        """
        if self.bands is not None and max(self.bands) >= source.channels:
            raise LabelError(
                source.name, f"a label with at least {max(self.bands) + 1} bands, one per class", source.channels
            )
        return LabelReader(source, self, image)


class LabelReader:
    """Reads windows of labels: see `LabelScheme.reader`.

    Attributes:
        source: The label image.
        scheme: What its values mean.
        image: Its image, if that may lack pixels; else `None`.
    """

    def __init__(self, source: Source, scheme: LabelScheme, image: Source | None = None) -> None:
        self.source, self.scheme = source, scheme
        self.image = image if image is not None and lacks_pixels(image) else None
        self._bands = scheme.bands
        self._declared = scheme.declared
        self._first = self._declared[0] - 1
        width = self._declared[-1] + 1 - self._first + 1
        single = scheme.task == "multiclass" or scheme.bands is not None
        columns = 1 if single or scheme.task == "binary" else len(scheme.values)
        # One row per label value, one more on each side for what was not declared.
        self._meaning = np.zeros((width, columns), np.uint8)
        self._known = np.zeros(width, bool)
        self._known[self._rows(self._declared)] = True
        for number, values in enumerate(scheme.values):
            if columns == 1:
                self._meaning[self._rows(values)] = number
            else:
                self._meaning[self._rows(values), number] = 1
        self._meaning[self._rows(scheme.ignore)] = IGNORED
        if single:
            self._meaning = self._meaning[:, 0]
        # The meaning of every byte, if one number says it.
        self._byte_meaning: np.ndarray | None = None
        if columns == 1:
            rows = np.clip(np.arange(256) - self._first, 0, width - 1)
            self._byte_meaning = np.where(self._known[rows], self._meaning.reshape(-1)[rows], np.uint8(UNKNOWN))

    def _rows(self, values: Iterable[int]) -> np.ndarray:
        return np.array(list(values), int) - self._first

    def __call__(self, window: Window) -> np.ndarray:
        """Returns the labels of a window.

        Raises:
            LabelError: If a value belongs to no class, or bands differ where one is expected.
        """
        labels = self._labels(window)
        if self.image is None or (held := held_pixels(self.image, window)) is None:
            return labels
        return np.where(held.reshape(held.shape + (1,) * (labels.ndim - held.ndim)), labels, np.uint8(IGNORED))

    @property
    def ignore_index(self) -> int | None:
        """The label of pixels that do not count; `None` if all do."""
        return self.scheme.ignore_index if self.image is None else IGNORED

    def _labels(self, window: Window) -> np.ndarray:
        """Returns what the label image says of a window."""
        array = label_values(self.source, window, self._bands)
        if array.dtype == np.uint8 and self._byte_meaning is not None:
            import cv2

            # Twice as fast as numpy's take.
            labels = cv2.LUT(np.ascontiguousarray(array).reshape(-1, array.shape[-1]), self._byte_meaning)
            if not (labels == UNKNOWN).any():
                return labels.reshape((*array.shape, *self._meaning.shape[1:]))
        rows = np.clip(array.astype(np.int64) - self._first, 0, len(self._known) - 1)
        known = self._known[rows]
        if not known.all():
            raise undeclared(self.source.name, self._declared, np.unique(array[~known]))
        return self._meaning[rows]
