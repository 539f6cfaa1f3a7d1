"""Predicts a giant TIFF and compares with the bare model: pixels per second, peak memory, and what the plan promised.

    python benchmarks/giant_prediction.py RUN --side 20000

Writes a textured RGB (or grey, as the run needs) BigTIFF of SIDE x SIDE pixels with a georeference, predicts it with
`predict` in a process of its own, and times the run's model alone on tiles of the same size, before and after. Reading,
writing, normalising and starting up show as a ratio below 1; what the halo costs is printed with the plan.
"""

import argparse
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import rasterio

from maskzoo import inference
from maskzoo.inference.tiling import GIGABYTE


def write_giant(path, side, channels):
    """Writes a tiled, compressed BigTIFF of smooth blobs and noise, block row by block row."""
    rng = np.random.default_rng(0)
    block = rng.integers(0, 60, (512, side, channels), np.uint8)
    wave = (90 + 80 * np.sin(np.arange(side) / 37)).astype(np.uint8)
    profile = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "bigtiff": "yes"}
    transform = rasterio.Affine(0.25, 0, 500000, 0, -0.25, 4000000)
    with rasterio.open(
        path, "w", "GTiff", side, side, channels, "EPSG:32633", transform, dtype="uint8", **profile
    ) as file:
        for top in range(0, side, 512):
            rows = min(512, side - top)
            pixels = block[:rows] + (wave[None, :, None] * (0.5 + 0.5 * np.sin(top / 511))).astype(np.uint8)
            file.write(np.moveaxis(pixels, -1, 0), window=((top, top + rows), (0, side)))


def bare_seconds(model, plan, channels, repeats=3):
    """Seconds of the model alone for one batch of the plan's input size, several times."""
    images = np.random.default_rng(0).normal(size=(plan.batch, *plan.input_size, channels)).astype(np.float32)
    model.predict_on_batch(images)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        model.predict_on_batch(images)
        seconds.append(time.perf_counter() - start)
    return seconds


def peak_memory(command):
    """Runs a command and returns the peak of its resident memory in bytes, as Linux tells it while it runs."""
    peak = 0
    with subprocess.Popen(command) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            if found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text()):
                peak = max(peak, 1024 * int(found[1]))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.returncode)
    return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument("--side", type=int, default=20_000, help="pixels per side")
    parser.add_argument("--memory", default="4GB", help="as in predict")
    parser.add_argument("--keep", help="folder to keep the image and the mask in")
    arguments = parser.parse_args()
    run = inference.load_run(arguments.run)
    channels = run.data["channels"]
    gigabytes = float(arguments.memory.removesuffix("GB"))
    plan = inference.plan_tiles(run.model, (arguments.side,) * 2, channels, memory=gigabytes * GIGABYTE)
    with tempfile.TemporaryDirectory(dir=arguments.keep) as folder:
        image, mask = Path(arguments.keep or folder, "giant.tif"), Path(arguments.keep or folder, "giant-mask.tif")
        write_giant(image, arguments.side, channels)
        seconds = bare_seconds(run.model, plan, channels)
        start = time.perf_counter()
        peak = peak_memory(
            [sys.executable, "-m", "maskzoo", "predict", arguments.run, image, mask, "--memory", arguments.memory]
        )
        total = time.perf_counter() - start
        seconds += bare_seconds(run.model, plan, channels)
        with rasterio.open(image) as source, rasterio.open(mask) as result:
            kept = (source.crs, source.transform, source.shape) == (result.crs, result.transform, result.shape)
    pixels = arguments.side**2
    bare = statistics.median(seconds) * -(-plan.tiles // plan.batch)
    print(f"machine         {platform.machine()}, {platform.processor() or platform.platform()}")
    print(f"versions        {', '.join(f'{p} {version(p)}' for p in ('tensorflow', 'keras', 'rasterio', 'maskzoo'))}")
    print(f"plan            {plan}")
    print(f"peak memory     {peak / GIGABYTE:.2f} GB; the plan expected {plan.memory / GIGABYTE:.2f} GB")
    print(f"predict         {pixels / total / 1e6:.2f} megapixels per second ({total:.0f} s, start-up included)")
    print(
        f"bare model      {pixels / bare / 1e6:.2f} megapixels per second ({bare:.0f} s for the same tiles; one batch"
    )
    print(f"                {min(seconds):.2f} to {max(seconds):.2f} s, median {statistics.median(seconds):.2f})")
    print(f"ratio           {bare / total:.2f}")
    print(f"georeference    {'kept' if kept else 'LOST'}")


if __name__ == "__main__":
    main()
