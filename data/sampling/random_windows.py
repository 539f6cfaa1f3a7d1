"""Which windows to train on and to validate on, and the batches made of them, by seed, epoch and number alone."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Sequence

import numpy as np

from ..augmentation.mixing import check_mix, jitter, mix_in, soften_masks, symmetries
from ..augmentation.transforms import PRESETS, Augmentation
from ..images.overview import overview, tissue
from ..sets.normalization import unknown
from ..windows import Window, crop, halo_pairs, per_axis, window_grid
from .class_index import ClassIndex, case_shares, draw_case
from .scales import enlarged, shrink_factors, shrunk, shrunk_labels

AUGMENTATIONS = ("none", "flips", *PRESETS)
WINDOWS = ("random", "all", "tissue", "positive")


class RandomWindows:
    """Batches of training windows.

    Args:
        cases: List of `Case`; one of a `weight` is drawn in proportion to it.
        patch: Size of the label windows, one number or one per axis.
        batch_size: Samples per batch.
        steps: Batches per epoch; None: as many as show every window of the grid once.
        halo: Pixels that the image windows show around the label windows: see `windows.halo_pairs`.
        seed: Seed of everything random.
        augment: `none`; `flips`: flips, right-angle rotations and a little change of contrast; or what `Augmentation`
            takes.
        balance: Mapping from class name to the share of windows that show the class; None: as it comes. With
            `windows="random"`.
        windows: `random`: any place of any image; `all`: every window of a grid over every image, in another order each
            epoch; `tissue`: those whose middle is not background, as an overview of the image shows; `positive`: those
            that show a class other than the background.
        overlap: Share of a window, from 0 to below 1, by which neighbours in the grid overlap.
        hard: Share of the windows that is drawn from the grid in proportion to the hardness that `batch` is given.
        scales: Scales at which samples are shown, each 1 divided by a whole number, one chosen for each sample.
        mix: Mapping from `cutmix` or, in 2D, `mosaic` to the share of samples with parts of one or of three others.
        soften: Deviation in pixels of a Gaussian over the masks, which are then float32 between 0 and 1.
        share: `(number, of)`: `batch` makes only that one of equal parts of a batch.
    """

    def __init__(
        self,
        cases,
        patch,
        batch_size,
        *,
        steps=None,
        halo=0,
        seed=0,
        augment="none",
        balance=None,
        windows="random",
        overlap=0.0,
        hard=0.0,
        scales=None,
        mix=None,
        soften=0.0,
        share=(0, 1),
    ):
        self._cases, self._patch, self._halo = checked(cases, patch, halo)
        if isinstance(augment, str) and augment not in AUGMENTATIONS:
            raise ValueError(unknown("augment", augment, AUGMENTATIONS))
        if windows not in WINDOWS:
            raise ValueError(unknown("windows", windows, WINDOWS))
        if balance and windows != "random":
            raise ValueError(f"balance: expected windows: random beside it; received {windows}")
        if not 0 <= hard <= 1:
            raise ValueError(f"hard: expected a share between 0 and 1; received {hard}")
        task = self._cases[0].read_label.scheme.task
        if not (np.isfinite(soften) and soften >= 0) or (soften and task == "multiclass"):
            raise ValueError(
                f"soften: expected pixels, 0 or more, of binary or multilabel masks; received {soften}, {task}"
            )
        self._scales = shrink_factors(scales)
        self._mix = check_mix(mix, len(self._patch))
        self._change = None if augment in ("none", "flips") else Augmentation(augment)
        self._batch_size, self._seed, self._augment = batch_size, seed, augment
        self._hard, self._soften = hard, soften
        self._samples = samples_of(share, batch_size)
        self.grid = CaseGrid(self._cases, self._patch, overlap)
        self.steps = -(-len(self.grid) // batch_size) if steps is None else steps
        self._places = None
        if windows == "random":
            self._places = (BalancedPlaces if balance else AnyPlace)(self._cases, self._patch, *filter(None, [balance]))
        elif windows != "all":
            self._places = {"tissue": TissuePlaces, "positive": PositivePlaces}[windows](self._cases, self._patch)

    def batch(self, epoch, index, hardness=None):
        """Returns `(images, labels)`, determined by seed, epoch, index and hardness.

        Args:
            epoch: Number of the epoch.
            index: Number of the batch.
            hardness: What `running_shares` made of one weight per window of `grid`; None: all weigh the same.
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

    def _mixed(self, turn, rng, hardness, out):
        """Writes an image into `out` and returns its label, with parts of others where that is asked for."""
        label = self._sample(*self._draw(turn, rng, hardness), rng, out)
        if not self._mix:
            return label

        def another():
            image = np.empty_like(out)
            return image, self._sample(*self._draw(None, rng, hardness), rng, image)

        mix_in(another, out, label, self._halo, self._mix, rng)
        return label

    def _draw(self, turn, rng, hardness):
        """Returns a case and a window: by the epoch and its number there, or any where `turn` is None."""
        if self._hard and rng.random() < self._hard:
            if hardness is None:
                return self.grid[rng.integers(len(self.grid))]
            return self.grid[np.searchsorted(hardness, rng.random(), side="right")]
        if self._places is not None:
            return self._places.draw(rng)
        if turn is None:
            return self.grid[rng.integers(len(self.grid))]
        epoch, number = turn
        again, place = divmod(number, len(self.grid))
        return self.grid[shuffled(len(self.grid), self._seed, epoch, again)[place]]

    def _sample(self, case, window, rng, out):
        """Writes an image into `out` and returns its label."""
        times = self._scales[rng.integers(len(self._scales))] if len(self._scales) > 1 else self._scales[0]
        label = self._shown(case, window, times, rng, out)
        return soften_masks(label, self._soften) if self._soften else label

    def _shown(self, case, window, times, rng, out):
        if self._augment == "none" and times == 1:
            case.read_image(window.padded(self._halo), out)
            return case.read_label(window)
        # The same halo on both sides of an axis: image and label have one centre, about which both are turned.
        even = tuple((max(pair), max(pair)) for pair in self._halo)
        excess = tuple((e[0] - h[0], e[1] - h[1]) for e, h in zip(even, self._halo, strict=True))
        # Presets move image and label together, so that the label's halo may come into view.
        around = 0 if self._change is None else even
        pixels = shrunk(case.read_image.source.read(enlarged(window.padded(even), times)), times)
        label = shrunk_labels(case.read_label(enlarged(window.padded(around), times)), times, len(self._patch))
        if self._change is not None:
            image, label = self._changed(case, pixels, label, rng)
            out[...] = crop(image, excess)
            return crop(label, even)
        image = case.read_image.normalize(pixels)
        if self._augment == "none":
            out[...] = crop(image, excess)
        else:
            image, label = symmetries(image, label, rng)
            jitter(crop(image, excess), rng, out=out)
        return label

    def _changed(self, case, pixels, label, rng):
        if pixels.dtype == np.uint8:
            pixels, label = self._change(pixels, label, rng)
            return case.read_image.normalize(pixels), label
        # Colours are changed between 0 and 1: the range of values in the window.
        image = case.read_image.normalize(pixels)
        low = image.min()
        extent = max(image.max() - low, np.float32(1e-6))
        image, label = self._change((image - low) / extent, label, rng)
        return image * extent + low, label


