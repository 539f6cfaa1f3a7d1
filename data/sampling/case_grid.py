"""Windows of a regular grid over every image, and batches that show each of them once."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np

from maskzoo.errors import OptionError

from ..windows import Halo, Window, halo_pairs, per_axis, window_grid
from .strata import chosen_windows

if TYPE_CHECKING:
    from ..sets.cases import Case

# Images `(batch, *spatial, channels)`, labels `(batch, *spatial, classes)` and, of a grid, weights `(batch,)`.
Batch = tuple[np.ndarray, ...]


class CaseGrid(Sequence[tuple["Case", Window]]):
    """Pairs of case and window that cover every image, image by image, in row-major order.

    Args:
        cases: The cases.
        patch: Size of the windows per axis.
        overlap: Fraction of a window by which neighbours overlap at least.
    """

    def __init__(self, cases: Sequence[Case], patch: tuple[int, ...], overlap: float = 0.0) -> None:
        if not 0 <= overlap < 1:
            raise OptionError("overlap", "a fraction from 0 to below 1", overlap)
        self._cases = cases
        #: The windows of each case.
        self.windows_by_case = [covering_windows(case.image.shape, patch, overlap) for case in cases]
        self._ends = list(itertools.accumulate(len(windows) for windows in self.windows_by_case))

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> tuple[Case, Window]: ...

    @overload
    def __getitem__(self, index: slice) -> list[tuple[Case, Window]]: ...

    def __getitem__(self, index: int | slice) -> tuple[Case, Window] | list[tuple[Case, Window]]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"windows: expected a number below {len(self)}; received {index}")
        number = int(index) % len(self)
        which = bisect.bisect_right(self._ends, number)
        windows = self.windows_by_case[which]
        return self._cases[which], windows[number - self._ends[which] + len(windows)]


class WindowBatches(Protocol):
    """Batches of windows, as `WindowDataset` serves them."""

    grid: CaseGrid
    steps: int

    def batch(self, epoch: int, index: int, hardness: np.ndarray | None = None) -> Batch:
        """Returns a batch of an epoch; `hardness` is the cumulated weight `(windows,)` of the grid's windows."""
        ...


class GridWindows:
    """Batches that show every image once, window by window; the last is filled up with samples of weight 0.

    With a limit some windows stand for the others and weigh accordingly: see `strata.chosen_windows`.

    Args:
        cases: The cases.
        patch: Size of the label windows, one number or one per axis.
        batch_size: Samples per batch.
        halo: Pixels that the image windows show around the label windows: see `windows.halo_pairs`.
        overlap: Fraction of a window, from 0 to below 1, by which neighbours overlap.
        limit: Most windows to show, of every image and class; `None`: all.
        shard: `(index, count)`: `batch` makes only this one of `count` equal parts of a batch.
        seed: What the choice of the windows follows from, if there is a limit.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        patch: int | Sequence[int],
        batch_size: int,
        *,
        halo: Halo = 0,
        overlap: float = 0.0,
        limit: int | None = None,
        shard: tuple[int, int] = (0, 1),
        seed: int = 0,
    ) -> None:
        self._cases, self._patch, self._halo = check_geometry(cases, patch, halo)
        self._batch_size = batch_size
        self.grid = CaseGrid(self._cases, self._patch, overlap)
        number = len(self.grid) if limit is None else limit
        #: Numbers of the windows that are shown, and their weights.
        self.shown, self.weights = chosen_windows(self._cases, self.grid.windows_by_case, number, seed)
        self.steps = -(-len(self.shown) // batch_size)
        self._samples = shard_samples(shard, batch_size)

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the image and the label of one of the windows that are shown."""
        case, window = self.grid[int(self.shown[number])]
        (image,) = empty_images(self._cases, self._patch, self._halo, 1)
        case.read_image(window.padded(self._halo), image)
        return image, case.read_label(window)

    def batch(self, epoch: int, index: int, hardness: np.ndarray | None = None) -> Batch:
        """Returns `(images, labels, weights)`, the same in every epoch."""
        images = empty_images(self._cases, self._patch, self._halo, len(self._samples))
        numbers = [index * self._batch_size + sample for sample in self._samples]
        labels = []
        for number, image in zip(numbers, images, strict=True):
            case, window = self.grid[int(self.shown[min(number, len(self.shown) - 1)])]
            case.read_image(window.padded(self._halo), image)
            labels.append(case.read_label(window))
        weights = [self.weights[number] if number < len(self.shown) else 0.0 for number in numbers]
        return images, np.stack(labels), np.array(weights, np.float32)


def check_geometry(
    cases: Sequence[Case], patch: int | Sequence[int], halo: Halo
) -> tuple[list[Case], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Returns cases, patch and halo with one entry per axis.

    Raises:
        OptionError: If there are no cases, or no windows of this patch and halo.
    """
    if not cases:
        raise OptionError("data", "at least one labelled image", "none")
    spatial_dims = len(cases[0].image.shape)
    sizes, pairs = per_axis("patch", patch, spatial_dims), halo_pairs(halo, spatial_dims)
    if min(sizes) < 1 or min(itertools.chain(*pairs)) < 0:
        raise OptionError("patch", "positive sizes and a halo of 0 or more", f"{sizes}, halo {pairs}")
    return list(cases), sizes, pairs


def shard_samples(shard: tuple[int, int], batch_size: int) -> range:
    """Returns the numbers of the samples in one of the equal parts of a batch."""
    index, count = shard
    size = batch_size // count
    return range(index * size, (index + 1) * size)


def empty_images(
    cases: Sequence[Case], patch: tuple[int, ...], halo: tuple[tuple[int, int], ...], number: int
) -> np.ndarray:
    """Returns memory for the images of a batch, float32 `(number, *spatial, channels)`."""
    size = [extent + sum(pair) for extent, pair in zip(patch, halo, strict=True)]
    return np.empty((number, *size, cases[0].image.channels), np.float32)


def covering_windows(shape: tuple[int, ...], patch: tuple[int, ...], overlap: float = 0.0) -> Sequence[Window]:
    """Returns windows of one size that cover an image, including one that is smaller than the window."""
    windows = window_grid(shape, patch, [max(1, round(extent * (1 - overlap))) for extent in patch])
    if all(length >= extent for length, extent in zip(shape, patch, strict=True)):
        return windows
    overhang = [max(extent - length, 0) // 2 for length, extent in zip(shape, patch, strict=True)]
    return [
        Window(tuple(start - n for start, n in zip(window.offset, overhang, strict=True)), patch) for window in windows
    ]
