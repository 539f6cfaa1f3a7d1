"""Labels: what the values of a label image mean, and windows of them as the losses take them."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import numpy as np

from maskzoo.errors import OptionError
from maskzoo.names import one_of

from ..images.image_files import file_version
from ..images.pyramid import ResampledSource
from ..images.source import Frame, Source
from ..images.statistics import measured_windows
from ..windows import Window
from .polygons import PolygonSource
from .run_lengths import RunSource

TASKS = ("binary", "multilabel", "multiclass")
IGNORED = 255
UNKNOWN = 254
MOST_CLASSES = 64


@dataclass(frozen=True)
class LabelScheme:
    """What the values of label images mean.

    Args:
        task: `binary`, `multilabel` or `multiclass`.
        class_names: One name per output channel of a model.
        values: Label values of each class: for `binary` those of the background, then those of the class; for
            `multiclass` those of each class id; for `multilabel` those of each class, which may overlap, or, when
            there are `bands`, those of absence, then those of presence.
        ignore: Label values of pixels that do not count.
        bands: For `multilabel` in several bands, the band of each class, the first is 0.
    """

    task: str
    class_names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    ignore: tuple[int, ...] = ()
    bands: tuple[int, ...] | None = None

    @classmethod
    def from_dict(cls, values):
        """Reads back what `as_dict` returned."""
        tuples = {name: _tuples(value) for name, value in values.items()}
        return cls(**tuples)

    def as_dict(self):
        """Returns the scheme as values that JSON can hold."""
        return asdict(self)

    @property
    def num_classes(self):
        """The number of output channels of a model."""
        return len(self.class_names)

    @property
    def declared(self):
        """The label values that may occur; in a multilabel image 0 is none of the classes."""
        listed = {value for values in self.values for value in values}
        return sorted({*listed, *self.ignore, *((0,) if self.task == "multilabel" else ())})

    @property
    def ignore_index(self):
        """The value that marks pixels which do not count, or None where there are none."""
        return IGNORED if self.ignore else None

    def masks(self, labels):
        """Returns where each class is, boolean `(*size, classes)`, in labels that a reader of this scheme returned."""
        if self.task == "multiclass":
            return labels[..., None] == np.arange(self.num_classes, dtype=np.uint8)
        return labels == 1

    def reader(self, source):
        """Returns the reader of a label source: a function from a window to labels.

        The labels are `uint8`: `(*size, 1)` for a binary task, `(*size, classes)` for a multilabel one and class ids
        `(*size,)` for a multiclass one; 255 where a pixel does not count.

        Raises:
            ValueError: Where the source has too few bands, or its bands differ where one is expected.
        """
        if self.bands is not None and max(self.bands) >= source.channels:
            raise ValueError(
                f"{source.name}: expected a label with at least {max(self.bands) + 1} bands, one per class; "
                f"received {source.channels}"
            )
        return LabelReader(source, self)


class LabelReader:
    """Reads windows of labels: see `LabelScheme.reader`."""

    def __init__(self, source, scheme):
        self.scheme = scheme
        self._source = source
        self._bands = scheme.bands
        self._declared = scheme.declared
        self._first = self._declared[0] - 1
        width = self._declared[-1] + 1 - self._first + 1
        single = scheme.task == "multiclass" or scheme.bands is not None
        columns = 1 if single or scheme.task == "binary" else len(scheme.values)
        # One row per label value, one more on each side for what was not declared.
        self._meaning = np.zeros((width, columns), np.uint8)
        self._known = np.zeros(width, bool)
        self._known[np.array(self._declared) - self._first] = True
        for number, values in enumerate(scheme.values):
            rows = np.array(values, int) - self._first
            if columns == 1:
                self._meaning[rows] = number
            else:
                self._meaning[rows, number] = 1
        self._meaning[np.array(scheme.ignore, int) - self._first] = IGNORED
        if single:
            self._meaning = self._meaning[:, 0]
        # The meaning of every byte, where one number tells it.
        self._byte_meaning = None
        if columns == 1:
            rows = np.clip(np.arange(256) - self._first, 0, width - 1)
            self._byte_meaning = np.where(self._known[rows], self._meaning.reshape(-1)[rows], np.uint8(UNKNOWN))

    def version(self):
        """Returns text that differs when the labels do, or their size."""
        return f"{self._source.shape} {source_version(self._source)}"

    def __call__(self, window):
        array = label_values(self._source, window, self._bands)
        if array.dtype == np.uint8 and self._byte_meaning is not None:
            import cv2

            # Twice as fast as numpy's take.
            labels = cv2.LUT(np.ascontiguousarray(array).reshape(-1, array.shape[-1]), self._byte_meaning)
            if not (labels == UNKNOWN).any():
                return labels.reshape((*array.shape, *self._meaning.shape[1:]))
        rows = np.clip(array.astype(np.int64) - self._first, 0, len(self._known) - 1)
        known = self._known[rows]
        if not known.all():
            raise ValueError(undeclared(self._source.name, self._declared, np.unique(array[~known])))
        return self._meaning[rows]


class StackedSource(Source):
    """Reads several label images, one per class, as the bands of one."""

    def __init__(self, sources):
        self.sources = sources
        self.path, self.name, self.shape = sources[0].path, sources[0].name, sources[0].shape
        self.dtype = np.result_type(*(source.dtype for source in sources))
        self.channels = len(sources)
        self.frame = Frame(self.shape)
        for source in sources:
            if source.shape != self.shape:
                raise ValueError(
                    f"{source.name}: expected the size of {self.name}, {self.shape}; received {source.shape}"
                )

    def read(self, window):
        """Returns the label of a `Window` as an array `(*size, bands)`."""
        return np.stack([label_values(source, window) for source in self.sources], axis=-1)


def source_version(source):
    """Returns text that differs when the content of a label source does: its file's state, or a hash of its values."""
    if isinstance(source, ResampledSource):
        return source_version(source.source)
    if sources := getattr(source, "sources", None):
        return " ".join(source_version(part) for part in sources)
    if source.path is not None:
        return str(file_version(source.path))
    if isinstance(source, RunSource):
        return hashlib.sha256(b"".join(runs.tobytes() for runs in source.runs)).hexdigest()
    return hashlib.sha256(source.read(Window((0,) * len(source.shape), source.shape)).tobytes()).hexdigest()