def running_shares(weights, number):
    """Returns which share of all weight lies in the windows up to each, for `RandomWindows.batch`.

    Raises:
        ValueError: Where it is not one weight of 0 or more for each of a number of windows, some above 0.
    """
    weights = np.asarray(weights, np.float64)
    if weights.shape != (number,) or not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() > 0):
        raise ValueError(
            f"hardness: expected {number} weights of 0 or more, some above 0, one per window of the grid; received "
            f"an array of shape {weights.shape}"
        )
    # Scaled by the greatest first: the sum of huge weights is not infinite. The last share is 1 exactly.
    sums = np.cumsum(weights / weights.max())
    return sums / sums[-1]


@functools.lru_cache(maxsize=4)
def shuffled(number, *seed):
    """Returns the numbers below `number` in an order that follows from the seed."""
    return np.random.default_rng(seed).permutation(number)


class CaseGrid(Sequence):
    """Pairs of case and window that show every image whole, image by image, in row-major order.

    Args:
        cases: List of `Case`.
        patch: Size of the windows per axis.
        overlap: Share of a window by which neighbours overlap at least.
    """

    def __init__(self, cases, patch, overlap=0.0):
        if not 0 <= overlap < 1:
            raise ValueError(f"overlap: expected a share from 0 to below 1; received {overlap}")
        self._cases = cases
        self._grids = [covering_windows(case.image.shape, patch, overlap) for case in cases]
        self._ends = list(itertools.accumulate(len(grid) for grid in self._grids))

    def __len__(self):
        return self._ends[-1]

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"windows: expected a number below {len(self)}; received {index}")
        number = index % len(self)
        which = bisect.bisect_right(self._ends, number)
        return self._cases[which], self._grids[which][int(number) - self._ends[which] + len(self._grids[which])]


class AnyPlace:
    """Draws any window of any image."""

    def __init__(self, cases, patch):
        self._cases, self._patch = cases, patch
        self._shares = case_shares(cases)

    def draw(self, rng):
        """Returns a case and a window."""
        case = self._cases[draw_case(self._shares, len(self._cases), rng)]
        return case, random_window(case.image.shape, self._patch, rng)


