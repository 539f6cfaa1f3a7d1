"""Whether every class of a data set occurs in its labels."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np

from maskzoo.errors import DataError

from ..windows import window_grid
from .cases import Case
from .data_set import DataSet

logger = logging.getLogger(__name__)

# Pixels per axis that are read at a time, by number of axes.
BLOCK = {2: 2048, 3: 160}


def require_every_class(dataset: DataSet) -> None:
    """Refuses a data set one of whose classes occurs in no label; a background may be missing.

    Bands that nobody named may be empty, which is logged.

    Raises:
        DataError: If a class never occurs, if labels show nothing at all, or if no pixel counts of those that are
            trained on or of those that are held out.
    """
    for name, cases in (("train on", dataset.train), ("hold out", dataset.validation)):
        if cases and not any_pixel_counts(cases, dataset.ignore_index):
            raise DataError(
                dataset.spec.path, f"labels that say something of an image to {name}", "ignored pixels only"
            )
    names = dataset.class_names
    wanted = set(range(int(dataset.task == "multiclass"), len(names)))
    untrained = wanted - shown_classes(dataset.train, wanted)
    missing = untrained - shown_classes(dataset.validation, untrained)
    if missing and missing == wanted:
        raise DataError(dataset.spec.path, "labels that show something in their images", "none that do")
    if named := [names[number] for number in sorted(missing) if not names[number].isdigit()]:
        raise DataError(dataset.spec.path, "labels that show every class", f"none with {', '.join(named)}")
    if dataset.task == "binary" and not shows_background(dataset.train):
        logger.warning("no image to train on shows anything but %s", names[0])
    if dataset.validation and (unseen := wanted - missing - shown_classes(dataset.validation, wanted - missing)):
        listed = ", ".join(names[number] for number in sorted(unseen))
        chosen = (
            "nothing is measured, and the last epoch is kept"
            if unseen == wanted
            else "the best epoch is chosen without"
        )
        logger.warning("no held-out image shows %s: %s", listed, chosen)
    if untrained:
        logger.warning("no image to train on shows %s", ", ".join(names[number] for number in sorted(untrained)))


def shows_background(cases: Iterable[Case]) -> bool:
    """Says whether the labels of cases of a binary task show anything but the class, and pixels that do not count."""
    return any(
        (case.read_label(window) == 0).any()
        for case in cases
        for window in window_grid(case.image.shape, BLOCK[len(case.image.shape)])
    )


def any_pixel_counts(cases: Iterable[Case], ignore_index: int | None) -> bool:
    """Returns whether any pixel of the labels of cases is not ignored; labels are read until one is found."""
    return ignore_index is None or any(
        bool((case.read_label(window) != ignore_index).any())
        for case in cases
        for window in window_grid(case.image.shape, BLOCK[len(case.image.shape)])
    )


def shown_classes(cases: Iterable[Case], wanted: set[int]) -> set[int]:
    """Returns which of some classes occur in the labels of cases; labels are read until all were seen."""
    found: set[int] = set()
    for case in cases:
        scheme = case.read_label.scheme
        for window in window_grid(case.image.shape, BLOCK[len(case.image.shape)]):
            if found >= wanted:
                return found
            masks = scheme.masks(case.read_label(window))
            shown = np.flatnonzero(masks.any(axis=tuple(range(masks.ndim - 1))))
            found |= wanted & set(shown.tolist())
    return found
