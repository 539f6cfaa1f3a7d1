"""Working out what label values mean, from what is declared and from the label images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from maskzoo.errors import LabelError, OptionError
from maskzoo.names import one_of

from ..images.source import Source
from .category_names import named
from .colors import colors_expected, has_colors
from .facts import LabelFacts, scan
from .instances import MOST_CLASSES
from .scheme import TASKS, Classes, LabelScheme, Palette
from .values import (
    UNKNOWN_CLASS,
    is_rounded,
    listed,
    one_band_expected,
    undeclared,
    unresampled,
)

logger = logging.getLogger(__name__)

# What by old habits marks pixels that nobody labelled: the greatest value of a type, or a negative one.
UNLABELLED = (255, 65535, -1)
MOST_DECLARED_CLASSES = 3 * MOST_CLASSES
WIDEST_RANGE = 1 << 20


class Understanding(NamedTuple):
    """What label values mean, and what was found out on the way that the user should know, one line each."""

    scheme: LabelScheme
    remarks: list[str]


def find_scheme(
    sources: Sequence[Source],
    *,
    task: str | None = None,
    classes: Classes | None = None,
    ignore: Sequence[int] = (),
) -> LabelScheme:
    """Works out what the values of label images mean, and checks all of the images against it.

    What was recognised, not declared, is logged.

    Args:
        sources: Label sources of a data set.
        task: `binary`, `multilabel` or `multiclass`; `None`: binary for labels within {0, 1} or {0, 255}, multilabel
            for several bands that differ, else multiclass.
        classes: Names in the order of label values 0, 1, ..., or a name alone for a binary task; or a mapping from name
            to label value or values, or to the band, counted from 1, of labels in several bands.
        ignore: Label values of pixels that do not count. 255 beside other values, and what a file declares as nodata,
            are recognised.

    Returns:
        The scheme. Every label was checked against it, large ones on windows spread over them.

    Raises:
        OptionError: If the declaration contradicts itself.
        LabelError: If a label contradicts it.
    """
    if task is not None and task not in TASKS:
        raise OptionError("task", one_of(task, TASKS), task)
    facts = scan(sources)
    scheme, remarks = understand(facts, task=task, classes=classes, ignore=ignore)
    for remark in remarks:
        logger.warning("labels: %s", remark)
    for fact in facts:
        if others := sorted(fact.values - set(scheme.declared)):
            raise undeclared(fact.source.name, scheme.declared, others)
    return scheme


def understand(
    facts: Sequence[LabelFacts],
    *,
    task: str | None = None,
    classes: Classes | None = None,
    ignore: Sequence[int] = (),
    usual: Sequence[frozenset[int]] | None = None,
) -> Understanding:
    """Works out what label values mean: see `find_scheme`.

    Args:
        facts: What each label holds.
        task: See `find_scheme`.
        classes: See `find_scheme`.
        ignore: See `find_scheme`.
        usual: The values of each label that are no mistakes, if that is not all of them.
    """
    remarks = []
    ignore = tuple(sorted(ignore))
    if several := [fact for fact in facts if fact.several]:
        first = several[0].source
        colored = [fact.source for fact in several if has_colors(fact.source)]
        if task in ("binary", "multiclass"):
            raise colors_expected(colored[0]) if colored else one_band_expected(first)
        if colored and not are_bands(facts, task, classes):
            raise colors_expected(colored[0])
        scheme = band_scheme(max(fact.source.channels for fact in several), classes, ignore)
    else:
        nodata = declared_nodata(facts, classes, ignore)
        if nodata:
            said = [value for value in nodata if value != UNKNOWN_CLASS]
            remarks += [f"{listed(said)}, which files declare as nodata, does not count"] if said else []
            remarks += ["pixels that a file marks as missing do not count"] if UNKNOWN_CLASS in nodata else []
        found = [
            (fact.source.name, values) for fact, values in zip(facts, usual or [f.values for f in facts], strict=True)
        ]
        scheme, more = value_scheme(task, classes, ignore, found, nodata)
        remarks += more
    if scheme.declared[-1] - scheme.declared[0] > WIDEST_RANGE:
        raise OptionError(
            "classes",
            "label values within a million of each other",
            f"{scheme.declared[0]} and {scheme.declared[-1]}",
        )
    if any(is_rounded(fact.source) for fact in facts):
        remarks.append("values that are stored scaled or computed are rounded to whole numbers")
    if classes is None:
        scheme = named(scheme, facts)
    return Understanding(replace(scheme, palette=palette_of(facts)), remarks)


def palette_of(facts: Sequence[LabelFacts]) -> Palette:
    """Returns the label values that occur in files with a palette, each with its colour, which is one in all files."""
    colors: dict[int, tuple[int, int, int]] = {}
    for fact in facts:
        palette = fact.source.palette_colors
        if palette is None:
            continue
        for value in fact.values:
            if 0 <= value < len(palette):
                red, green, blue = palette[value].tolist()
                colors.setdefault(value, (red, green, blue))
    return tuple((value, *colors[value]) for value in sorted(colors))


def are_bands(facts: Sequence[LabelFacts], task: str | None, classes: Classes | None) -> bool:
    """Says whether labels in colours are meant as a band per class: it was declared, or they hold only 0 and 1."""
    if task == "multilabel":
        return True
    if classes is None:
        return all(fact.values <= {0, 1} for fact in facts)
    channels = max(fact.source.channels for fact in facts)
    if isinstance(classes, Mapping):
        return all(isinstance(band, int) and 1 <= band <= channels for band in classes.values())
    return len(classes) == channels


def declared_nodata(facts: Sequence[LabelFacts], classes: Classes | None, ignore: Sequence[int]) -> tuple[int, ...]:
    """Returns the values that files declare as nodata and that occur, unless they are 0 or mean something else."""
    meant = {0, *ignore}
    if isinstance(classes, Mapping):
        for value in classes.values():
            meant |= {value} if isinstance(value, int) else set(value)
    found = {
        int(nodata)
        for fact in facts
        if (nodata := unresampled(fact.source).nodata) is not None and nodata == nodata // 1 and nodata in fact.values
    }
    rest = set().union(*(fact.values for fact in facts)) - found
    # A mask whose only value besides 0 is said to be nodata would be empty.
    return tuple(sorted(found - meant)) if rest - {0} else ()


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
    found: Sequence[tuple[str, frozenset[int]]],
    nodata: tuple[int, ...] = (),
) -> Understanding:
    """Works out the scheme of labels whose values say the class.

    Args:
        task: See `find_scheme`.
        classes: See `find_scheme`.
        ignore: See `find_scheme`.
        found: Name and values of each label.
        nodata: Values that do not count because files declare them as nodata.

    Raises:
        OptionError: If the declaration contradicts itself.
        LabelError: If the values that occur contradict it.
    """
    declared = ignore
    ignore = tuple(sorted({*ignore, *nodata}))
    groups = named_values(task, classes)
    remarks: list[str] = []
    sets = [values - set(ignore) for _, values in found]
    every = sorted(set().union(*sets))
    meant = {value for group in groups.values() for value in group} if groups else set()
    marks = [] if declared else marks_of_unlabelled(every, sets, meant)
    for unlabelled in marks:
        ignore, every = tuple(sorted({*ignore, unlabelled})), [value for value in every if value != unlabelled]
        sets = [values - {unlabelled} for values in sets]
        said = f"{unlabelled} beside other values does not count"
        remarks.append(f"{said}; list it in `classes` or declare `ignore` otherwise")
    if groups is not None:
        return Understanding(declared_scheme(task, groups, ignore), remarks)
    if task == "multilabel":
        raise OptionError("classes", "a mapping from name to label values, for labels in one band", "none")
    names = list(classes or ())
    task = "binary" if names else task
    name = names[-1] if names else "foreground"
    if task != "multiclass" and all(values <= {0, 1} or values <= {0, 255} for values in sets):
        if not set(every) - {0}:
            only = "only the value 0" if every else "only values that are ignored"
            raise LabelError("labels", "a class besides the background", only)
        if {1, 255} <= set(every):
            remarks.append("some files have 0 and 1, others 0 and 255: both are background and class")
        present = tuple(value for value in (1, 255) if value not in ignore)
        return Understanding(LabelScheme("binary", (name,), ((0,), present), ignore), remarks)
    # Beside a grey, white may as well be the class.
    if task != "multiclass" and len(every) == 2 and every[0] == 0 and (every[1] < MOST_CLASSES or not marks):
        remarks.append(f"{every[1]} is the class and 0 the background")
        return Understanding(LabelScheme("binary", (name,), ((0,), (every[1],)), ignore), remarks)
    where = {value: label for label, values in found for value in values}
    if task == "binary":
        other = next(value for value in every if value not in (0, 1))
        expected = "values within 0, 1 or 0, 255, or `classes` that names the value"
        raise LabelError(where[other], expected, listed(every))
    if wrong := [value for value in every if not 0 <= value < MOST_CLASSES]:
        raise LabelError(
            where[wrong[0]],
            f"class ids from 0 to {MOST_CLASSES - 1}, or `classes` with the value of each, or `instances: true`",
            f"values such as {listed(wrong[:3])}",
        )
    # Where 0 does not count there is no background.
    first = () if 0 in ignore and len(every) > 1 else (0,)
    ids = sorted({*first, *(every if max(every, default=0) > 1 else (0, 1))})
    if ids != list(range(ids[0], ids[0] + len(ids))):
        remarks.append(f"the values {listed(ids)} are {len(ids)} classes; those between do not occur and are none")
    if 0 in ids and 0 not in every and len(every) > 1:
        remarks.append("0 occurs nowhere: it is kept as the background")
    scheme = LabelScheme("multiclass", tuple(map(str, ids)), tuple((number,) for number in ids), ignore)
    return Understanding(scheme, remarks)


def marks_of_unlabelled(every: Sequence[int], sets: Sequence[frozenset[int]], meant: set[int]) -> list[int]:
    """Returns the values that by an old habit mark what nobody labelled: the greatest of a type, or -1, beside others.

    Args:
        every: All values that occur.
        sets: Those of each label.
        meant: Those that are declared as classes.
    """
    known = meant - {0, *UNLABELLED} if len(meant - {0}) > 1 else set()
    found = []
    for mark in UNLABELLED:
        others = set(every) - {mark}
        is_last = max(others, default=0) < mark if mark > 0 else min(others, default=0) == 0
        if mark not in meant and is_last and any(mark in values and (values | known) - {0, mark} for values in sets):
            found.append(mark)
    return found


def named_values(task: str | None, classes: Classes | None) -> dict[str, tuple[int, ...]] | None:
    """Returns the label values of each class as they are declared; `None` if names alone are, or nothing."""
    if isinstance(classes, Mapping):
        return {name: tuple(value) if isinstance(value, Sequence) else (value,) for name, value in classes.items()}
    if classes is not None and (len(classes) > 2 or task == "multiclass"):
        return {name: (number,) for number, name in enumerate(classes)}
    return None


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
        # What is not the class is 0; if 0 is the class, it is 1 or 255.
        others = (1, 255) if 0 in taken else (0,)
        background = groups[0] if len(groups) == 2 else tuple(value for value in others if value not in taken)
        return LabelScheme(task, (names[-1],), (background, groups[-1]), ignore)
    if 0 not in values and 0 not in ignore:
        names, groups = ["background", *names], [(0,), *groups]
    if len(names) > MOST_DECLARED_CLASSES:
        raise OptionError("classes", f"at most {MOST_DECLARED_CLASSES}", len(names))
    return LabelScheme(task, tuple(names), tuple(groups), ignore)


def described(classes: Mapping[str, object]) -> str:
    """Returns declared classes in words, such as `kidney: 1, tumour: 2`."""
    return ", ".join(f"{name}: {value}" for name, value in classes.items()) or "none"
