"""Sums of losses in training: values of reference implementations, weights, replicas, saved models."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from labelled_logits import image_and_labels, logit, mirrored, sample, tiny_model

from maskzoo import losses

# TensorFlow 2.21 reads its variables in a way that NumPy 2.4 warns of whenever a model is saved.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ROWS = json.loads((Path(__file__).resolve().parents[1] / "contracts" / "losses.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["loss"])
def test_values_of_reference_implementations(row):
    p = np.array(row["probability"])
    logits = np.log(p) if row["options"].get("task") == "multiclass" else logit(p)
    value = losses.build_loss(row["loss"], **row["options"])(np.array(row["y_true"]), logits)
    assert float(value) == pytest.approx(row["expected"], abs=row["tolerance"])


def test_samples_are_weighed():
    labels, logits = sample("binary", (4, 3, 3))
    loss = losses.build_loss("bce+dice")
    value = loss(labels, logits, sample_weight=np.array([1, 0, 2, 0]))
    expected = float(loss(labels[:1], logits[:1])) + 2 * float(loss(labels[2:3], logits[2:3]))
    assert float(value) == pytest.approx(expected / 4, rel=1e-6)


@pytest.mark.parametrize("spec", ["0.5*bce+dice+lovasz", "nonempty(focal_tversky)"])
@pytest.mark.usefixtures("two_devices")
def test_replicas_and_micro_batches_take_the_step_of_the_whole_batch(spec):
    image, labels = image_and_labels()
    steps = []
    for strategy in (tf.distribute.get_strategy(), mirrored()):
        with strategy.scope():
            model = tiny_model()
            model.compile(keras.optimizers.SGD(0.1), losses.build_loss(spec))
        history = model.fit(image, labels, batch_size=8, verbose=0, shuffle=False)
        steps.append((history.history["loss"][0], *model.get_weights()))
    for one, two in zip(*steps, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


def test_deep_supervision_weighs_each_output(tmp_path):
    inputs = keras.Input((8, 8, 1))
    heads = {name: keras.layers.Conv2D(1, 1, name=name)(inputs) for name in ("mask", "aux2")}
    label = keras.layers.GlobalMaxPooling2D(name="label")(heads["mask"])
    model = keras.Model(inputs, {**heads, "label": label})
    image, mask = image_and_labels(4)
    labels = {"mask": mask, "aux2": mask, "label": mask.max((1, 2))}
    parts = {"mask": losses.build_loss("bce+dice"), "aux2": losses.build_loss("bce"), "label": losses.build_loss("bce")}
    outputs = model(image)
    expected = sum(
        w * float(parts[k](labels[k], outputs[k])) for k, w in {"mask": 1, "aux2": 0.4, "label": 0.1}.items()
    )
    model.compile("sgd", parts, loss_weights={"mask": 1.0, "aux2": 0.4, "label": 0.1})
    assert model.evaluate(image, labels, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)
    specs = {"mask": "bce+dice", "aux2": "0.4*(bce)", "label": "0.1*bce"}
    model.compile("sgd", {name: losses.build_loss(spec) for name, spec in specs.items()})
    assert model.evaluate(image, labels, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(image, labels, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_loaded_model_has_the_same_loss(tmp_path):
    image, labels = image_and_labels(2)
    labels[:, 0] = 255
    model = tiny_model()
    model.compile("sgd", losses.build_loss("bce+2*dice", ignore_index=255, smooth=0.5, squared=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(image, labels, verbose=0) == pytest.approx(model.evaluate(image, labels, verbose=0))
    assert loaded.loss.get_config() == model.loss.get_config()
