"""A training step of U-Net over ResNet-34, ours beside the two libraries that people come from.

    pip install --target PEERS torch segmentation-models-pytorch
    PYTHONPATH=PEERS python benchmarks/training_step.py [--patch 256] [--batch 4] [--steps 8] [--rounds 3]

Forward pass, binary cross-entropy, backward pass and Adam in float32 on the same random batch, three input channels, no
data loading. Each library runs in a process of its own, in turns, `--rounds` times; the ratios are taken within a
round. segmentation-models is the Keras one (in requirements); a library that is not installed is left out.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np

# A training step, which returns the loss.
Step = Callable[[], float]


def ours(images: np.ndarray, masks: np.ndarray) -> Step:
    """maskzoo's trainer, as `train` runs it."""
    import tensorflow as tf

    from maskzoo import losses, models, training
    from maskzoo.training import optimisation
    from maskzoo.training.step import Objective, Trainer

    network = models.build_model("backbone_unet", (None, None, 3), 1, encoder="resnet34")
    trainer = Trainer(network, Objective(losses.build_loss("bce")), [])
    trainer.compile(optimisation.make_optimizer(training.Recipe(), network.trainable_variables), jit_compile=False)
    batch = tf.constant(images), tf.constant(masks)
    step = tf.function(trainer.train_step)
    return lambda: float(step(batch)["loss"])


def segmentation_models(images: np.ndarray, masks: np.ndarray) -> Step:
    """Iakubovskii's Keras library, through Keras's own `train_on_batch`."""
    os.environ["SM_FRAMEWORK"] = "tf.keras"
    import segmentation_models as sm

    network = sm.Unet("resnet34", input_shape=(None, None, 3), encoder_weights=None)
    network.compile("adam", "binary_crossentropy", jit_compile=False)
    return lambda: float(np.ravel(network.train_on_batch(images, masks))[0])


def segmentation_models_pytorch(images: np.ndarray, masks: np.ndarray) -> Step:
    """Iakubovskii's PyTorch library, channels last."""
    import segmentation_models_pytorch as smp
    import torch

    network = smp.Unet("resnet34", encoder_weights=None).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters())
    loss = torch.nn.BCEWithLogitsLoss()
    x, y = (
        torch.from_numpy(np.moveaxis(array, -1, 1).copy()).contiguous(memory_format=torch.channels_last)
        for array in (images, masks)
    )

    def step() -> float:
        optimizer.zero_grad()
        value = loss(network(x), y)
        value.backward()
        optimizer.step()
        return float(value)

    return step


LIBRARIES = {
    "maskzoo": (ours, "tensorflow"),
    "segmentation-models": (segmentation_models, "tensorflow"),
    "segmentation-models-pytorch": (segmentation_models_pytorch, "torch"),
}


def measure(library: str, arguments: argparse.Namespace) -> None:
    """Prints the seconds of each step as JSON, after two that warm up."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(arguments.batch, arguments.patch, arguments.patch, 3)).astype("float32")
    masks = (images[..., :1] > 1).astype("float32")
    step = LIBRARIES[library][0](images, masks)
    seconds = []
    for _ in range(arguments.steps + 2):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds[2:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=LIBRARIES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        measure(arguments.only, arguments)
        return
    medians = {}
    for library, (_, framework) in LIBRARIES.items():
        try:
            print(
                f"{library} {version(library if library != 'maskzoo' else 'maskzoo')}, {framework} {version(framework)}"
            )
            medians[library] = []
        except PackageNotFoundError:
            print(f"{library} left out: not installed")
    patch = f"{arguments.patch} x {arguments.patch} x 3"
    print(f"{platform.machine()}, {os.cpu_count()} cores; {patch}, batch {arguments.batch}")
    for _ in range(arguments.rounds):
        for library in medians:
            command = [sys.executable, __file__, *sys.argv[1:], "--only", library]
            # TensorFlow's notices go to the error stream; Keras prints none.
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            medians[library].append(statistics.median(json.loads(done.stdout.splitlines()[-1])))
    for library, values in medians.items():
        ratios = [value / own for value, own in zip(values, medians["maskzoo"], strict=True)]
        median, ratio = statistics.median(values), statistics.median(ratios)
        spread = f"{min(values):.3f} to {max(values):.3f}"
        print(f"{library:<28} {median:.3f} s a step ({spread}), {ratio:.2f} of ours")


if __name__ == "__main__":
    main()
