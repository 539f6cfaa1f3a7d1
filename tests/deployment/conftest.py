"""Models whose far pixels matter and whose masks are half full, and runs of them."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from random_weights import randomised

from maskzoo import data, models
from maskzoo.inference.run import Run
from maskzoo.inference.run_files import Decision, RunData


def decisive_model(name, input_shape, classes=1, **options):
    """A model with weights large enough that far pixels matter, half of whose pixels are in each class."""
    keras.utils.set_random_seed(1)
    model = randomised(models.build_model(name, input_shape, classes, **options))
    *axes, channels = input_shape
    size = (64 if len(axes) == 2 else 16,) * len(axes)
    images = np.random.default_rng(0).normal(size=(1, *size, channels))
    logits = keras.tree.flatten(model.predict_on_batch(images.astype(np.float32)))[0]
    bias = model.weights[-1]
    assert bias.shape == (classes,)
    bias.assign_sub(np.median(logits.reshape(-1, classes), axis=0))
    return model


def run_of(model, task="binary", normalization=None, thresholds=None, path="run"):
    """A run with a model, as if it had been trained."""
    classes, channels = model.outputs[0].shape[-1], model.inputs[0].shape[-1]
    normalization = normalization or data.Normalizer("dataset", channels, (127.5,) * channels, (74.0,) * channels)
    spatial_dims = len(model.inputs[0].shape) - 2
    description = RunData(
        task=task,
        class_names=tuple(f"class{number}" for number in range(classes)),
        channels=channels,
        spatial_dims=spatial_dims,
        patch=(16,) * spatial_dims,
        normalization=normalization.as_dict(),
    )
    thresholds = tuple(thresholds or [0.5] * classes)
    return Run(Path(path), model, description, thresholds, Decision(thresholds))


@pytest.fixture(scope="session")
def make_model():
    """`decisive_model`, built once for the same arguments."""
    built = {}

    def make(*arguments, **options):
        key = repr((arguments, options))
        if key not in built:
            built[key] = decisive_model(*arguments, **options)
        return built[key]

    return make


@pytest.fixture(scope="session")
def make_run():
    return run_of


@pytest.fixture(scope="session")
def unet(make_model):
    return make_model("unet_padded", (None, None, 3), filters=(4, 8))


@pytest.fixture(scope="session")
def run_folder(unet, tmp_path_factory):
    """The folder of a run for which `decide` chose a threshold of 0.4."""
    path = tmp_path_factory.mktemp("runs") / "run"
    path.mkdir()
    unet.save(path / "best.keras")
    normalization = data.Normalizer("dataset", 3, (120.0, 130.0, 126.0), (70.0, 75.0, 74.0))
    run_of(unet, normalization=normalization).data.write(path)
    (path / "decision.json").write_text(json.dumps({"thresholds": [0.4]}))
    return path


@pytest.fixture
def noise():
    """A function to random images `(*size, channels)`."""

    def make(size, channels=3, dtype=np.uint8, seed=0):
        return np.random.default_rng(seed).integers(0, 256, (*size, channels)).astype(dtype)

    return make
