"""Windows per second out of large TIFFs, through the data set with two workers and by rasterio alone.

    python benchmarks/window_rate.py [--size 20000] [--windows 256] [--repeats 5] [--codecs lzw deflate jpeg zstd]

Writes RGB files of SIZE x SIZE pixels in tiles of 256, one codec after the other, into a temporary folder. Then reads
512 x 512 windows at random places: `WindowDataset` (two threads; read, normalised to float32, put into batches of 4
with their labels) beside a bare loop of `rasterio.read` over the same windows, with one thread and with two. Each
repeat takes other windows; the ratio is that of one repeat, its median and its range are printed. Finally the time of
a batch with the `pathology` preset beside that of a training step of `backbone_unet` with a ResNet34 on this machine.
"""

import argparse
import itertools
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GDAL_CACHEMAX", "256")  # for both alike: what the data set takes by default

import cv2
import keras
import numpy as np
import rasterio
from rasterio.windows import Window as Box

from maskzoo import data, losses, models

SIDE, BATCH, WORKERS, BLOCK = 512, 4, 2, 1024
LOADING = data.LoadingOptions(workers=WORKERS)
CODECS = {
    "lzw": {"compress": "lzw", "predictor": 2},
    "deflate": {"compress": "deflate", "predictor": 2},
    "jpeg": {"compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": 85},
    "zstd": {"compress": "zstd", "predictor": 2},
}


# The first row and column of a window, and those behind its end: rows, then columns.
Rows = tuple[tuple[int, int], tuple[int, int]]