class TissuePlaces:
    """Draws windows whose middle is tissue, of any image: see `overview.tissue`."""

    def __init__(self, cases, patch):
        self._cases, self._patch = cases, patch
        self._shares = case_shares(cases)
        self._found = []
        for case in cases:
            image, step = overview(case.image)
            mask = tissue(image)
            self._found.append((np.flatnonzero(mask), mask.shape, step))

    def draw(self, rng):
        """Returns a case and a window."""
        which = draw_case(self._shares, len(self._cases), rng)
        case, (pixels, shape, step) = self._cases[which], self._found[which]
        middle = np.unravel_index(pixels[rng.integers(len(pixels))], shape)
        middle = np.multiply(middle, step) + rng.integers(0, step, len(shape))
        offset = middle - np.array(self._patch) // 2
        return case, moved_inside(offset, case.image.shape, self._patch, rng)


class PositivePlaces:
    """Draws windows that show a class other than the background anywhere in them."""

    def __init__(self, cases, patch):
        self._patch = patch
        self._index = ClassIndex(cases, index_cell(patch))
        if not self._index.has():
            raise ValueError("windows: expected labels with a class besides the background for positive; received none")

    def draw(self, rng):
        """Returns a case and a window."""
        return aimed(self._index, -1, self._patch, rng)


