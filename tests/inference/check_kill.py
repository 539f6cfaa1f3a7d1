"""Kills predictions at random moments and resumes them: the result must have the bytes of an undisturbed one.

    python tests/inference/check_kill.py --times 10

A small U-Net predicts an image of 3,072 x 3,072 pixels in a process that is killed at a random moment of the time that
it needs; the same is started again, and killed again every other time. Each kind of output has its turn.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import rasterio

from maskzoo import models

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = (["mask.tif"], ["p.tif", "--probabilities", "uint8"], ["runs.csv"], ["areas.geojson"], ["cog.tif", "--cog"])


def prepare(folder, side):
    """Writes a run and an image."""
    keras.utils.set_random_seed(0)
    path = folder / "run"
    path.mkdir()
    models.build_model("unet_padded", (None, None, 1), 3, filters=(4, 8)).save(path / "best.keras")
    described = {"task": "multiclass", "class_names": ["ground", "a", "b"], "channels": 1, "rank": 2, "patch": [64, 64]}
    described["normalization"] = {"kind": "none", "channels": 1}
    (path / "data.json").write_text(json.dumps(described))
    (path / "decision.json").write_text(json.dumps({"thresholds": [0.5] * 3}))
    coarse = np.random.default_rng(0).integers(0, 256, (side // 64, side // 64)).astype(np.uint8)
    options = {"dtype": "uint8", "crs": "EPSG:32616", "transform": rasterio.Affine(1, 0, 5, 0, -1, 5)}
    with rasterio.open(folder / "image.tif", "w", "GTiff", side, side, 1, **options) as file:
        file.write(np.kron(coarse, np.ones((64, 64), np.uint8)), 1)


CHILD = """
import sys
sys.path.insert(0, {root!r})
from maskzoo import cli
from maskzoo.inference import journal
journal.COMMIT_SECONDS = 0.2
cli.main("predict", sys.argv[1:])
"""


def predict(folder, output):
    """Starts a prediction in a process of its own."""
    name, *options = output
    arguments = [str(folder / part) for part in ("run", "image.tif", name)]
    command = [sys.executable, "-c", CHILD.format(root=str(ROOT)), *arguments, "--tile", "128", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


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
        prepare(folder, arguments.side)
        known = {}
        for trial in range(arguments.times):
            output = OUTPUTS[trial % len(OUTPUTS)]
            path = folder / output[0]
            if path not in known:
                start = time.perf_counter()
                predict(folder, output).wait()
                known[path] = path.read_bytes(), time.perf_counter() - start
            whole, seconds = known[path]
            path.unlink()
            kills = []
            for _ in range(1 + trial % 2):
                process = predict(folder, output)
                moment = moments.uniform(0, seconds)
                time.sleep(moment)
                process.kill()
                process.wait()
                lines = folder / f".{path.name}.journal"
                done = (
                    [json.loads(line).get("parts", 0) for line in lines.read_text().splitlines()]
                    if lines.exists()
                    else []
                )
                kills.append(f"{moment:.1f} s ({max(done, default=0)} parts)")
            predict(folder, output).wait()
            same = path.read_bytes() == whole
            different += not same
            left = [entry.name for entry in folder.iterdir() if entry.name.startswith(".")]
            answer = "same bytes" if same and not left else f"DIFFERENT, or left behind: {left}"
            print(f"{path.name:<14} {seconds:4.1f} s; killed after {' and '.join(kills)}: {answer}", flush=True)
    sys.exit(different)


if __name__ == "__main__":
    main()
