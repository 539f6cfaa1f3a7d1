"""Batches of windows for `fit` and `evaluate`: the same for the same seed, whatever the number of workers."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from maskzoo.errors import OptionError

from ..windows import Halo, Window
from .case_grid import Batch, CaseGrid, GridWindows, WindowBatches
from .options import LoadingOptions, WindowOptions
from .random_windows import RandomWindows, cumulated_weights

if TYPE_CHECKING:
    from ..sets.cases import Case

# What is made again in a copy of a data set: locks and pools cannot be pickled.
NOT_PICKLED = ("_pool", "_pending", "_lock", "_make")


class WindowDataset(keras.utils.PyDataset):
    """Batches of windows of labelled images.

    With `shuffle` a batch is `(images, labels)`: each sample shows a random place of a random image, fully determined
    by `(seed, epoch, index)`. Without, the windows of a grid over every image come once, in order, as
    `(images, labels, weights)`, or a chosen part of them with a `limit`; the last batch is filled up with samples of
    weight 0.

    The workers are our own: those of Keras 3.15 hand batches that they read for building the model to the first epoch.
    Pass `shuffle=False` to `fit`, which would otherwise ask for the batches in an order that the seed does not
    determine.

    Args:
        cases: The cases, drawn in proportion to their weights.
        patch: Size of the label windows, one number or one per axis. Images smaller than that are mirrored.
        batch_size: Samples per batch, divisible by the number of devices.
        options: Which windows are drawn, and how they are changed; by default anywhere, as they are. Without `shuffle`
            only their overlap counts.
        halo: Pixels that the image windows show around the label windows: one number, or per axis a number or a pair
            (before, after).
        shuffle: Random windows for training, or all windows once for validation.
        limit: Most windows to show without `shuffle`: some of every image and of every class, chosen by the seed, with
            weights as many as each stands for.
        loading: How batches are loaded and divided; by default on demand, for one device.

    Raises:
        OptionError: If an argument is out of range.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        patch: int | Sequence[int],
        batch_size: int,
        options: WindowOptions | None = None,
        *,
        halo: Halo = 0,
        shuffle: bool = True,
        limit: int | None = None,
        loading: LoadingOptions | None = None,
    ) -> None:
        super().__init__()
        options, loading = options or WindowOptions(), loading or LoadingOptions()
        if batch_size < 1 or batch_size % loading.replicas:
            raise OptionError("batch_size", f"a multiple of the {loading.replicas} devices", batch_size)
        if batch_size % loading.shard[1]:
            raise OptionError("batch_size", f"a multiple of the {loading.shard[1]} shards", batch_size)
        self._shuffle = shuffle
        self._batches: WindowBatches
        if shuffle:
            self._batches = RandomWindows(cases, patch, batch_size, options, halo=halo, shard=loading.shard)
        else:
            self._batches = GridWindows(
                cases,
                patch,
                batch_size,
                halo=halo,
                overlap=options.overlap,
                limit=limit,
                shard=loading.shard,
                seed=options.seed,
            )
        self._hardness: np.ndarray | None = None
        self._loading = loading
        #: The epoch whose random windows are drawn, one more after each call of `on_epoch_end`. `fit` also calls that
        #: once before its first epoch; so set it to the number of finished epochs to resume a training.
        self.epoch = 0
        self._reset_workers()

    def __len__(self) -> int:
        return self._batches.steps

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(f"batch: expected an index below {len(self)}; received {index}")
        epoch = self.epoch if self._shuffle else 0
        if not self._loading.workers:
            return self._batches.batch(epoch, index, self._hardness)
        with self._lock:
            self._pool = self._pool or self._open_pool()
            last = min(index + 1 + self._loading.max_queue_size, len(self))
            ahead = [(epoch, number) for number in range(index, last)]
            for key in self._pending.keys() - set(ahead):
                self._pending.pop(key).cancel()
            for key in ahead:
                if key not in self._pending:
                    self._pending[key] = self._pool.submit(self._make, *key, self._hardness)
            batch = self._pending[epoch, index]
        return batch.result()

    def read(self, index: int) -> Batch:
        """Returns a batch of the present epoch, without reading others ahead."""
        return self._batches.batch(self.epoch if self._shuffle else 0, index, self._hardness)

    @property
    def grid_windows(self) -> CaseGrid:
        """The windows of the grid over all images: a sequence of pairs of `Case` and `Window`.

        A data set of the same cases, patch and overlap with `shuffle=False` shows them in this order.
        """
        return self._batches.grid

    @property
    def shown(self) -> list[tuple[Case, Window]]:
        """The windows that an epoch shows without `shuffle`, in order."""
        if not isinstance(self._batches, GridWindows):
            return []
        return [self.grid_windows[int(number)] for number in self._batches.shown]

    def sample(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the image and the label of one of `shown`, without `shuffle`.

        Raises:
            OptionError: If windows are drawn at random.
        """
        if not isinstance(self._batches, GridWindows):
            raise OptionError("shuffle", "False for windows that have numbers", True)
        return self._batches.sample(number)

    def set_hardness(self, weights: Sequence[float] | np.ndarray) -> None:
        """Sets how often each of `grid_windows` is drawn among the hard examples, from the next batch on.

        Args:
            weights: One number of 0 or more per window, such as its loss in the last epoch; only their ratios matter.

        Raises:
            OptionError: If there is not one weight of 0 or more per window, or none is above 0.
        """
        hardness = cumulated_weights(weights, len(self.grid_windows))
        with self._lock:
            self._hardness = hardness
            # Batches that were read ahead were drawn by the previous weights.
            for batch in self._pending.values():
                batch.cancel()
            self._pending = {}

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch's windows."""
        self.epoch += 1

    def _reset_workers(self) -> None:
        self._pool: Executor | None = None
        self._pending: dict[tuple[int, int], Future[Batch]] = {}
        self._lock = threading.Lock()
        self._make: Callable[..., Batch] = self._batches.batch

    def _open_pool(self) -> Executor:
        if not self._loading.use_multiprocessing:
            return ThreadPoolExecutor(self._loading.workers)
        self._make = served_batch
        # A forked process would inherit the locks of TensorFlow's and GDAL's threads, but not the threads.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._loading.workers, context, initializer=serve, initargs=(self._batches,))

    # Any: values of all attributes.
    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in NOT_PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:  # attributes of whatever types
        self.__dict__.update(state)
        self._reset_workers()


_served: WindowBatches | None = None


def serve(batches: WindowBatches) -> None:
    """Keeps, in a worker process, what batches are made from."""
    global _served
    _served = batches


def served_batch(epoch: int, index: int, hardness: np.ndarray | None) -> Batch:
    """Returns a batch in a worker process that `serve` was called in."""
    if _served is None:
        raise RuntimeError("served_batch: expected a call of serve before; received none")
    return _served.batch(epoch, index, hardness)