def tissue(side: int, rng: np.random.Generator) -> np.ndarray:
    """Returns pixels that compress about as well as stained tissue does: cells, fibres, grain."""
    coarse, fine = (cv2.GaussianBlur(rng.normal(0, 1, (side, side)).astype(np.float32), (0, 0), s) for s in (24, 3))
    amount = np.stack([coarse / coarse.std() + 0.7 * fine / fine.std(), coarse / coarse.std()], axis=-1)
    density = np.exp(0.4 * amount - 1) @ np.float32([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    return np.clip(240 * np.exp(-density) + rng.normal(0, 2, (side, side, 3)), 0, 255).astype(np.uint8)


def write_file(path: Path, size: int, codec: str) -> None:
    """Writes a file block by block."""
    rng = np.random.default_rng(0)
    texture = np.moveaxis(tissue(2 * BLOCK, rng), -1, 0)
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "BIGTIFF": "YES", "NUM_THREADS": 2}
    shape = {"width": size, "height": size, "count": 3, "dtype": "uint8", "interleave": "pixel"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **options, **CODECS[codec]) as file:
        for top, left in itertools.product(range(0, size, BLOCK), repeat=2):
            height, width = min(BLOCK, size - top), min(BLOCK, size - left)
            row, column = rng.integers(0, BLOCK, 2)
            part = texture[:, row : row + height, column : column + width]
            file.write(part, window=Box(left, top, width, height))


class Noted:
    """A source that reads nothing and notes which windows were asked for."""

    def __init__(self, source: data.Source) -> None:
        self.shape, self.channels, self.dtype = source.shape, source.channels, source.dtype
        self.name, self.path, self.windows = "noted", None, []

    def read(self, window: data.Window) -> np.ndarray:
        self.windows.append(window)
        return np.zeros((*window.size, self.channels), self.dtype)


def case(image: data.Source | Noted) -> data.Case:
    """A case of an image under an empty label."""
    label = data.open_source(np.broadcast_to(np.uint8(0), image.shape))
    scheme = data.LabelScheme("binary", ("foreground",), ((0,), (1,)))
    return data.Case("slide", None, image, data.Normalizer("none", 3)(image), scheme.reader(label))


def windows_of(image: data.Source, epoch: int, batches: int) -> list[Rows]:
    """The windows that the data set reads in an epoch."""
    noted = Noted(image)
    dataset = data.WindowDataset([case(noted)], SIDE, BATCH, data.WindowOptions(steps=batches))
    dataset.epoch = epoch
    for index in range(batches):
        dataset[index]
    return [((w.offset[0], w.stop[0]), (w.offset[1], w.stop[1])) for w in noted.windows]


def rate(number: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return number / (time.perf_counter() - start)


def bare(files: Sequence[rasterio.DatasetReader], windows: Sequence[Rows]) -> None:
    """Reads windows, spread over as many threads as there are open files."""
    parts = [windows[first :: len(files)] for first in range(len(files))]

    def read(file: rasterio.DatasetReader, part: Sequence[Rows]) -> None:
        for window in part:
            file.read(window=window)

    if len(files) == 1:
        read(files[0], windows)
        return
    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(read, files, parts))


def measure(path: Path, batches: int, repeats: int) -> np.ndarray:
    """Rates of the data set and of the bare loops with one and two threads, `(repeats, 3)`."""
    image = data.open_source(path)
    dataset = data.WindowDataset([case(image)], SIDE, BATCH, data.WindowOptions(steps=batches), loading=LOADING)
    rates = []
    with rasterio.open(path) as one, rasterio.open(path) as two, rasterio.open(path) as three:
        for dataset.epoch in range(repeats + 1):
            windows = windows_of(image, dataset.epoch, batches)
            jobs = [
                lambda: [dataset[index] for index in range(batches)],
                lambda w=windows: bare([one], w),
                lambda w=windows: bare([two, three], w),
            ]
            order = np.roll(range(3), dataset.epoch)  # so that none is always the first
            found = {place: rate(len(windows), jobs[place]) for place in order}
            rates.append([found[place] for place in range(3)])
    return np.array(rates[1:])  # the first opened the files


def batch_time(path: Path, batches: int) -> float:
    """Milliseconds of a batch with the `pathology` preset, through two workers."""
    options = data.WindowOptions(steps=batches, augment="pathology")
    dataset = data.WindowDataset([case(data.open_source(path))], SIDE, BATCH, options, loading=LOADING)
    dataset[0]
    dataset.on_epoch_end()
    return 1e3 / rate(batches, lambda: [dataset[index] for index in range(batches)])


def step_time(steps: int = 3) -> float:
    """Milliseconds of a training step of `backbone_unet` with a ResNet34, batch and window as above."""
    model = models.build_model("backbone_unet", (SIDE, SIDE, 3), 1, encoder="resnet34")
    model.compile("adam", losses.build_loss("bce+dice", task="binary"), jit_compile=False)
    images = np.random.default_rng(0).random((BATCH, SIDE, SIDE, 3)).astype(np.float32)
    labels = (images[..., :1] > 0.5).astype(np.float32)
    model.train_on_batch(images, labels)
    return 1e3 / rate(steps, lambda: [model.train_on_batch(images, labels) for _ in range(steps)])


def spread(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--windows", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--codecs", nargs="+", default=list(CODECS), choices=list(CODECS))
    parser.add_argument("--no-step", action="store_true", help="leave out the training step")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(0)
    warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
    gdal = rasterio.__gdal_version__
    print(
        f"{platform.machine()}, {os.cpu_count()} cores; Python {platform.python_version()}, NumPy {np.__version__}, ",
        end="",
    )
    print(f"rasterio {rasterio.__version__}, GDAL {gdal}, Keras {keras.__version__}")
    print(
        f"{SIDE} x {SIDE} RGB windows of {arguments.size} x {arguments.size} pixels; medians of {arguments.repeats}\n"
    )
    print("codec       GB   windows/s: data set  rasterio  2 threads   ratio to 1 thread        to 2 threads")
    with tempfile.TemporaryDirectory() as folder:
        for codec in arguments.codecs:
            path = Path(folder) / f"{codec}.tif"
            write_file(path, arguments.size, codec)
            rates = measure(path, arguments.windows // BATCH, arguments.repeats)
            ours, one, two = np.median(rates, axis=0)
            ratios = [spread(rates[:, 0] / rates[:, column]) for column in (1, 2)]
            gigabytes = path.stat().st_size / 1e9
            print(
                f"{codec:<8}{gigabytes:>6.2f}{ours:>21.1f}{one:>10.1f}{two:>11.1f}   {ratios[0]:<24} {ratios[1]}",
                flush=True,
            )
            if codec != arguments.codecs[-1]:
                path.unlink()
        batch = batch_time(path, arguments.windows // BATCH)
        print(f"\npathology preset: {batch:.0f} ms per batch of {BATCH} out of {codec}")
    if not arguments.no_step:
        step = step_time()
        print(
            f"training step of backbone_unet, ResNet34, float32: {step:.0f} ms; the data take {batch / step:.1%} of it"
        )


if __name__ == "__main__":
    main()