def label_values(source, window, bands=None):
    """Reads the values of a label image as integers: one band `(*size,)`, or chosen ones `(*size, bands)`.

    Raises:
        ValueError: Where values are not whole numbers, or several bands differ where one is meant.
    """
    array = source.read(window)
    if array.dtype.kind == "f":
        whole = np.rint(array)
        if (whole != array).any():
            raise ValueError(undeclared(source.name, "that are whole numbers", np.unique(array[whole != array])))
        array = whole.astype(np.int64)
    if bands is not None:
        return array[..., list(bands)]
    if not bands_are_equal(array):
        raise ValueError(one_band_expected(source))
    return array[..., 0]


def one_band_expected(source):
    """Returns the message for a label image in colours where its values are to be read."""
    return f"{source.name}: expected one band of label values, or equal ones; received {source.channels} that differ"


def bands_are_equal(array):
    """Says whether a label image has one band only, or colours that are all grey, as some programs save masks."""
    return array.shape[-1] == 1 or bool((array[..., :3] == array[..., :1]).all())


def undeclared(name, declared, received):
    """Returns the message for label values that no class has."""
    some = ", ".join(f"{value:g}" for value in received[:8]) + (", ..." if len(received) > 8 else "")
    return f"{name}: expected label values {declared}; received {some}"


def find_scheme(sources, *, task=None, classes=None, ignore=()):
    """Works out what the values of label images mean, from what is declared and from the images.

    Args:
        sources: Label sources of a data set.
        task: `binary`, `multilabel` or `multiclass`; None: binary for labels within {0, 1} or {0, 255}, multilabel
            for several bands that differ, else multiclass.
        classes: Names in the order of label values 0, 1, ..., or a name alone for a binary task; or a mapping from name
            to label value or values, or to the band, counted from 1, of labels in several bands.
        ignore: Label values of pixels that do not count.

    Returns:
        A `LabelScheme` that every label was checked against, large ones on windows spread over them.

    Raises:
        ValueError: Where the declaration contradicts itself or a label.
    """
    if task is not None and task not in TASKS:
        raise OptionError("task", one_of(task, TASKS), task)
    found, several = scan(sources)
    if several is not None and task in ("binary", "multiclass"):
        raise ValueError(one_band_expected(several))
    ignore = tuple(sorted(ignore))
    every = sorted(set().union(*found.values()) - set(ignore))
    if several is not None:
        scheme = band_scheme(sources[0].channels, classes, ignore)
    else:
        scheme = value_scheme(task, classes, ignore, every)
    if scheme.declared[-1] - scheme.declared[0] > 1 << 20:
        raise ValueError(
            f"classes: expected label values within a million of each other; received {scheme.declared[0]} and "
            f"{scheme.declared[-1]}"
        )
    for name, values in found.items():
        if others := sorted(values - set(scheme.declared)):
            raise ValueError(undeclared(name, scheme.declared, others))
    return scheme


