"""The same forward pass on every installed backend, weights carried over by `.keras` files."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from small_models import OURS, SMALL

from maskzoo import models

HERE = Path(__file__).parent
# TensorFlow too: in a process of its own nothing is known but what the file and the package say.
BACKENDS = ["tensorflow", *(name for name in ("jax", "torch") if importlib.util.find_spec(name))]
LIBRARIES = ("resnet18", "mobilenet", "efficientnet_b0", "convnext_tiny")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds a small model of every architecture and an encoder of every family, with an input and its output."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    for name, small in SMALL.items():
        free = (None,) * len(small.sizes[0])
        model = models.build_model(name, (*free, small.channels), 2, **small.options)
        _keep(folder / name, model, small.sizes[0])
    for name, build in OURS.items():
        _keep(folder / f"encoder_{name}", build((None, None, 3)), (64, 96))
    for name in LIBRARIES:
        _keep(folder / f"encoder_{name}", models.build_encoder(name, (None, None, 3)), (64, 96))
    _keep(
        folder / "slices",
        models.inflate_25d(models.build_model("fpn", (None, None, 1), 2, encoder="mobilenet")),
        (32, 32, 4),
    )
    refined = models.with_crf(models.build_model("unet_padded", (None, None, 1), 2, filters=(4, 6)), "multilabel")
    _keep(folder / "crf", refined, (16, 24))
    return folder


def _keep(path, model, size):
    rng = np.random.default_rng(1)
    images = [rng.normal(size=(1, *size, image.shape[-1])).astype("float32") for image in model.inputs]
    outputs = keras.tree.flatten(model(images if len(images) > 1 else images[0]))
    model.save(path.with_suffix(".keras"))
    values = {f"input{index}": image for index, image in enumerate(images)}
    values |= {f"output{index}": keras.ops.convert_to_numpy(output) for index, output in enumerate(outputs)}
    np.savez(path.with_suffix(".npz"), **values)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_gives_the_same_outputs(backend, folder):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, HERE / "check_models.py", folder], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{backend} agrees" in done.stdout
