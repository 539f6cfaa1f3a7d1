"""Which windows to train on and to validate on, and the batches made of them, by seed, epoch and number alone."""

from __future__ import annotations

import bisect
import functools
import itertools

import numpy as np

from .augment import jitter, symmetries
from .class_index import ClassIndex
from .statistics import unknown
from .transforms import PRESETS, Augmentation
from .windows import Window, crop, halo_pairs, per_axis, window_grid

AUGMENTATIONS = ("none", "flips", *PRESETS)


class RandomWindows:
    """Batches of random windows of random images.

    Args:
        cases: List of `Case`.
        patch: Size of the label windows, one number or one per axis.
        batch_size: Samples per batch.
        steps: Batches per epoch; None: as many windows as cover every image once.
        halo: Pixels that the image windows show around the label windows: see `windows.halo_pairs`.
        seed: Seed of everything random.
        augment: `none`; `flips`: flips, right-angle rotations and a little change of contrast; or what `Augmentation`
            takes.
        balance: Mapping from class name to the share of windows that show the class; None: as it comes.
    """

    def __init__(self, cases, patch, batch_size, *, steps=None, halo=0, seed=0, augment="none", balance=None):
        self._cases, self._patch, self._halo = checked(cases, patch, halo)
        if isinstance(augment, str) and augment not in AUGMENTATIONS:
            raise ValueError(unknown("augment", augment, AUGMENTATIONS))
        self._change = None if augment in ("none", "flips") else Augmentation(augment)
        self._batch_size = batch_size
        self._seed = seed
        self._augment = augment
        windows = sum(len(covering_windows(case.image.shape, self._patch)) for case in self._cases)
        self.steps = -(-windows // batch_size) if steps is None else steps
        self._places = AnyPlace(self._cases, self._patch)
        if balance:
            self._places = BalancedPlaces(self._cases, self._patch, balance)

    def batch(self, epoch, index):
        """Returns `(images, labels)`, determined by seed, epoch and index."""
        rngs = np.random.default_rng([self._seed, epoch, index]).spawn(self._batch_size)
        images = empty_images(self._cases, self._patch, self._halo, self._batch_size)
        labels = [self._sample(rng, image) for rng, image in zip(rngs, images, strict=True)]
        return images, np.stack(labels)

    def _sample(self, rng, out):
        """Writes an image into `out` and returns its label."""
        case, window = self._places.draw(rng)
        if self._augment == "none":
            case.read_image(window.padded(self._halo), out)
            return case.read_label(window)
        # The same halo on both sides of an axis: image and label have one centre, about which both are turned.
        even = tuple((max(pair), max(pair)) for pair in self._halo)
        excess = tuple((e[0] - h[0], e[1] - h[1]) for e, h in zip(even, self._halo, strict=True))
        if self._change is None:
            image, label = symmetries(case.read_image(window.padded(even)), case.read_label(window), rng)
            jitter(crop(image, excess), rng, out=out)
            return label
        image, label = self._changed(case, window.padded(even), rng)
        out[...] = crop(image, excess)
        return crop(label, even)

    def _changed(self, case, window, rng):
        pixels, label = case.read_image.source.read(window), case.read_label(window)
        if pixels.dtype == np.uint8:
            pixels, label = self._change(pixels, label, rng)
            return case.read_image.normalize(pixels), label
        # Colours are changed between 0 and 1: the range of values in the window.
        image = case.read_image.normalize(pixels)
        low = image.min()
        extent = max(image.max() - low, np.float32(1e-6))
        image, label = self._change((image - low) / extent, label, rng)
        return image * extent + low, label


class AnyPlace:
    """Draws any window of any image."""

    def __init__(self, cases, patch):
        self._cases, self._patch = cases, patch

    def draw(self, rng):
        """Returns a case and a window."""
        case = self._cases[rng.integers(len(self._cases))]
        return case, random_window(case.image.shape, self._patch, rng)


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
        self._index = ClassIndex(cases, [min(max(extent // 4, 8), 256) for extent in patch])
        self._kinds = [names.index(name) for name in shares]
        for name, kind in zip(shares, self._kinds, strict=True):
            if not self._index.has(kind):
                raise ValueError(f"balance: expected a class that occurs in the labels; received {name}")
        self._ways = [self._away, *[functools.partial(self._aimed, kind) for kind in self._kinds], self._anywhere.draw]
        self._weights = self._tried_weights(shares)

    def draw(self, rng):
        """Returns a case and a window."""
        return self._ways[rng.choice(len(self._ways), p=self._weights)](rng)

    def _aimed(self, kind, rng):
        case, pixel = self._index.draw(kind, rng)
        offset = []
        for place, length, extent in zip(pixel, case.image.shape, self._patch, strict=True):
            room = length - extent
            start = int(rng.integers(place - extent + 1, place + 1)) if room > 0 else int(rng.integers(room, 1))
            offset.append(min(max(start, min(room, 0)), max(room, 0)))
        return case, Window(offset, self._patch)

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
    """

    def __init__(self, cases, patch, batch_size, *, halo=0):
        self._cases, self._patch, self._halo = checked(cases, patch, halo)
        self._batch_size = batch_size
        self._grids = [covering_windows(case.image.shape, self._patch) for case in self._cases]
        self._ends = list(itertools.accumulate(len(grid) for grid in self._grids))
        self.steps = -(-self._ends[-1] // batch_size)

    def batch(self, epoch, index):
        """Returns `(images, labels, weights)`, the same in every epoch."""
        images = empty_images(self._cases, self._patch, self._halo, self._batch_size)
        numbers = range(index * self._batch_size, (index + 1) * self._batch_size)
        labels = [
            self._sample(min(number, self._ends[-1] - 1), image) for number, image in zip(numbers, images, strict=True)
        ]
        return images, np.stack(labels), np.array([number < self._ends[-1] for number in numbers], np.float32)

    def _sample(self, number, out):
        """Writes an image into `out` and returns its label."""
        which = bisect.bisect_right(self._ends, number)
        window = self._grids[which][number - self._ends[which] + len(self._grids[which])]
        self._cases[which].read_image(window.padded(self._halo), out)
        return self._cases[which].read_label(window)


def checked(cases, patch, halo):
    """Returns cases, patch and halo with one entry per axis, refused where they make no windows."""
    if not cases:
        raise ValueError("data: expected at least one labelled image; received none")
    rank = len(cases[0].image.shape)
    patch, halo = per_axis("patch", patch, rank), halo_pairs(halo, rank)
    if min(patch) < 1 or min(itertools.chain(*halo)) < 0:
        raise ValueError(f"patch: expected positive sizes and a halo of 0 or more; received {patch}, halo {halo}")
    return list(cases), patch, halo


def empty_images(cases, patch, halo, number):
    """Returns memory for the images of a batch."""
    size = [extent + sum(pair) for extent, pair in zip(patch, halo, strict=True)]
    return np.empty((number, *size, cases[0].image.channels), np.float32)


def covering_windows(shape, patch):
    """Returns windows of one size that cover an image, also one that is smaller than the window."""
    windows = window_grid(shape, patch, patch)
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


def served_batch(epoch, index):
    """Returns a batch in a worker process."""
    return _served.batch(epoch, index)
