"""Working out what label values mean, from what is declared and from the label images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from maskzoo.errors import LabelError, OptionError
from maskzoo.names import one_of

from ..images.source import Source
from ..images.statistics import measured_windows
from .polygons import PolygonSource
from .run_source import RunSource
from .scheme import TASKS, Classes, LabelScheme
from .values import bands_are_equal, label_values, listed, one_band_expected, undeclared, unresampled

# Class ids above that are taken for something else: grey levels, or numbers of objects.
MOST_CLASSES = 64
MOST_DECLARED_CLASSES = 3 * MOST_CLASSES
MOST_VALUES = 1 << 12
WIDEST_RANGE = 1 << 20
MEASURED_PIXELS = 1 << 28


def find_scheme(
    sources: Sequence[Source],
    *,
    task: str | None = None,
    classes: Classes | None = None,
    ignore: Sequence[int] = (),
) -> LabelScheme:
    """Works out what the values of label images mean, and checks all of the images against it.

    Args:
        sources: Label sources of a data set.
        task: `binary`, `multilabel` or `multiclass`; `None`: binary for labels within {0, 1} or {0, 255}, multilabel
            for several bands that differ, else multiclass.
        classes: Names in the order of label values 0, 1, ..., or a name alone for a binary task; or a mapping from name
            to label value or values, or to the band, counted from 1, of labels in several bands.
        ignore: Label values of pixels that do not count.

    Returns:
        The scheme. Every label was checked against it, large ones on windows spread over them.

    Raises:
        OptionError: If the declaration contradicts itself.
        LabelError: If a label contradicts it.
    """
    if task is not None and task not in TASKS:
        raise OptionError("task", one_of(task, TASKS), task)
    found, several = scan(sources)
    if several is not None and task in ("binary", "multiclass"):
        raise one_band_expected(several)
    ignore = tuple(sorted(ignore))
    where = {value: name for name, values in found.items() for value in values if value not in ignore}
    if several is not None:
        scheme = band_scheme(sources[0].channels, classes, ignore)
    else:
        scheme = value_scheme(task, classes, ignore, sorted(where), where)
    if scheme.declared[-1] - scheme.declared[0] > WIDEST_RANGE:
        raise OptionError(
            "classes",
            "label values within a million of each other",
            f"{scheme.declared[0]} and {scheme.declared[-1]}",
        )
    for name, values in found.items():
        if others := sorted(values - set(scheme.declared)):
            raise undeclared(name, scheme.declared, others)
    return scheme


def scan(sources: Sequence[Source]) -> tuple[dict[str, set[int]], Source | None]:
    """Returns the label values of each label image, by name, and an image whose bands differ, if there is one."""
    found: dict[str, set[int]] = {}
    several = None
    for source in sources:
        if isinstance(unresampled(source), RunSource | PolygonSource):
            found[source.name] = {0, 1}
            continue
        values: set[int] = set()
        for window in measured_windows(source.shape, max(MEASURED_PIXELS // len(sources), 1 << 18)):
            array = label_values(source, window, range(source.channels))
            several = source if several is None and not bands_are_equal(array) else several
            values |= set(np.unique(array).tolist())
            if len(values) > MOST_VALUES:
                break
        found[source.name] = values
    return found, several


def band_scheme(channels: int, classes: Classes | None, ignore: tuple[int, ...]) -> LabelScheme:
    """Returns the scheme of labels that have a band of their own for each class.

    Args:
        channels: Number of bands.
        classes: Names in the order of the bands, or a mapping from name to band, counted from 1.
        ignore: Label values of pixels that do not count.

    Raises:
        OptionError: If a class has no band.
    """
    bands: dict[str, object] = {str(number): number for number in range(1, channels + 1)}
    if isinstance(classes, Mapping):
        bands = dict(classes)
    elif classes is not None:
        bands = {name: number for number, name in enumerate(classes, 1)}
    numbers = [band for band in bands.values() if isinstance(band, int) and 1 <= band <= channels]
    if len(numbers) < len(bands):
        raise OptionError("classes", f"bands between 1 and {channels}, one per name", described(bands))
    present = tuple(value for value in (1, 255) if value not in ignore)
    return LabelScheme("multilabel", tuple(bands), ((0,), present), ignore, tuple(band - 1 for band in numbers))


def value_scheme(
    task: str | None,
    classes: Classes | None,
    ignore: tuple[int, ...],
    found: Sequence[int],
    where: Mapping[int, str] | None = None,
) -> LabelScheme:
    """Returns the scheme of labels whose values say the class.

    Args:
        task: See `find_scheme`.
        classes: See `find_scheme`.
        ignore: See `find_scheme`.
        found: The label values that occur and are not ignored.
        where: For each of those the name of a label that has it, for messages.

    Raises:
        OptionError: If the declaration contradicts itself.
        LabelError: If the values that occur contradict it.
    """
    where = where or {}
    names: Sequence[str] = []
    if isinstance(classes, Mapping):
        named = {name: tuple(value) if isinstance(value, Sequence) else (value,) for name, value in classes.items()}
        return declared_scheme(task, named, ignore)
    if classes is not None:
        if len(classes) > 2 or task == "multiclass":
            return declared_scheme(task, {name: (number,) for number, name in enumerate(classes)}, ignore)
        names = classes
        task = task if task == "multilabel" else "binary"
    if task == "multilabel":
        raise OptionError("classes", "a mapping from name to label values, for labels in one band", "none")
    if task != "multiclass" and (set(found) <= {0, 1} or set(found) <= {0, 255}):
        if not set(found) - {0}:
            only = "only the value 0" if found else "only values that are ignored"
            raise LabelError("labels", "a class besides the background", only)
        present = tuple(value for value in (1, 255) if value not in ignore)
        return LabelScheme("binary", (names[-1] if names else "foreground",), ((0,), present), ignore)
    if task == "binary":
        other = next(value for value in found if value not in (0, 1))
        raise LabelError(
            where.get(other, "labels"), "values within 0, 1 or 0, 255, or `classes` that names the value", listed(found)
        )
    if wrong := [value for value in found if not 0 <= value < MOST_CLASSES]:
        raise LabelError(
            where.get(wrong[0], "labels"),
            f"class ids from 0 to {MOST_CLASSES - 1}, or `classes` with the value of each",
            f"values such as {listed(wrong[:3])}",
        )
    number = max(max(found, default=0) + 1, 2)
    return LabelScheme("multiclass", tuple(map(str, range(number))), tuple((i,) for i in range(number)), ignore)


def declared_scheme(task: str | None, named: Mapping[str, Sequence[int]], ignore: tuple[int, ...]) -> LabelScheme:
    """Returns the scheme of classes that are declared with their values.

    Args:
        task: `binary`, `multilabel` or `multiclass`; `None`: what the declaration can only mean.
        named: Label values of each class, by name.
        ignore: Label values of pixels that do not count.

    Raises:
        OptionError: If the declaration contradicts itself.
    """
    values = [value for group in named.values() for value in group]
    if not values or any(not isinstance(value, int) for value in values):
        raise OptionError("classes", "whole numbers as the label values of each class", described(named))
    overlapping = len(set(values)) < len(values)
    task = task or ("multilabel" if overlapping else "binary" if len(named) == 1 else "multiclass")
    if set(values) & set(ignore) or (overlapping and task != "multilabel"):
        raise OptionError("classes", "every label value once, and none that is ignored", described(named))
    names, groups = list(named), [tuple(group) for group in named.values()]
    if task == "multilabel":
        return LabelScheme(task, tuple(names), tuple(groups), ignore)
    if task == "binary":
        if len(names) > 2:
            raise OptionError("classes", "a class, or background and class, for a binary task", ", ".join(names))
        taken = {*ignore, *groups[-1]}
        background = groups[0] if len(groups) == 2 else tuple(value for value in (0, 1, 255) if value not in taken)
        return LabelScheme(task, (names[-1],), (background, groups[-1]), ignore)
    if 0 not in values and 0 not in ignore:
        names, groups = ["background", *names], [(0,), *groups]
    if len(names) > MOST_DECLARED_CLASSES:
        raise OptionError("classes", f"at most {MOST_DECLARED_CLASSES}", len(names))
    return LabelScheme(task, tuple(names), tuple(groups), ignore)


def described(classes: Mapping[str, object]) -> str:
    """Returns declared classes in words, such as `kidney: 1, tumour: 2`."""
    return ", ".join(f"{name}: {value}" for name, value in classes.items()) or "none"
