"""Where training windows are placed: anywhere, on tissue, on a class, or so that classes appear as often as asked."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from maskzoo.errors import OptionError
from maskzoo.names import one_of

from ..images.overview import overview, tissue
from ..windows import Window
from .case_sampler import CaseSampler
from .class_index import FOREGROUND, ClassIndex
from .scales import enlarge, shrink_label

if TYPE_CHECKING:
    from ..sets.cases import Case


logger = logging.getLogger(__name__)


class Places(Protocol):
    """Draws windows at random."""

    def draw(self, rng: np.random.Generator, factor: int = 1) -> tuple[Case, Window]:
        """Returns a case and a window, which is read `factor` times as large and then reduced to its own size."""
        ...


class UniformPlaces:
    """Draws any window of any image."""

    def __init__(self, cases: Sequence[Case], patch: tuple[int, ...]) -> None:
        self._cases, self._patch = cases, patch
        self._sampler = CaseSampler(cases)

    def draw(self, rng: np.random.Generator, factor: int = 1) -> tuple[Case, Window]:
        """Returns a case and a window."""
        case = self._cases[self._sampler.draw(rng)]
        return case, random_window(case.image.shape, self._patch, rng)


class TissuePlaces:
    """Draws windows of any image whose centre is tissue: see `overview.tissue`."""

    def __init__(self, cases: Sequence[Case], patch: tuple[int, ...]) -> None:
        self._cases, self._patch = cases, patch
        self._sampler = CaseSampler(cases)
        self._found = []
        for case in cases:
            image, step = overview(case.image)
            mask = tissue(image)
            self._found.append((np.flatnonzero(mask), mask.shape, step))

    def draw(self, rng: np.random.Generator, factor: int = 1) -> tuple[Case, Window]:
        """Returns a case and a window."""
        number = self._sampler.draw(rng)
        case, (pixels, shape, step) = self._cases[number], self._found[number]
        centre = np.unravel_index(pixels[rng.integers(len(pixels))], shape)
        centre = np.multiply(centre, step) + rng.integers(0, step, len(shape))
        offset = centre - np.array(self._patch) // 2
        return case, moved_inside(offset, case.image.shape, self._patch, rng)


class PositivePlaces:
    """Draws windows that show a class other than the background anywhere in them.

    Raises:
        OptionError: If the labels show no such class.
    """

    def __init__(self, cases: Sequence[Case], patch: tuple[int, ...]) -> None:
        self._patch = patch
        self._index = ClassIndex(cases, index_cell(patch))
        if not self._index.has(FOREGROUND):
            raise OptionError("windows", "labels with a class other than the background for positive", "none")

    def draw(self, rng: np.random.Generator, factor: int = 1) -> tuple[Case, Window]:
        """Returns a case and a window."""
        return draw_showing(self._index, FOREGROUND, self._patch, rng)


def require_names(fractions: Mapping[str, float], names: Sequence[str]) -> None:
    """Refuses fractions of windows for classes that there are not.

    Raises:
        OptionError: If a name is not one of those of the classes.
    """
    for name in fractions:
        if name not in names:
            raise OptionError("balance", one_of(name, names), name)


class BalancedPlaces:
    """Draws windows so that each class is shown by the fraction of them that was asked for.

    Windows are drawn in several ways: anywhere, aimed at a class, or with none of the balanced classes. How often each
    way is used follows from how often its windows show each class, which is measured on a fixed sample at every scale:
    the coarser, the more of an image is in a window, and the less remains of a small object.

    Args:
        cases: The cases.
        patch: Size of the windows per axis.
        fractions: Mapping from class name to the fraction of windows that show the class.
        factors: How many pixels become one, per axis, at the scales that windows are shown at.

    Raises:
        OptionError: If a class is unknown or occurs nowhere, or no windows have these fractions at the finest scale.
    """

    MAX_TRIES = 100

    def __init__(
        self,
        cases: Sequence[Case],
        patch: tuple[int, ...],
        fractions: Mapping[str, float],
        factors: Sequence[int] = (1,),
    ) -> None:
        names = list(cases[0].read_label.scheme.class_names)
        require_names(fractions, names)
        self._patch = patch
        self._anywhere = UniformPlaces(cases, patch)
        self._index = ClassIndex(cases, index_cell(patch))
        self._classes = [names.index(name) for name in fractions]
        for name, number in zip(fractions, self._classes, strict=True):
            if not self._index.has(number):
                raise OptionError("balance", "a class that occurs in the labels", name)
        self._ways: list[Callable[[np.random.Generator, int], tuple[Case, Window]]] = [
            self._draw_without,
            *[functools.partial(self._draw_showing, number) for number in self._classes],
            self._anywhere.draw,
        ]
        finest = min(factors)
        self._probabilities = {
            factor: self._fitted_probabilities(fractions, factor, factor == finest) for factor in sorted(set(factors))
        }

    def draw(self, rng: np.random.Generator, factor: int = 1) -> tuple[Case, Window]:
        """Returns a case and a window, which is read `factor` times as large and then reduced to its own size."""
        return self._ways[rng.choice(len(self._ways), p=self._probabilities[factor])](rng, factor)

    def _draw_without(self, rng: np.random.Generator, factor: int) -> tuple[Case, Window]:
        """Returns a window that shows none of the balanced classes, if a few tries find one."""
        case, window = self._anywhere.draw(rng)
        for _ in range(self.MAX_TRIES - 1):
            if not self._shown(case, window, factor).any():
                break
            case, window = self._anywhere.draw(rng)
        return case, window

    def _draw_showing(self, number: int, rng: np.random.Generator, factor: int) -> tuple[Case, Window]:
        """Returns a window that shows a class also once it is reduced, if a few tries find one."""
        case, window = draw_showing(self._index, number, self._patch, rng)
        place = self._classes.index(number)
        for _ in range(self.MAX_TRIES - 1 if factor > 1 else 0):
            if self._shown(case, window, factor)[place]:
                break
            case, window = draw_showing(self._index, number, self._patch, rng)
        return case, window

    def _shown(self, case: Case, window: Window, factor: int) -> np.ndarray:
        """Returns which of the balanced classes a window shows, boolean `(classes,)`."""
        label = shrink_label(case.read_label(enlarge(window, factor)), factor, len(self._patch))
        masks = case.read_label.scheme.masks(label)
        return np.any(masks.reshape(-1, masks.shape[-1])[:, self._classes], axis=0, keepdims=True).ravel()

    def _fitted_probabilities(self, fractions: Mapping[str, float], factor: int, strict: bool) -> np.ndarray:
        """Returns how often each way is used, so that the fractions are met; else as nearly as can be, or refused."""
        from scipy.optimize import nnls

        # With one class, one way always shows it and one never does: a few windows tell whether such windows exist.
        tries = 50 if len(fractions) == 1 else 1000
        ways = self._ways[:2] if len(fractions) == 1 else self._ways
        rng = np.random.default_rng(0)
        shown = np.array(
            [np.mean([self._shown(*way(rng, factor), factor) for _ in range(tries)], axis=0) for way in ways]
        )
        asked = np.array([*fractions.values()], float)
        # Probabilities that sum to 1, which counts for much more than the fractions.
        found, _ = nnls(np.vstack([shown.T, np.full(len(ways), 1e3)]), np.append(asked, 1e3))
        reached = found @ shown
        if np.abs(reached - asked).max() > 0.02:
            near = ", ".join(f"{name}: {fraction:.2f}" for name, fraction in zip(fractions, reached, strict=True))
            if strict:
                raise OptionError(
                    "balance", f"fractions that windows of {self._patch} can have, such as {near}", dict(fractions)
                )
            logger.warning("balance    at scale %.3g windows of %s have %s", 1 / factor, self._patch, near)
        found = np.concatenate([found, np.zeros(len(self._ways) - len(ways))])
        return found / found.sum()


def index_cell(patch: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the size of the cells of a `ClassIndex` for windows of a size."""
    return tuple(min(max(extent // 4, 8), 256) for extent in patch)


def draw_showing(
    index: ClassIndex, number: int, patch: tuple[int, ...], rng: np.random.Generator
) -> tuple[Case, Window]:
    """Returns a case and a window that shows a class, given by its number, at any place in the window."""
    case, pixel = index.draw(number, rng)
    offset = [int(rng.integers(place - n + 1, place + 1)) for place, n in zip(pixel, patch, strict=True)]
    return case, moved_inside(offset, case.image.shape, patch, rng)


def moved_inside(
    offset: Sequence[int] | np.ndarray, shape: tuple[int, ...], patch: tuple[int, ...], rng: np.random.Generator
) -> Window:
    """Returns the window at an offset, moved into the image; on an axis shorter than the window at a random place."""
    places = []
    for start, length, extent in zip(offset, shape, patch, strict=True):
        room = length - extent
        places.append(min(max(int(start), 0), room) if room > 0 else int(rng.integers(room, 1)))
    return Window(tuple(places), patch)


def random_window(shape: tuple[int, ...], patch: tuple[int, ...], rng: np.random.Generator) -> Window:
    """Returns a window at a random place.

    Places extend up to a quarter of the window beyond each border and are then moved inside, so that the border is seen
    nearly as often as the middle. On an axis shorter than the window the image lies at a random place in it.
    """
    offset = []
    for length, extent in zip(shape, patch, strict=True):
        room = length - extent
        reach = min(extent // 4, room) if room > 0 else 0
        place = int(rng.integers(min(room, 0) - reach, max(room, 0) + reach + 1))
        offset.append(min(max(place, min(room, 0)), max(room, 0)))
    return Window(tuple(offset), patch)
