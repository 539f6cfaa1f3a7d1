"""What a worker of a cluster calls: this file is imported before Keras, which announces itself on stderr."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from maskzoo import machine
from maskzoo.errors import ConnectionLost

if TYPE_CHECKING:
    import numpy as np

# Keras models answer one thread at a time; Dask may give a process several.
ANSWERING = Lock()


def predict_parts(
    predictor: bytes, image: bytes, needed: tuple[str, ...], first: int, stop: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Predicts some parts of an image.

    Args:
        predictor: A run, or an ensemble: see `cluster_job.PackedJob`.
        image: An image: see there.
        needed: Paths that the worker must see.
        first: Number of the first part.
        stop: Number of the part behind the last one.

    Returns:
        A list of values, and what each label recorder recorded.

    Raises:
        ConnectionLost: If the worker does not see a path.
    """
    for path in needed:
        if not Path(path).exists():
            raise ConnectionLost(
                f"`cluster`: expected workers that see {path}; received {socket.gethostname()}, which does not"
            )
    try:
        with ANSWERING:
            with notices_hidden():
                from .cluster_job import answer
            return answer(predictor, image, first, stop)
    except (ValueError, OSError) as error:
        # Those of GDAL, which it may stem from, cannot be sent.
        error.__cause__ = error.__context__ = None
        raise


def free_for_worker() -> tuple[str, int]:
    """The name of this machine, and the bytes that are free on it."""
    return socket.gethostname(), machine.free_memory()


@contextmanager
def notices_hidden() -> Iterator[None]:
    """Keeps from stderr what TensorFlow's C++ code prints past every log level while it is imported, as a context."""
    if "tensorflow" in sys.modules:
        yield
        return
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)
