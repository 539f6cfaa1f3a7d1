"""Kills predictions at random moments and goes on with them: the result must have the bytes of an undisturbed one.

    python tests/check_kill.py --times 10

A small U-Net predicts an image of 3,072 x 3,072 pixels in a process that gets SIGKILL at a random moment of the time
that it needs; the same is started again, and killed again every other time. Each kind of output has its turn.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import rasterio

from maskzoo import cli, models
from maskzoo.inference import (
    journal,
)
from maskzoo.postprocessing import cleaning as postprocess  # noqa: F401

OUTPUTS = (["mask.tif"], ["p.tif", "--probabilities", "uint8"], ["runs.csv"], ["areas.geojson"], ["cog.tif", "--cog"])


def prepare(folder, side):
    """Writes a run and an image; in a process of its own, since TensorFlow does not survive a fork once it has run."""
    keras.utils.set_random_seed(0)
    path = folder / "run"
    path.mkdir()
    models.build_model("unet_padded", (None, None, 1), 3, filters=(4, 8)).save(path / "best.keras")
    described = {"task": "multiclass", "class_names": ["ground", "a", "b"], "channels": 1, "rank": 2, "patch": 64}
    described["normalization"] = {"kind": "none", "channels": 1}
    (path / "data.json").write_text(json.dumps(described))
    (path / "decision.json").write_text(json.dumps({"thresholds": [0.5] * 3}))
    coarse = np.random.default_rng(0).integers(0, 256, (side // 64, side // 64)).astype(np.uint8)
    options = {"dtype": "uint8", "crs": "EPSG:32616", "transform": rasterio.Affine(1, 0, 5, 0, -1, 5)}
    with rasterio.open(folder / "image.tif", "w", "GTiff", side, side, 1, **options) as file:
        file.write(np.kron(coarse, np.ones((64, 64), np.uint8)), 1)


def in_child(work):
    """Starts a forked process."""
    sys.stdout.flush()
    if process := os.fork():
        return process
    try:
        journal.COMMIT_SECONDS = 0.2
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            work()
    finally:
        os._exit(0)


def predict(folder, output):
    name, *options = output
    arguments = [str(folder / part) for part in ("run", "image.tif", name)]
    return in_child(lambda: cli.main("predict", [*arguments, "--tile", "128", *options]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--side", type=int, default=3072)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        os.waitpid(in_child(lambda: prepare(folder, arguments.side)), 0)
        known = {}
        for trial in range(arguments.times):
            output = OUTPUTS[trial % len(OUTPUTS)]
            path = folder / output[0]
            if path not in known:
                start = time.perf_counter()
                os.waitpid(predict(folder, output), 0)
                known[path] = path.read_bytes(), time.perf_counter() - start
            whole, seconds = known[path]
            path.unlink()
            kills = []
            for _ in range(1 + trial % 2):
                process = predict(folder, output)
                moment = moments.uniform(0, seconds)
                time.sleep(moment)
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                lines = folder / f".{path.name}.journal"
                done = (
                    [json.loads(line).get("parts", 0) for line in lines.read_text().splitlines()]
                    if lines.exists()
                    else []
                )
                kills.append(f"{moment:.1f} s ({max(done, default=0)} parts)")
            os.waitpid(predict(folder, output), 0)
            same = path.read_bytes() == whole
            different += not same
            left = [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]
            answer = "same bytes" if same and not left else f"DIFFERENT, or left behind: {left}"
            print(f"{path.name:<14} {seconds:4.1f} s; killed after {' and '.join(kills)}: {answer}", flush=True)
    sys.exit(different)


if __name__ == "__main__":
    main()
