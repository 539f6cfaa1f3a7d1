"""Predicts a large int16 volume, as it is stored and at spacings: peak memory, what the plan promised, and seconds.

    python benchmarks/giant_volume.py
    python benchmarks/giant_volume.py --shape 512 512 800 --suffix .nii.gz --spacing none 1,1,1 0.5,0.5,1.5

The volume has voxels of 0.7 x 0.7 x 1 mm; the network is a 3D U-Net of two levels with random weights. Every prediction
is a process of its own. The volume itself takes 0.39 GB at the default size; the output in a file and the files that
the network is loaded from count as memory while the system keeps them, which is told apart from what cannot be given
back.
"""

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from maskzoo import models
from maskzoo.inference.options import GIGABYTE

SIZE = (0.7, 0.7, 1.0)


def write_volume(path: Path, shape: Sequence[int]) -> None:
    """Writes waves and noise, section by section as far as the format allows."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 200, shape[:2]).astype(np.int16)
    voxels = np.empty(shape, np.int16, order="F")
    for section in range(shape[2]):
        voxels[..., section] = np.roll(noise, 17 * section, axis=0) + int(400 * math.sin(section / 31))
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*SIZE, 1])), path)
        return
    image = sitk.GetImageFromArray(voxels.T)
    image.SetSpacing(SIZE)
    sitk.WriteImage(image, str(path), useCompression=True)


def write_run(folder: Path, spacing: Sequence[float] | None) -> None:
    """Writes the run folder of a tiny 3D U-Net that reads volumes at a spacing."""
    folder.mkdir()
    model = models.build_model("unet3d_padded", input_shape=(None, None, None, 1), num_classes=1, filters=(4, 8))
    model.save(folder / "best.keras")
    described = {"task": "binary", "class_names": ["lesion"], "channels": 1, "rank": 3, "patch": [64, 64, 64]}
    described |= {"normalization": {"kind": "none", "channels": 1}, "spec": {"orientation": "RAS", "spacing": spacing}}
    (folder / "data.json").write_text(json.dumps(described))
    (folder / "decision.json").write_text(json.dumps({"thresholds": [0.5]}))


def measured(command: Sequence[object]) -> tuple[float, float, float, str]:
    """Runs a command; returns the peak of its memory and of that which is in no file, in GB, seconds, and the plan."""
    start, peaks, plan = time.perf_counter(), [0, 0], ""
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True) as process:
        status = Path(f"/proc/{process.pid}/status")
        lines: list[str] = []
        while process.poll() is None:
            for number, name in enumerate(("VmHWM", "RssAnon")):
                if found := re.search(rf"{name}:\s+(\d+) kB", status.read_text()):
                    peaks[number] = max(peaks[number], 1024 * int(found[1]))
            time.sleep(0.05)
        if process.stdout is not None:
            lines = process.stdout.read().splitlines()
    if process.returncode:
        raise SystemExit("\n".join(lines[-5:]))
    plan = next((line for line in lines if "expected memory" in line), "")
    return peaks[0] / GIGABYTE, peaks[1] / GIGABYTE, time.perf_counter() - start, plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 800], help="voxels along x, y and z")
    parser.add_argument("--suffix", default=".nii.gz", help="format of the volume, such as .nii, .nii.gz or .nrrd")
    parser.add_argument("--spacing", nargs="+", default=["none", "1,1,1", "0.6,0.6,0.8"], help="sizes to read at")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="further options of predict")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, f"volume{arguments.suffix}")
        write_volume(image, arguments.shape)
        print(f"volume          {' x '.join(map(str, arguments.shape))} int16, {arguments.suffix}", flush=True)
        for number, spacing in enumerate(arguments.spacing):
            sizes = None if spacing == "none" else [float(size) for size in spacing.split(",")]
            run, mask = Path(folder, f"run{number}"), Path(folder, f"mask{number}.nii.gz")
            write_run(run, sizes)
            command = [sys.executable, "-m", "maskzoo", "predict", run, image, mask, *arguments.options]
            peak, private, seconds, plan = measured(command)
            print(f"spacing         {spacing}")
            print(f"plan            {plan}")
            print(f"peak memory     {peak:.2f} GB, of which {private:.2f} GB in no file; {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