def scan(sources):
    """Returns the label values of each label image, by name, and an image whose bands differ, if there is one."""
    found, several = {}, None
    for source in sources:
        if isinstance(getattr(source, "source", source), RunSource | PolygonSource):
            found[source.name] = {0, 1}
            continue
        values = set()
        for window in measured_windows(source.shape, max((1 << 28) // len(sources), 1 << 18)):
            array = label_values(source, window, range(source.channels))
            several = source if several is None and not bands_are_equal(array) else several
            if len(values := values | set(np.unique(array).tolist())) > 1 << 12:
                break
        found[source.name] = values
    return found, several


def band_scheme(channels, classes, ignore):
    """Returns the scheme of labels that have a band of their own for each class."""
    bands = {str(number): number for number in range(1, channels + 1)}
    if isinstance(classes, dict):
        bands = classes
    elif classes is not None:
        bands = {name: number for number, name in enumerate(classes, 1)}
    if any(not isinstance(band, int) or not 1 <= band <= channels for band in bands.values()):
        raise ValueError(f"classes: expected bands between 1 and {channels}, one per name; received {classes}")
    present = tuple(value for value in (1, 255) if value not in ignore)
    return LabelScheme("multilabel", tuple(bands), ((0,), present), ignore, tuple(b - 1 for b in bands.values()))


def value_scheme(task, classes, ignore, found):
    """Returns the scheme of labels whose values say the class."""
    if isinstance(classes, list | tuple):
        if len(classes) > 2 or task == "multiclass":
            classes = {name: number for number, name in enumerate(classes)}
        elif task != "multilabel":
            task = "binary"
    if isinstance(classes, dict):
        named = {name: tuple(value) if isinstance(value, list | tuple) else (value,) for name, value in classes.items()}
        return declared_scheme(task, named, ignore)
    if task == "multilabel":
        raise ValueError("classes: expected a mapping from name to label values for labels in one band; received none")
    if task != "multiclass" and (set(found) <= {0, 1} or set(found) <= {0, 255}):
        if not set(found) - {0}:
            raise ValueError(f"labels: expected a class besides the background; received only the values {found}")
        name = classes[-1] if classes else "foreground"
        return LabelScheme("binary", (name,), ((0,), tuple(v for v in (1, 255) if v not in ignore)), ignore)
    if task == "binary":
        raise ValueError(
            f"labels: expected values within 0, 1 or 0, 255, or `classes` that names the value; received {found[:20]}"
        )
    if min(found, default=0) < 0 or max(found, default=0) >= MOST_CLASSES:
        raise ValueError(
            f"labels: expected class ids from 0 to {MOST_CLASSES - 1}, or `classes` with the value of each; received "
            f"values such as {found[:3] + found[-2:]}"
        )
    number = max(max(found, default=0) + 1, 2)
    return LabelScheme("multiclass", tuple(map(str, range(number))), tuple((i,) for i in range(number)), ignore)


def declared_scheme(task, named, ignore):
    """Returns the scheme of classes that are declared with their values."""
    values = [value for group in named.values() for value in group]
    if not values or any(not isinstance(value, int) for value in values):
        raise ValueError(f"classes: expected whole numbers as the label values of each class; received {named}")
    overlapping = len(set(values)) < len(values)
    task = task or ("multilabel" if overlapping else "binary" if len(named) == 1 else "multiclass")
    if set(values) & set(ignore) or (overlapping and task != "multilabel"):
        raise ValueError(f"classes: expected every label value once, and none to be ignored; received {named}")
    if task == "multilabel":
        return LabelScheme(task, tuple(named), tuple(named.values()), ignore)
    names, groups = list(named), list(named.values())
    if task == "binary":
        if len(names) > 2:
            raise ValueError(f"classes: expected a class, or background and class, for a binary task; received {names}")
        taken = {*ignore, *groups[-1]}
        background = groups[0] if len(groups) == 2 else tuple(v for v in (0, 1, 255) if v not in taken)
        return LabelScheme(task, (names[-1],), (background, groups[-1]), ignore)
    if 0 not in values and 0 not in ignore:
        names, groups = ["background", *names], [(0,), *groups]
    if len(names) > MOST_CLASSES * 3:
        raise ValueError(f"classes: expected at most {MOST_CLASSES * 3}; received {len(names)}")
    return LabelScheme(task, tuple(names), tuple(groups), ignore)


def _tuples(value):
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
