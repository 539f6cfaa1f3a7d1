"""A program that reads damaged data sets, and writes a line of JSON about each: `read_damaged.py JOBS RESULTS FIRST`.

`JOBS` has a line of JSON per data set: its folder, the damaged file, what `read_spec` takes, the number of its axes,
the folder of the undamaged data set, and where the pixels of the file begin. A crash or a hang ends the program; the
last line of `RESULTS` then says which data set was being read.
"""

import faulthandler
import functools
import json
import logging
import os
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

from maskzoo.data.images.statistics import measured_windows
from maskzoo.data.inspection.contents import inspect_data
from maskzoo.data.sets.pairs import open_pairs
from maskzoo.data.sets.spec_file import read_spec
from maskzoo.errors import MaskzooError

SECONDS_PER_FILE = 60
# Of addresses: libraries and threads take most of it.
MEMORY = 6 << 30


def main() -> None:
    """Reads all data sets from a number on."""
    jobs, results, first = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("always")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    logging.getLogger("maskzoo").setLevel(logging.ERROR)
    with open(results, "a") as file:
        for number, line in enumerate(jobs.read_text().splitlines()):
            if number >= first:
                job = json.loads(line)
                print(json.dumps({"number": number}), file=file, flush=True)
                faulthandler.dump_traceback_later(SECONDS_PER_FILE, exit=True)
                print(json.dumps({"number": number, **outcome(job)}), file=file, flush=True)
                faulthandler.cancel_dump_traceback_later()


def outcome(job: dict) -> dict:
    """Reads one data set and returns what came of it."""
    undamaged(job["sample"], job["spec"], job["spatial_dims"])
    folder, before = Path(job["folder"]), (console(), everything_in(Path(job["folder"])))
    started, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pixels, found = None, {}
    try:
        pixels = read(job["folder"], job["spec"], job["spatial_dims"])
    except BaseException as error:
        found["read"] = told(error)
    try:
        found["inspect"] = inspected(job)
    except BaseException as error:
        found["inspect"] = told(error)
    left = [str(part) for part in zip(before, (console(), everything_in(folder)), strict=True) if part[0] != part[1]]
    # What can be read, but not be used, stays open for the next window.
    if f"{job['file']}: expected readable" in found.get("read", {}).get("refused", "").replace(
        "a readable", "readable"
    ):
        left += still_open(job["file"])
    found |= {"left": left, "seconds": time.perf_counter() - started}
    found["megabytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) >> 10
    if pixels is not None:
        found["equal"] = equal_reading(job, pixels)
    return found


def told(error: BaseException) -> dict:
    """Returns what an error says: "refused" if it is written for people, else "escaped" with its traceback."""
    if isinstance(error, MaskzooError):
        return {"refused": str(error)}
    return {"escaped": "".join(traceback.format_exception(error))[-3000:]}


def read(folder: str, spec: str, spatial_dims: int) -> list[np.ndarray]:
    """Opens image and label of a data set, and reads them, their levels and overviews."""
    (pair, *_), _ = open_pairs(read_spec(Path(folder) / spec), spatial_dims, 0)
    pixels = []
    for source in (pair.image, pair.label):
        with source:
            windows = measured_windows(source.shape, 1 << 22)
            pixels.append(np.concatenate([source.read(window).ravel() for window in windows]))
            for window in windows:
                source.valid(window)
            source.thumbnail(tuple(-(-length // 4) for length in source.shape))
            pixels[-1] = np.concatenate([pixels[-1], np.array(source.levels[0][0])])
    return pixels


@functools.cache
def undamaged(folder: str, spec: str, spatial_dims: int) -> list[np.ndarray]:
    """Returns what `read` returns of an undamaged data set."""
    return read(folder, spec, spatial_dims)


def inspected(job: dict) -> dict:
    """Inspects a data set as the verb does."""
    found = inspect_data(read_spec(Path(job["folder"]) / job["spec"]), spatial_dims=job["spatial_dims"])
    for pair in found.pairs:
        for source in (pair.image, pair.label):
            source.close()
    return found.report["suspicious"]


def equal_reading(job: dict, pixels: list[np.ndarray]) -> str:
    """Returns what says the same of image and label: "undamaged", "another reader", or "none"."""
    whole = undamaged(job["sample"], job["spec"], job["spatial_dims"])
    if all(np.array_equal(*both) for both in zip(pixels, whole, strict=True)):
        return "undamaged"
    which = 0 if "images/" in job["file"] else 1
    try:
        other = other_reading(Path(job["file"]), job["pixels_from"], whole[which], pixels[which].size)
    except Exception:
        return "none"
    axes = job["spatial_dims"]
    return "another reader" if np.array_equal(other.ravel(), pixels[which][:-axes]) else "none"


def other_reading(path: Path, start: int, whole: np.ndarray, size: int) -> np.ndarray:
    """Reads an image by another library than ours does, or takes the values out of the file by their place."""
    import cv2
    import tifffile

    suffix = path.suffix
    if suffix == ".tif":
        pixels = tifffile.imread(path)
        return np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 and pixels.shape[-1] > 4 else pixels
    if suffix in (".png", ".jpg", ".jp2", ".webp", ".bmp", ".gif"):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        return pixels[..., ::-1] if pixels.ndim == 3 and pixels.shape[-1] == 3 else pixels
    axes = (40, 48, 6) if suffix != ".dcm" else (96, 80)
    if suffix == ".npy":
        return np.frombuffer(path.read_bytes(), np.uint8, size - 2, start)
    kind = np.uint8 if "masks" in path.parts else np.int16
    values = np.frombuffer(path.read_bytes(), kind, int(np.prod(axes)), start)
    values = values.reshape(axes[::-1]).transpose()
    if suffix == ".dcm":
        values = values.T.astype(np.float64) - 1024
    return values


def console() -> int:
    """Returns how much was written to stderr."""
    sys.stderr.flush()
    return os.fstat(2).st_size


def everything_in(folder: Path) -> list[str]:
    """Returns the names of the files of a data set, and of temporary files."""
    return sorted(os.listdir(os.environ["TMPDIR"])) + sorted(map(str, folder.rglob("*")))


def still_open(path: str) -> list[str]:
    """Returns a file that is open although it was refused."""
    for number in os.listdir("/proc/self/fd"):
        link = Path("/proc/self/fd", number)
        if link.is_symlink() and os.readlink(link) == path:
            return [f"open: {path}"]
    return []


if __name__ == "__main__":
    main()
