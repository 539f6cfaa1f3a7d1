"""What a process keeps of the files that it reads: open files, decoded tiles, volumes, up to a limit."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import cachetools
import numpy as np

Value = TypeVar("Value")
Voxels = Any  # an array, or one of nibabel's proxies of an array in a file, which share no type

VOLUME_BYTES_PER_PROCESS = 1 << 30


class ReaderCache(Generic[Value]):
    """The most recently used values of one process; a forked child starts without its parent's.

    The least recently used values go when the sizes pass the limit. A value larger than the limit is kept alone.

    Args:
        limit: Bound on the sum of the sizes of all values.
        size: Function from a value to its size; by default every value counts 1.
    """

    def __init__(self, limit: int, size: Callable[[Value], int] | None = None) -> None:
        self._limit = limit
        self._size = size
        # The values that a parent process had: dropping them would close files that the two processes share.
        self._inherited: object = None
        self._forget()

    def _forget(self) -> None:
        self._values: cachetools.LRUCache[Hashable, Value] = cachetools.LRUCache(self._limit, self._counted)
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _counted(self, value: Value) -> int:
        return 1 if self._size is None else min(self._size(value), self._limit)

    def __len__(self) -> int:
        return len(self._values) if self._process == os.getpid() else 0

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Returns the value of a key, and makes it if there is none. Threads that come at once may each make one."""
        if self._process != os.getpid():
            self._inherited = self._values
            self._forget()
        with self._lock:
            if key in self._values:
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
        return value

    def drop(self, key: Hashable) -> None:
        """Forgets a value of this process."""
        if self._process == os.getpid():
            with self._lock:
                self._values.pop(key, None)


def held_bytes(voxels: Voxels) -> int:
    """Returns the memory of a kept volume: its voxels, or next to nothing where they stay in the file."""
    return voxels.nbytes if isinstance(voxels, np.ndarray) else 4096


# Volumes of all formats share one limit.
volumes: ReaderCache[Voxels] = ReaderCache(VOLUME_BYTES_PER_PROCESS, held_bytes)
