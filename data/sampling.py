"""Which windows to train on and to validate on, and the batches made of them, by seed, epoch and number alone."""

from __future__ import annotations

import bisect
import itertools

import numpy as np

from .augment import jitter, symmetries
from .statistics import unknown
from .windows import Window, crop, halo_pairs, per_axis, window_grid

AUGMENTATIONS = ("none", "flips")


class RandomWindows:
    """Batches of random windows of random images.

    Args:
        cases: List of `Case`.
        patch: Size of the label windows, one number or one per axis.
        batch_size: Samples per batch.
        steps: Batches per epoch; None: as many windows as cover every image once.
        halo: Pixels that the image windows show around the label windows: see `windows.halo_pairs`.
        seed: Seed of everything random.
        augment: `none`, or `flips`: flips, right-angle rotations and a little change of contrast.
    """

    def __init__(self, cases, patch, batch_size, *, steps=None, halo=0, seed=0, augment="none"):
        self._cases, self._patch, self._halo = checked(cases, patch, halo)
        if augment not in AUGMENTATIONS:
            raise ValueError(unknown("augment", augment, AUGMENTATIONS))
        self._batch_size = batch_size
        self._seed = seed
        self._augment = augment
        windows = sum(len(covering_windows(case.image.shape, self._patch)) for case in self._cases)
        self.steps = -(-windows // batch_size) if steps is None else steps

    def batch(self, epoch, index):
        """Returns `(images, labels)`, determined by seed, epoch and index."""
        rngs = np.random.default_rng([self._seed, epoch, index]).spawn(self._batch_size)
        samples = [self._sample(rng) for rng in rngs]
        return tuple(np.stack(arrays) for arrays in zip(*samples, strict=True))

    def _sample(self, rng):
        case = self._cases[rng.integers(len(self._cases))]
        window = random_window(case.image.shape, self._patch, rng)
        if self._augment == "none":
            return read_sample(case, window, self._halo)
        # The same halo on both sides of an axis: image and label have one centre, about which both are turned.
        even = tuple((max(pair), max(pair)) for pair in self._halo)
        image, label = symmetries(*read_sample(case, window, even), rng)
        excess = tuple((e[0] - h[0], e[1] - h[1]) for e, h in zip(even, self._halo, strict=True))
        return jitter(crop(image, excess), rng), label


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
        numbers = range(index * self._batch_size, (index + 1) * self._batch_size)
        samples = [self._sample(min(number, self._ends[-1] - 1)) for number in numbers]
        images, labels = (np.stack(arrays) for arrays in zip(*samples, strict=True))
        return images, labels, np.array([number < self._ends[-1] for number in numbers], np.float32)

    def _sample(self, number):
        case = bisect.bisect_right(self._ends, number)
        window = self._grids[case][number - self._ends[case] + len(self._grids[case])]
        return read_sample(self._cases[case], window, self._halo)


def checked(cases, patch, halo):
    """Returns cases, patch and halo with one entry per axis, refused where they make no windows."""
    if not cases:
        raise ValueError("data: expected at least one labelled image; received none")
    rank = len(cases[0].image.shape)
    patch, halo = per_axis("patch", patch, rank), halo_pairs(halo, rank)
    if min(patch) < 1 or min(itertools.chain(*halo)) < 0:
        raise ValueError(f"patch: expected positive sizes and a halo of 0 or more; received {patch}, halo {halo}")
    return list(cases), patch, halo


def read_sample(case, window, halo):
    """Returns image, with its halo, and label of a window."""
    return case.read_image(window.padded(halo)), case.read_label(window)


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
