"""Memory and time of reading training windows, with labels, from an image that is larger than memory.

  python benchmarks/giant_windows.py --side 100000 --objects 50000

Writes a sparse RGB BigTIFF of SIDE x SIDE pixels and a run-length CSV with a row for each of OBJECTS round objects,
then reads windows of image and label at random places in a process of its own; prints milliseconds per window and the
peak memory of the process.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from maskzoo import data

BLOCK = 512


def write_image(path: Path, side: int) -> None:
    from maskzoo.data.images.raster_files import open_raster

    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "bigtiff": "yes"}
    with open_raster(
        path, "w", driver="GTiff", height=side, width=side, count=3, dtype="uint8", sparse_ok=True, **layout
    ) as file:
        noise = np.random.default_rng(0).integers(0, 255, (3, BLOCK, BLOCK)).astype(np.uint8)
        for place in range(0, side - BLOCK, side // 10 // BLOCK * BLOCK or BLOCK):
            file.write(noise, window=((place, place + BLOCK), (place, place + BLOCK)))


def write_runs(path: Path, side: int, objects: int) -> None:
    """Writes a row of column-major runs for each disc, of 10 to 60 pixels radius."""
    rng = np.random.default_rng(0)
    with open(path, "w", encoding="utf-8") as table:
        table.write("id,encoding\n")
        for _ in range(objects):
            radius = int(rng.integers(10, 61))
            row, column = rng.integers(radius, side - radius, 2)
            steps = np.arange(-radius + 1, radius)
            half = np.sqrt(radius**2 - steps**2).astype(int)
            starts = (column + steps) * side + row - half + 1
            runs = np.stack([starts, 2 * half + 1], axis=1).ravel()
            table.write(f"giant,{' '.join(map(str, runs))}\n")


def read_windows(folder: Path, number: int, size: int) -> None:
    """Reads windows of image and label and prints what it took."""
    start = time.perf_counter()
    spec = data.DataSpec(path=str(folder), labels="train.csv", task="binary", normalization="none")
    from maskzoo.data.sets.cases import make_cases
    from maskzoo.data.sets.pairs import open_pairs, scheme_of

    pairs, bands = open_pairs(spec, 2, 0)
    case = make_cases(pairs, scheme_of(spec, pairs, bands), data.Normalizer("none", 3))[0]
    opened = time.perf_counter() - start
    rng = np.random.default_rng(1)
    shown, start = 0, time.perf_counter()
    for _ in range(number):
        offset = rng.integers(0, np.subtract(case.image.shape, size) + 1)
        window = data.Window(offset, (size, size))
        case.read_image(window)
        shown += int(case.read_label(window).any())
    each = (time.perf_counter() - start) / number * 1000
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
    print(f"opened in       {opened:.1f} s")
    print(f"windows         {number} of {size} x {size}, {shown} with objects, {each:.1f} ms each")
    print(f"peak memory     {peak} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=100_000, help="pixels per axis")
    parser.add_argument("--objects", type=int, default=50_000, help="rows of the run-length CSV")
    parser.add_argument("--windows", type=int, default=300, help="windows to read")
    parser.add_argument("--size", type=int, default=512, help="pixels per axis of a window")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read_windows(arguments.read, arguments.windows, arguments.size)
        return
    import rasterio

    versions = f"python {platform.python_version()}, numpy {np.__version__}, rasterio {rasterio.__version__}"
    print(f"machine         {platform.machine()}, {os.cpu_count()} cores; {versions}, GDAL {rasterio.__gdal_version__}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images").mkdir()
        write_image(Path(folder) / "images" / "giant.tif", arguments.side)
        write_runs(Path(folder) / "train.csv", arguments.side, arguments.objects)
        print(f"image           {arguments.side} x {arguments.side} x 3; {arguments.objects} objects")
        options = ["--read", folder, "--windows", str(arguments.windows), "--size", str(arguments.size)]
        subprocess.run([sys.executable, __file__, *options], check=True)


if __name__ == "__main__":
    main()
