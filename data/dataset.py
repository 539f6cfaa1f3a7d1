"""Batches of windows for `fit` and `evaluate`: the same for the same seed, whatever the number of workers."""

from __future__ import annotations

import bisect
import itertools

import keras
import numpy as np

from .augment import jitter, symmetries
from .statistics import unknown
from .windows import Window, crop, halo_pairs, per_axis, window_grid

AUGMENTATIONS = ("none", "flips")


class WindowDataset(keras.utils.PyDataset):
    """Batches of windows of labelled images.

    With `shuffle` a batch is `(images, labels)`: each sample shows a random place of a random image, all of it
    determined by `(seed, epoch, index)`. Without, the windows of a grid over every image come once, in order, as
    `(images, labels, weights)`; the last batch is filled up with samples of weight 0.

    Args:
        cases: List of `Case`.
        patch: Size of the label windows, one number or one per axis. Images smaller than that are mirrored.
        batch_size: Samples per batch, divisible by `replicas`.
        steps: Batches per epoch, with `shuffle`; by default as many windows as cover every image once.
        halo: Pixels that the image windows show around the label windows: one number, or per axis a number or a pair
            (before, after).
        seed: Seed of everything random.
        shuffle: Random windows for training, or all windows once for validation.
        augment: `none`, or `flips`: flips, right-angle rotations and a little change of contrast; with `shuffle`.
        replicas: Number of devices that share each batch.
        workers: Threads or processes that read ahead: see `keras.utils.PyDataset`.
        use_multiprocessing: Processes instead of threads.
        max_queue_size: Batches that are read ahead.

    Raises:
        ValueError: Where an argument is out of range.
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
        shuffle=True,
        augment="none",
        replicas=1,
        workers=0,
        use_multiprocessing=False,
        max_queue_size=10,
    ):
        super().__init__(workers=workers, use_multiprocessing=use_multiprocessing, max_queue_size=max_queue_size)
        if not cases:
            raise ValueError("data: expected at least one labelled image; received none")
        rank = len(cases[0].image.shape)
        self._cases = list(cases)
        self._patch = per_axis("patch", patch, rank)
        self._halo = halo_pairs(halo, rank)
        if min(self._patch) < 1 or min(itertools.chain(*self._halo)) < 0:
            raise ValueError(f"patch: expected positive sizes and a halo of 0 or more; received {patch}, halo {halo}")
        if batch_size < 1 or batch_size % replicas:
            raise ValueError(f"batch size: expected a multiple of the {replicas} devices; received {batch_size}")
        if augment not in AUGMENTATIONS:
            raise ValueError(unknown("augment", augment, AUGMENTATIONS))
        self._batch_size = batch_size
        self._seed = seed
        self._shuffle = shuffle
        self._augment = augment if shuffle else "none"
        self._grids = [covering_windows(case.image.shape, self._patch) for case in self._cases]
        self._ends = list(itertools.accumulate(len(grid) for grid in self._grids))
        self._steps = steps if shuffle and steps is not None else -(-self._ends[-1] // batch_size)
        #: Number of the epoch, from which the random windows are drawn; set it to go on with a stopped training.
        self.epoch = 0

    def __len__(self):
        return self._steps

    def __getitem__(self, index):
        if not 0 <= index < self._steps:
            raise IndexError(f"batch: expected an index below {self._steps}; received {index}")
        if self._shuffle:
            rngs = np.random.default_rng([self._seed, self.epoch, index]).spawn(self._batch_size)
            samples = [self._random_sample(rng) for rng in rngs]
            return tuple(np.stack(arrays) for arrays in zip(*samples, strict=True))
        numbers = range(index * self._batch_size, (index + 1) * self._batch_size)
        samples = [self._read(*self._grid_window(min(number, self._ends[-1] - 1)), self._halo) for number in numbers]
        images, labels = (np.stack(arrays) for arrays in zip(*samples, strict=True))
        return images, labels, np.array([number < self._ends[-1] for number in numbers], np.float32)

    def on_epoch_end(self):
        """Moves on to the next epoch's windows."""
        self.epoch += 1

    def _grid_window(self, number):
        case = bisect.bisect_right(self._ends, number)
        return self._cases[case], self._grids[case][number - self._ends[case] + len(self._grids[case])]

    def _random_sample(self, rng):
        case = self._cases[rng.integers(len(self._cases))]
        window = random_window(case.image.shape, self._patch, rng)
        if self._augment == "none":
            return self._read(case, window, self._halo)
        # The same halo on both sides of an axis: image and label have one centre, about which both are turned.
        even = tuple((max(pair), max(pair)) for pair in self._halo)
        image, label = symmetries(*self._read(case, window, even), rng)
        excess = tuple((e[0] - h[0], e[1] - h[1]) for e, h in zip(even, self._halo, strict=True))
        return jitter(crop(image, excess), rng), label

    def _read(self, case, window, halo):
        return case.read_image(window.padded(halo)), case.read_label(window)


def covering_windows(shape, patch):
    """Returns windows of one size that cover an image, also one that is smaller than the window."""
    if all(length >= extent for length, extent in zip(shape, patch, strict=True)):
        return window_grid(shape, patch, patch)
    inside = window_grid(shape, patch, patch)
    offsets = [-(max(extent - length, 0) // 2) for length, extent in zip(shape, patch, strict=True)]
    return [Window(tuple(map(sum, zip(window.offset, offsets, strict=True))), patch) for window in inside]


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
