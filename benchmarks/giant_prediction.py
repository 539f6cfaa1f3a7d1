"""Predicts a giant TIFF and compares with the bare model: pixels per second, peak memory, and what the plan promised.

    python benchmarks/giant_prediction.py RUN --shape 20000 20000
    python benchmarks/giant_prediction.py RUN --shape 100000 60000 --sparse --options --tissue
    python benchmarks/giant_prediction.py RUN --shape 5000 5000 10000 10000 20000 20000 40000 40000

Writes a textured RGB (or grey, as the run needs) BigTIFF with a georeference, predicts it with `predict` in a process
of its own, and times the run's model alone on tiles of the same size, before and after. Reading, writing, normalising
and starting up show as a ratio below 1; what the halo costs is printed with the plan. With --sparse nine tenths of the
image are blocks that the file does not hold; the model answers once for tiles of one colour, so the ratio is above 1.
With --tissue only tiles with tissue count.
"""

import argparse
import math
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import rasterio

from maskzoo import data, inference, models
from maskzoo.cli.sizes import parse_bytes
from maskzoo.inference.options import GIGABYTE
from maskzoo.inference.tile_plan import TilePlan, covered_windows


def write_giant(path: Path, shape: Sequence[int], channels: int, sparse: bool) -> None:
    """Writes a tiled, compressed BigTIFF of waves and noise, block row by block row."""
    height, width = shape
    rng = np.random.default_rng(0)
    block = rng.integers(0, 60, (512, width, channels), np.uint8)
    wave = (90 + 80 * np.sin(np.arange(width) / 37)).astype(np.uint8)
    profile = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "bigtiff": "yes"}
    transform = rasterio.Affine(0.25, 0, 500000, 0, -0.25, 4000000)
    with rasterio.open(
        path, "w", "GTiff", width, height, channels, "EPSG:32633", transform, "uint8", sparse_ok=True, **profile
    ) as file:
        for top in range(0, height, 512):
            rows = min(512, height - top)
            # A tenth: a third of the columns in a third of the rows.
            columns = width if not sparse else width // 3 // 512 * 512
            if sparse and not height // 3 <= top < 2 * height // 3:
                continue
            pixels = block[:rows] + (wave[None, :, None] * (0.5 + 0.5 * np.sin(top / 511))).astype(np.uint8)
            file.write(np.moveaxis(pixels[:, :columns], -1, 0), window=((top, top + rows), (0, columns)))


def bare_seconds(whole: keras.Model, plan: TilePlan, channels: int, least: float = 20) -> list[float]:
    """Seconds of the model alone for one batch of the plan's tiles: three times, and for `least` seconds."""
    model = models.cropped(whole, plan.input_size, plan.part) if plan.share < 1 else whole
    images = np.random.default_rng(0).normal(size=(plan.batch, *plan.input_size, channels)).astype(np.float32)
    model.predict_on_batch(images)
    seconds = []
    while len(seconds) < 3 or sum(seconds) < least:
        start = time.perf_counter()
        model.predict_on_batch(images)
        seconds.append(time.perf_counter() - start)
    return seconds


def peak_memory(command: Sequence[object]) -> int:
    """Runs a command and returns the peak of its resident memory in bytes, as Linux reports it while it runs."""
    peak = 0
    with subprocess.Popen([str(part) for part in command]) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            if found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text()):
                peak = max(peak, 1024 * int(found[1]))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.returncode)
    return peak


def measure(run: inference.Run, arguments: argparse.Namespace, shape: Sequence[int], folder: str) -> None:
    """Predicts one image and prints what it took."""
    channels = run.data.channels
    image, mask = Path(folder, "giant.tif"), Path(folder, "giant-mask.tif")
    write_giant(image, shape, channels, arguments.sparse)
    with data.open_source(image) as source:
        plan = inference.plan_image(
            run,
            source,
            inference.TileOptions(memory=parse_bytes(arguments.memory)),
        )
        tiles = plan.tiles
        if "--tissue" in arguments.options:
            tiles = sum(map(data.tissue_finder(source), covered_windows(plan)))
    seconds = bare_seconds(run.model, plan, channels)
    start = time.perf_counter()
    command = [sys.executable, "-m", "maskzoo", "predict", arguments.run, image, mask, "--memory", arguments.memory]
    peak = peak_memory([*command, *arguments.options])
    total = time.perf_counter() - start
    seconds += bare_seconds(run.model, plan, channels)
    with rasterio.open(image) as source, rasterio.open(mask) as result:
        kept = (source.crs, source.transform, source.shape) == (result.crs, result.transform, result.shape)
    pixels = math.prod(shape)
    bare = statistics.median(seconds) * -(-tiles // plan.batch)
    print(f"plan            {plan}")
    print(f"peak memory     {peak / GIGABYTE:.2f} GB; the plan expected {plan.memory / GIGABYTE:.2f} GB")
    print(f"predict         {pixels / total / 1e6:.2f} megapixels per second ({total:.0f} s, start-up included)")
    print(f"bare model      {pixels / bare / 1e6:.2f} megapixels per second ({bare:.0f} s for {tiles} tiles; one batch")
    print(f"                {min(seconds):.2f} to {max(seconds):.2f} s, median {statistics.median(seconds):.2f})")
    print(f"ratio           {bare / total:.2f}")
    print(f"georeference    {'kept' if kept else 'LOST'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument(
        "--shape", type=int, nargs="+", default=[20_000, 20_000], help="rows and columns; pairs of them"
    )
    parser.add_argument("--sparse", action="store_true", help="most of the image is not in the file")
    parser.add_argument("--memory", default="4GB", help="as in predict")
    parser.add_argument("--keep", help="folder to keep the image and the mask in")
    parser.add_argument(
        "--options", nargs=argparse.REMAINDER, default=[], help="further options of predict, at the end"
    )
    arguments = parser.parse_args()
    run = inference.load_run(arguments.run)
    print(f"machine         {platform.machine()}, {platform.processor() or platform.platform()}")
    print(f"versions        {', '.join(f'{p} {version(p)}' for p in ('tensorflow', 'keras', 'rasterio', 'maskzoo'))}")
    for shape in zip(arguments.shape[::2], arguments.shape[1::2], strict=True):
        with tempfile.TemporaryDirectory(dir=arguments.keep) as folder:
            measure(run, arguments, shape, arguments.keep or folder)


if __name__ == "__main__":
    main()
