"""Small results of long measurements, kept in the user's cache folder from one start to the next."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import ArrayLike

from maskzoo.files import written_atomically

from .image_files import ends_of_file
from .source import Source

CACHED_FROM_PIXELS = 1 << 22

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Returns the folder for what may be deleted at any time: `$MASKZOO_CACHE`, or the platform's for this user."""
    if folder := os.environ.get("MASKZOO_CACHE"):
        return Path(folder)
    return platformdirs.user_cache_path("maskzoo", appauthor=False)


def remembered(
    what: str, sources: Sequence[Source], measure: Callable[[], Sequence[ArrayLike]], folder: Path | None = None
) -> list[np.ndarray]:
    """Returns the arrays that `measure` returns, from the cache if an earlier call measured the same content.

    Small images and images without a file are measured each time, which takes no longer than looking them up.

    Args:
        what: Text that says what is measured and how.
        sources: The images that it is measured on.
        measure: Function that returns the arrays.
        folder: Folder of the cache; by default `cache_folder()`.
    """
    pixels = sum(prod(source.shape) for source in sources)
    if pixels < CACHED_FROM_PIXELS or not all(source.files for source in sources):
        return [np.asarray(array) for array in measure()]
    digest = hashlib.sha256(what.encode())
    for source in sources:
        facts = (type(source).__name__, source.shape, source.channels, str(source.dtype), source.notes)
        digest.update(repr(facts).encode())
        digest.update(repr(None if source.frame.affine is None else source.frame.affine.tolist()).encode())
        for path in source.files:
            digest.update(ends_of_file(path) + repr(os.stat(path).st_mtime_ns).encode())
    file = (folder or cache_folder()) / f"measured-{digest.hexdigest()[:32]}.npz"
    found = read_arrays(file)
    if found is None:
        found = {str(number): np.asarray(array) for number, array in enumerate(measure())}
        write_arrays(file, found)
    return [found[str(number)] for number in range(len(found))]


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Returns the arrays of a cached file by name; `None` if it is missing or damaged."""
    try:
        with np.load(path) as file:
            return dict(file)
    except Exception:  # whatever a damaged file provokes, it is made again
        return None


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike]) -> None:
    """Writes arrays to a cached file; if that fails, they are measured again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(path) as unfinished:
            np.savez_compressed(unfinished, allow_pickle=False, **arrays)
    except OSError as error:
        logger.debug("%s: not written, will be measured again: %s", path, error)
