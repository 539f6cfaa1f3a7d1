"""Batches of training windows, each determined by seed, epoch and number alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import OptionError

from ..augmentation.mixing import check_mix, mix_in
from ..windows import Halo, Window
from .case_grid import Batch, CaseGrid, check_geometry, empty_images, shard_samples
from .options import WindowOptions, shrink_factors
from .places import BalancedPlaces, Places, PositivePlaces, TissuePlaces, UniformPlaces
from .samples import SampleReader

if TYPE_CHECKING:
    from ..sets.cases import Case


class RandomWindows:
    """Batches of training windows.

    Args:
        cases: The cases, drawn in proportion to their weights.
        patch: Size of the label windows, one number or one per axis.
        batch_size: Samples per batch.
        options: Which windows are drawn, and how they are changed; by default anywhere, as they are.
        halo: Pixels that the image windows show around the label windows: see `windows.halo_pairs`.
        shard: `(index, count)`: `batch` makes only this one of `count` equal parts of a batch.

    Raises:
        OptionError: If the options do not fit the cases.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        patch: int | Sequence[int],
        batch_size: int,
        options: WindowOptions | None = None,
        *,
        halo: Halo = 0,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        options = WindowOptions() if options is None else options
        self._cases, self._patch, self._halo = check_geometry(cases, patch, halo)
        task = self._cases[0].read_label.scheme.task
        if options.mask_sigma and task == "multiclass":
            raise OptionError("mask_sigma", "0 with multiclass masks", options.mask_sigma)
        self._mix = check_mix(options.mix_probabilities, len(self._patch))
        self._reader = SampleReader(self._halo, options)
        self._batch_size, self._seed = batch_size, options.seed
        self._hard_fraction = options.hard_example_fraction
        self._samples = shard_samples(shard, batch_size)
        self.grid = CaseGrid(self._cases, self._patch, options.overlap)
        self.steps = -(-len(self.grid) // batch_size) if options.steps is None else options.steps
        self._places = places_of(self._cases, self._patch, options)

    def batch(self, epoch: int, index: int, hardness: np.ndarray | None = None) -> Batch:
        """Returns `(images, labels)`, determined by seed, epoch, index and hardness.

        Args:
            epoch: Number of the epoch.
            index: Number of the batch.
            hardness: What `cumulated_weights` made of one weight per window of `grid`; `None`: all weigh the same.
        """
        rngs = np.random.default_rng([self._seed, epoch, index]).spawn(self._batch_size)
        rngs = [rngs[sample] for sample in self._samples]
        images = empty_images(self._cases, self._patch, self._halo, len(rngs))
        first = index * self._batch_size + self._samples[0]
        labels = [
            self._mixed((epoch, number), rng, hardness, image)
            for number, (rng, image) in enumerate(zip(rngs, images, strict=True), first)
        ]
        return images, np.stack(labels)

    def draw(
        self,
        turn: tuple[int, int] | None,
        rng: np.random.Generator,
        hardness: np.ndarray | None = None,
        factor: int = 1,
    ) -> tuple[Case, Window]:
        """Returns the case and the window of a sample.

        Args:
            turn: The epoch, and the number of the sample in it; `None`: a sample outside of any order.
            rng: Generator that random places follow from.
            hardness: See `batch`.
            factor: How many pixels of an image become one of the sample, per axis.
        """
        if self._hard_fraction and rng.random() < self._hard_fraction:
            if hardness is None:
                return self.grid[int(rng.integers(len(self.grid)))]
            return self.grid[int(np.searchsorted(hardness, rng.random(), side="right"))]
        if self._places is not None:
            return self._places.draw(rng, factor)
        if turn is None:
            return self.grid[int(rng.integers(len(self.grid)))]
        epoch, number = turn
        again, place = divmod(number, len(self.grid))
        return self.grid[int(shuffled(len(self.grid), self._seed, epoch, again)[place])]

    def _mixed(
        self, turn: tuple[int, int], rng: np.random.Generator, hardness: np.ndarray | None, out: np.ndarray
    ) -> np.ndarray:
        """Writes an image into `out` and returns its label, with parts of other samples if that is asked for."""
        factor = self._reader.draw_factor(rng)
        label = self._reader.read(*self.draw(turn, rng, hardness, factor), rng, out, factor)
        if self._mix:

            def read_another() -> tuple[np.ndarray, np.ndarray]:
                image = np.empty_like(out)
                factor = self._reader.draw_factor(rng)
                return image, self._reader.read(*self.draw(None, rng, hardness, factor), rng, image, factor)

            mix_in(read_another, out, label, self._halo, self._mix, rng)
        return label


def places_of(cases: Sequence[Case], patch: tuple[int, ...], options: WindowOptions) -> Places | None:
    """Returns what draws the windows of these options; `None` if the grid is shown window by window."""
    if options.windows == "all":
        return None
    if options.balance:
        return BalancedPlaces(cases, patch, options.balance, shrink_factors(options.scales))
    return {"random": UniformPlaces, "tissue": TissuePlaces, "positive": PositivePlaces}[options.windows](cases, patch)


def cumulated_weights(weights: Sequence[float] | np.ndarray, number: int) -> np.ndarray:
    """Returns the fraction of all weight in each window and those before it, for `RandomWindows.batch`.

    Args:
        weights: One number per window.
        number: How many windows there are.

    Raises:
        OptionError: If there is not one weight of 0 or more per window, or none is above 0.
    """
    weights = np.asarray(weights, np.float64)
    if weights.shape != (number,) or not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() > 0):
        raise OptionError("hardness", f"{number} weights of 0 or more, some above 0", f"an array of {weights.shape}")
    # Scaled by the greatest first, so that the sum of huge weights is finite. The last value is exactly 1.
    sums = np.cumsum(weights / weights.max())
    return sums / sums[-1]


@functools.lru_cache(maxsize=4)
def shuffled(number: int, *seed: int) -> np.ndarray:
    """Returns the numbers below `number` in an order that follows from the seed, `(number,)`."""
    return np.random.default_rng(seed).permutation(number)
