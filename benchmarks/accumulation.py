"""What gradient accumulation costs and saves: time per step and peak memory at one batch size, and equal gradients.

    python benchmarks/accumulation.py [--model unet_padded --options JSON] [--patch 256] [--batch 8]

Each row is a process of its own, which builds the model with the same weights, trains on the same batch and prints the
median time of a step, the memory that it took above what it held before the first step (of the process, or of the GPU
if there is one), and how far its gradients are from those of the whole batch at once, relative to their norm. Batch
normalisation is left out: it looks at one micro-batch at a time, and then the gradients differ, as they should.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np


def peak_memory(tensorflow: ModuleType) -> int:
    """Peak bytes so far: of the first GPU, or of the process."""
    if tensorflow.config.list_physical_devices("GPU"):
        return tensorflow.config.experimental.get_memory_info("GPU:0")["peak"]
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def measure(arguments: argparse.Namespace, number: int, gradients_file: str) -> None:
    """Trains some steps with a number of micro-batches and prints what was measured as JSON."""
    import keras
    import tensorflow as tf

    from maskzoo import losses, models, training
    from maskzoo.training import optimisation
    from maskzoo.training.step import Objective, Trainer

    keras.utils.set_random_seed(0)
    option = json.loads(arguments.options)
    network = models.build_model(arguments.model, (None,) * models.spatial_dims_of(arguments.model) + (1,), 1, **option)
    trainer = Trainer(network, Objective(losses.build_loss("bce+dice")), [], accumulate=number)
    trainer.compile(optimisation.make_optimizer(training.Recipe(), network.trainable_variables), jit_compile=False)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(arguments.batch, *(arguments.patch,) * models.spatial_dims_of(arguments.model), 1))
    batch = tf.constant(images, tf.float32), tf.constant(images > 1, tf.float32)
    before = peak_memory(tf)
    gradients = tf.function(trainer.gradients)(batch)
    np.save(gradients_file, np.concatenate([np.ravel(g) for g in gradients]))
    seconds = []
    step = tf.function(trainer.train_step)
    for _ in range(arguments.steps + 1):
        started = time.perf_counter()
        step(batch)["loss"].numpy()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": float(np.median(seconds[1:])), "bytes": peak_memory(tf) - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="unet_padded")
    parser.add_argument("--options", default='{"filters": [16, 32, 64, 128], "batch_norm": false}', help="as JSON")
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if arguments.measure:
        measure(arguments, int(arguments.measure[0]), arguments.measure[1])
        return
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}")
    print(f"{arguments.model}, batch {arguments.batch} of {arguments.patch} pixels along each axis")
    print("micro-batches  seconds per step  peak memory  difference of gradients")
    whole = None
    with tempfile.TemporaryDirectory() as folder:
        for number in arguments.micro_batches:
            file = f"{folder}/{number}.npy"
            command = [sys.executable, *sys.argv, "--measure", str(number), file]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode:
                sys.exit(f"error: {number} micro-batches: {answer.stderr.strip().splitlines()[-1]}")
            measured, gradients = json.loads(answer.stdout.splitlines()[-1]), np.load(file)
            whole = gradients if whole is None else whole
            difference = np.linalg.norm(gradients - whole) / np.linalg.norm(whole)
            print(
                f"{number:13}  {measured['seconds']:16.2f}  {measured['bytes'] / 2**30:8.2f} GB  {difference:23.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
