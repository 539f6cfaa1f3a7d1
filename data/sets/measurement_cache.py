"""Small results of long measurements, kept in the user's cache folder from one start to the next."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from math import prod
from pathlib import Path

import numpy as np

from ..images.reading import ends_of_file

CACHED_FROM_PIXELS = 1 << 22


def cache_folder() -> Path:
    """Returns the folder for what may be deleted at any time: `$MASKZOO_CACHE`, or the platform's for this user."""
    if folder := os.environ.get("MASKZOO_CACHE"):
        return Path(folder)
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "maskzoo"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "maskzoo" / "Cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "maskzoo"


def remembered(what, sources, measure, folder=None):
    """Returns the arrays that `measure` returns, from the cache where an earlier call measured the same content.

    Small images and those that come from no file are measured each time: that takes no longer than to look.

    Args:
        what: Text that says what is measured and how.
        sources: The images that it is measured on.
        measure: Function that returns a list of arrays.
        folder: Folder of the cache; by default `cache_folder()`.
    """
    pixels = sum(prod(source.shape) for source in sources)
    if pixels < CACHED_FROM_PIXELS or any(source.path is None for source in sources):
        return measure()
    digest = hashlib.sha256(what.encode())
    for source in sources:
        digest.update(repr((type(source).__name__, source.shape, source.channels, str(source.dtype))).encode())
        digest.update(ends_of_file(source.path) + repr(os.stat(source.path).st_mtime_ns).encode())
    path = (folder or cache_folder()) / f"measured-{digest.hexdigest()[:32]}.npz"
    found = read_arrays(path)
    if found is None:
        made = measure()
        found = {str(number): np.asarray(array) for number, array in enumerate(made)}
        write_arrays(path, found)
    return [found[str(number)] for number in range(len(found))]


def read_arrays(path):
    """Returns the arrays of a cached file by name; None where it is missing or damaged."""
    try:
        with np.load(path) as file:
            return dict(file)
    except Exception:  # whatever a damaged file provokes, it is made anew
        return None


def write_arrays(path, arrays):
    """Writes arrays to a cached file; where that cannot be done it costs time only."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(temporary, **arrays)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
