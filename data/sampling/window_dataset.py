"""Batches of windows for `fit` and `evaluate`: the same for the same seed, whatever the number of workers."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import keras

from .random_windows import GridWindows, RandomWindows, running_shares, serve, served_batch


class WindowDataset(keras.utils.PyDataset):
    """Batches of windows of labelled images.

    With `shuffle` a batch is `(images, labels)`: each sample shows a random place of a random image, all of it
    determined by `(seed, epoch, index)`. Without, the windows of a grid over every image come once, in order, as
    `(images, labels, weights)`; the last batch is filled up with samples of weight 0.

    The workers are our own: those of Keras 3.15 hand batches that they read for building the model to the first epoch.
    Give `shuffle=False` to `fit`, which would else ask for the batches in an order that the seed does not determine.

    Args:
        cases: List of `Case`; one that has a `weight` is drawn in proportion to it.
        patch: Size of the label windows, one number or one per axis. Images smaller than that are mirrored.
        batch_size: Samples per batch, divisible by `replicas`.
        steps: Batches per epoch, with `shuffle`; by default as many windows as cover every image once.
        halo: Pixels that the image windows show around the label windows: one number, or per axis a number or a pair
            (before, after).
        seed: Seed of everything random.
        shuffle: Random windows for training, or all windows once for validation.
        augment: `none`; `flips`: flips, right-angle rotations and a little change of contrast; a preset (`light`,
            `pathology`, `xray`, `volume`) or a list of transforms: see `transforms.Augmentation`; with `shuffle`.
        balance: Mapping from class name to the share of windows that show the class, with `shuffle`.
        windows: `random`: any place of any image; `all`: every window of a grid over every image, in another order each
            epoch; `tissue`: only where an overview of the image shows more than background; `positive`: only windows
            that show a class other than the background. With `shuffle`.
        overlap: Share of a window, from 0 to below 1, by which neighbours in the grid overlap.
        hard: Share of the windows that is drawn from `grid_windows` in proportion to what `set_hardness` was given.
        scales: Scales at which images are shown, each 1 divided by a whole number, such as `[1, 0.5, 0.25]`; each
            sample has one of them, the same size in pixels and so more of the image. With `shuffle`.
        mix: Shares of the samples that are put together from several: `{"cutmix": 0.3}` (a box of another sample) and,
            in 2D, `mosaic` (four samples that meet at a point). With `shuffle`.
        soften: Standard deviation in pixels of a Gaussian over binary or multilabel masks, for lines that are thinner
            than their place is known; labels are then float32 between 0 and 1, or 255. With `shuffle`.
        limit: Most windows to show, evenly spread over the grid, without `shuffle`.
        replicas: Number of devices that share each batch.
        share: `(number, of)`: the batches are that one of equal parts of each, as for one of several hosts.
        workers: Threads or processes that read ahead; 0 reads when asked.
        use_multiprocessing: Processes instead of threads. They are spawned, so a script that trains must be guarded by
            `if __name__ == "__main__":`.
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
        balance=None,
        windows="random",
        overlap=0.0,
        hard=0.0,
        scales=None,
        mix=None,
        soften=0.0,
        limit=None,
        replicas=1,
        share=(0, 1),
        workers=0,
        use_multiprocessing=False,
        max_queue_size=4,
    ):
        super().__init__()
        if batch_size < 1 or batch_size % replicas:
            raise ValueError(f"batch size: expected a multiple of the {replicas} devices; received {batch_size}")
        if batch_size % share[1] or not 0 <= share[0] < share[1]:
            raise ValueError(f"share: expected one of several equal parts of {batch_size} samples; received {share}")
        self._shuffle = shuffle
        if shuffle:
            self._batches = RandomWindows(
                cases,
                patch,
                batch_size,
                steps=steps,
                halo=halo,
                seed=seed,
                augment=augment,
                balance=balance,
                windows=windows,
                overlap=overlap,
                hard=hard,
                scales=scales,
                mix=mix,
                soften=soften,
                share=share,
            )
        else:
            self._batches = GridWindows(cases, patch, batch_size, halo=halo, overlap=overlap, limit=limit, share=share)
        self._hardness = None
        self._readers = (workers, use_multiprocessing, max_queue_size)
        #: The epoch whose random windows are drawn, one more after each call of `on_epoch_end`. `fit` calls that once
        #: before its first epoch too; so set it to the number of epochs done to go on with a training.
        self.epoch = 0
        self._start()

    def __len__(self):
        return self._batches.steps

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"batch: expected an index below {len(self)}; received {index}")
        epoch = self.epoch if self._shuffle else 0
        if not self._readers[0]:
            return self._batches.batch(epoch, index, self._hardness)
        with self._lock:
            self._pool = self._pool or self._open_pool()
            ahead = [(epoch, number) for number in range(index, min(index + 1 + self._readers[2], len(self)))]
            for key in self._pending.keys() - set(ahead):
                self._pending.pop(key).cancel()
            for key in ahead:
                if key not in self._pending:
                    self._pending[key] = self._pool.submit(self._make, *key, self._hardness)
            batch = self._pending[epoch, index]
        return batch.result()

    @property
    def grid_windows(self):
        """The windows of the grid over all images: a sequence of pairs of `Case` and `Window`.

        A data set of the same cases, patch and overlap with `shuffle=False` shows them in this order.
        """
        return self._batches.grid

    def set_hardness(self, weights):
        """Sets how often each of `grid_windows` is drawn among the `hard` ones, from the next batch on.

        Args:
            weights: One number of 0 or more per window, such as its loss in the last epoch; only their ratios matter.

        Raises:
            ValueError: Where they are not that, or none is above 0.
        """
        hardness = running_shares(weights, len(self.grid_windows))
        with self._lock:
            self._hardness = hardness
            # What was read ahead was drawn by the weights of before.
            for batch in self._pending.values():
                batch.cancel()
            self._pending = {}

    def on_epoch_end(self):
        """Moves on to the next epoch's windows."""
        self.epoch += 1

    def _start(self):
        self._pool = None
        self._pending = {}
        self._lock = threading.Lock()

    def _open_pool(self):
        workers, processes, _ = self._readers
        if not processes:
            self._make = self._batches.batch
            return ThreadPoolExecutor(workers)
        self._make = served_batch
        # A forked process would inherit the locks of TensorFlow's and GDAL's threads, but not the threads.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, context, initializer=serve, initargs=(self._batches,))

    def __getstate__(self):
        return {k: v for k, v in self.__dict__.items() if k not in ("_pool", "_pending", "_lock", "_make")}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._start()
