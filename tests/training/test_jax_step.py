"""Training on the jax backend: a step equals that of TensorFlow wherever jax is installed; what it leaves out."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from training_steps import STEPS, after_steps

from maskzoo import deployment, inference, models
from maskzoo.training import Recipe, devices, doctor

# Keras 3.15 hands its own variables to numpy.array without the copy keyword when it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

TESTS = Path(__file__).resolve().parents[1]
# TensorFlow too: in a process of its own nothing is known but what the files say.
BACKENDS = ["tensorflow", *(name for name in ("jax",) if importlib.util.find_spec(name))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds a small network with batch norms, a batch with a sample that does not count, and weights after steps."""
    folder = tmp_path_factory.mktemp("steps")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 16, 16, 2)).astype("float32")
    batch = images, (images[..., :1] > 0.5).astype("uint8"), np.array([1, 1, 1, 0], "float32")
    np.savez(folder / "batch.npz", **dict(zip(("images", "labels", "weights"), batch, strict=True)))
    keras.utils.set_random_seed(0)
    models.build_model("unet_padded", (None, None, 2), 1, filters=(4, 8)).save(folder / "network.keras")
    for name, options in STEPS.items():
        network = keras.saving.load_model(folder / "network.keras", compile=False)
        arrays = after_steps(network, batch, **options)
        np.savez(folder / f"{name}.npz", **{f"{number:03}": array for number, array in enumerate(arrays)})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_makes_the_same_steps(backend, folder):
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent), *sys.path]),
    }
    done = subprocess.run(
        [sys.executable, TESTS / "training_steps.py", folder],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{backend} agrees" in done.stdout


@pytest.mark.slow
def test_options_make_other_steps(folder):
    """What the backends agree in is not that an option does nothing."""
    weights = {}
    for name in STEPS:
        with np.load(folder / f"{name}.npz") as stored:
            weights[name] = stored["000"]
    for name in ("parts", "clipped", "averaged"):
        assert np.abs(weights[name] - weights["plain"]).max() > 1e-3, name


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"devices": "gpu:2"}, "devices: expected one device on the jax backend; received gpu:2"),
        ({"hosts": "a:1,b:2"}, "hosts: expected one host on the jax backend; received a:1,b:2"),
        ({"xla": True}, "xla: expected false on the jax backend"),
        ({"norm": "sync"}, "norm: expected batch or group on the jax backend"),
        ({"mixed_precision": "float16"}, "mixed_precision: expected none or bfloat16 on the jax backend"),
        ({"deterministic": True}, "deterministic: expected false on the jax backend"),
    ],
)
def test_what_one_device_of_jax_leaves_out_is_refused(options, expected, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="received") as error:
        devices.open_devices(replace(Recipe(), **options))
    assert str(error.value).startswith(expected)


def test_other_backends_do_not_train(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match="KERAS_BACKEND: expected tensorflow, or jax, to train; received torch"):
        devices.open_devices(Recipe())
    with pytest.raises(ValueError, match="KERAS_BACKEND: expected tensorflow for these checks; received torch"):
        next(doctor.examine(Recipe()))


def test_other_backends_have_no_graphs_to_export(monkeypatch, tmp_path):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND: expected tensorflow for export; received jax"):
        deployment.export_bundle(None, tmp_path / "bundle")
    with pytest.raises(ValueError, match="KERAS_BACKEND: expected tensorflow for export; received jax"):
        deployment.export_saved_model(None, tmp_path / "bundle")
    with pytest.raises(ValueError, match="KERAS_BACKEND: expected tensorflow for the engine onnx; received jax"):
        inference.open_engine(None, "onnx")


def test_a_backend_that_is_not_installed_is_named(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(TESTS.parent)}
    hidden = "import sys; sys.modules['jax'] = None; from maskzoo import cli; cli.main('train', ['--model', 'vnet3d'])"
    done = subprocess.run(
        [sys.executable, "-c", hidden], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "error: KERAS_BACKEND: expected a backend that is installed; received jax"
    assert not list(tmp_path.glob("runs/*"))
