"""A run is read with a network that gives logits, whatever its model ends in."""

import shutil

import keras
import numpy as np
import pytest

from maskzoo.errors import RunError
from maskzoo.inference.run import read_run


def with_activation(run, target, activation):
    """A copy of a run whose model ends in an activation."""
    shutil.copytree(run, target)
    model = keras.saving.load_model(run / "best.keras", compile=False)

    def changed(layer):
        config = layer.get_config()
        return type(layer).from_config({**config, "activation": activation} if layer.name == "mask" else config)

    copy = keras.models.clone_model(model, clone_function=changed)
    copy.set_weights(model.get_weights())
    copy.save(target / "best.keras")
    return target


def test_a_model_that_ends_in_a_sigmoid_predicts_from_its_logits(trained_run, tmp_path):
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    plain = read_run(trained_run).model(images)
    sigmoid = read_run(with_activation(trained_run, tmp_path / "sigmoid", "sigmoid")).model(images)
    np.testing.assert_allclose(sigmoid, plain, atol=1e-5)
    assert np.min(plain) < 0


def test_a_model_without_logits_is_refused(trained_run, tmp_path):
    with pytest.raises(RunError, match=r"best.keras: expected a model whose outputs are logits; received .*relu"):
        read_run(with_activation(trained_run, tmp_path / "relu", "relu"))