def index_cell(patch):
    return [min(max(extent // 4, 8), 256) for extent in patch]


def aimed(index, kind, patch, rng):
    """Returns a case and a window that shows a class of a `ClassIndex`, at any place in the window."""
    case, pixel = index.draw(kind, rng)
    offset = [int(rng.integers(place - n + 1, place + 1)) for place, n in zip(pixel, patch, strict=True)]
    return case, moved_inside(offset, case.image.shape, patch, rng)


def moved_inside(offset, shape, patch, rng):
    """Returns the window at an offset, moved into the image; on an axis shorter than the window at a random place."""
    places = []
    for start, length, extent in zip(offset, shape, patch, strict=True):
        room = length - extent
        places.append(min(max(int(start), 0), room) if room > 0 else int(rng.integers(room, 1)))
    return Window(places, patch)


class BalancedPlaces:
    """Draws windows so that asked shares of them show each class.

    Windows are drawn in several ways: anywhere, aimed at a class, or with none of the balanced classes. How often each
    way is taken follows from how often its windows show each class, which is tried out on a fixed sample.

    Args:
        cases: List of `Case`.
        patch: Size of the windows per axis.
        shares: Mapping from class name to the share of windows that show the class.

    Raises:
        ValueError: Where a class is unknown or occurs nowhere, or windows with these shares cannot be found.
    """

    MOST_TRIES = 100

    def __init__(self, cases, patch, shares):
        names = list(cases[0].read_label.scheme.class_names)
        for name, share in shares.items():
            if name not in names:
                raise ValueError(unknown("balance", name, names))
            if not 0 <= share <= 1:
                raise ValueError(f"balance: expected a share between 0 and 1 for {name}; received {share}")
        self._patch = patch
        self._anywhere = AnyPlace(cases, patch)
        self._index = ClassIndex(cases, index_cell(patch))
        self._kinds = [names.index(name) for name in shares]
        for name, kind in zip(shares, self._kinds, strict=True):
            if not self._index.has(kind):
                raise ValueError(f"balance: expected a class that occurs in the labels; received {name}")
        self._ways = [
            self._away,
            *[functools.partial(aimed, self._index, kind, self._patch) for kind in self._kinds],
            self._anywhere.draw,
        ]
        self._weights = self._tried_weights(shares)

    def draw(self, rng):
        """Returns a case and a window."""
        return self._ways[rng.choice(len(self._ways), p=self._weights)](rng)

    def _away(self, rng):
        for _ in range(self.MOST_TRIES):
            case, window = self._anywhere.draw(rng)
            if not self._shown(case, window).any():
                break
        return case, window

    def _shown(self, case, window):
        masks = case.read_label.scheme.masks(case.read_label(window))
        return masks.reshape(-1, masks.shape[-1])[:, self._kinds].any(axis=0)

    def _tried_weights(self, shares):
        from scipy.optimize import nnls

        # With one class two of the ways show it always and never: a few windows tell whether they can be found.
        tries = 50 if len(shares) == 1 else 1000
        ways = self._ways[:2] if len(shares) == 1 else self._ways
        rng = np.random.default_rng(0)
        shown = np.array([np.mean([self._shown(*way(rng)) for _ in range(tries)], axis=0) for way in ways])
        # Weights that sum to 1, which counts for much more than the shares.
        weights, _ = nnls(np.vstack([shown.T, np.full(len(ways), 1e3)]), [*shares.values(), 1e3])
        reached = weights @ shown
        if np.abs(reached - [*shares.values()]).max() > 0.02:
            near = ", ".join(f"{name}: {share:.2f}" for name, share in zip(shares, reached, strict=True))
            raise ValueError(
                f"balance: expected shares that windows of {self._patch} can have, such as {near}; received {shares}"
            )
        weights = np.concatenate([weights, np.zeros(len(self._ways) - len(ways))])
        return weights / weights.sum()


class GridWindows:
    """Batches that show every image once, window by window; the last is filled up with samples of weight 0.

    Args:
        cases: List of `Case`.
        patch: Size of the label windows, one number or one per axis.
        batch_size: Samples per batch.
        halo: Pixels that the image windows show around the label windows: see `windows.halo_pairs`.
        overlap: Share of a window, from 0 to below 1, by which neighbours overlap.
        limit: Most windows to show, evenly spread over all of them; None: all.
        share: `(number, of)`: `batch` makes only that one of equal parts of a batch.
    """

    def __init__(self, cases, patch, batch_size, *, halo=0, overlap=0.0, limit=None, share=(0, 1)):
        self._cases, self._patch, self._halo = checked(cases, patch, halo)
        self._batch_size = batch_size
        self.grid = CaseGrid(self._cases, self._patch, overlap)
        number = len(self.grid) if limit is None else min(limit, len(self.grid))
        self._shown = np.arange(number) * len(self.grid) // number
        self.steps = -(-number // batch_size)
        self._samples = samples_of(share, batch_size)

    def batch(self, epoch, index, hardness=None):
        """Returns `(images, labels, weights)`, the same in every epoch."""
        images = empty_images(self._cases, self._patch, self._halo, len(self._samples))
        numbers = [index * self._batch_size + sample for sample in self._samples]
        labels = []
        for number, image in zip(numbers, images, strict=True):
            case, window = self.grid[int(self._shown[min(number, len(self._shown) - 1)])]
            case.read_image(window.padded(self._halo), image)
            labels.append(case.read_label(window))
        return images, np.stack(labels), np.array([number < len(self._shown) for number in numbers], np.float32)


def samples_of(share, batch_size):
    """Returns the numbers of the samples in one of equal parts of a batch."""
    number, parts = share
    size = batch_size // parts
    return range(number * size, (number + 1) * size)


def checked(cases, patch, halo):
    """Returns cases, patch and halo with one entry per axis, refused where they make no windows."""
    if not cases:
        raise ValueError("data: expected at least one labelled image; received none")
    spatial_dims = len(cases[0].image.shape)
    patch, halo = per_axis("patch", patch, spatial_dims), halo_pairs(halo, spatial_dims)
    if min(patch) < 1 or min(itertools.chain(*halo)) < 0:
        raise ValueError(f"patch: expected positive sizes and a halo of 0 or more; received {patch}, halo {halo}")
    return list(cases), patch, halo


def empty_images(cases, patch, halo, number):
    """Returns memory for the images of a batch."""
    size = [extent + sum(pair) for extent, pair in zip(patch, halo, strict=True)]
    return np.empty((number, *size, cases[0].image.channels), np.float32)


def covering_windows(shape, patch, overlap=0.0):
    """Returns windows of one size that cover an image, also one that is smaller than the window."""
    windows = window_grid(shape, patch, [max(1, round(extent * (1 - overlap))) for extent in patch])
    if all(length >= extent for length, extent in zip(shape, patch, strict=True)):
        return windows
    overhang = [max(extent - length, 0) // 2 for length, extent in zip(shape, patch, strict=True)]
    return [Window(np.subtract(window.offset, overhang), patch) for window in windows]


def random_window(shape, patch, rng):
    """Returns a window at a random place.

    Places reach up to a quarter of the window over each border and are then moved inside, so that the border is seen
    not much less often than the middle. On an axis shorter than the window the image is at a random place in it.
    """
    offset = []
    for length, extent in zip(shape, patch, strict=True):
        room = length - extent
        reach = min(extent // 4, room) if room > 0 else 0
        place = int(rng.integers(min(room, 0) - reach, max(room, 0) + reach + 1))
        offset.append(min(max(place, min(room, 0)), max(room, 0)))
    return Window(offset, patch)


def serve(batches):
    """Keeps what a worker process makes batches from."""
    global _served
    _served = batches


def served_batch(epoch, index, hardness):
    """Returns a batch in a worker process."""
    return _served.batch(epoch, index, hardness)
