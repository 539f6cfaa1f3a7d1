"""Attention by channel and by position."""

import keras
import numpy as np
import pytest
import small_models  # noqa: F401 (registers the encoder "tiny")

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.squeeze_excitation import scse


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 2)])
def test_features_are_weighed_by_channel_and_by_position(size):
    x = keras.Input((*size, 32))
    model = keras.Model(x, scse(x, name="it"))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, weight.shape) for weight in model.weights])
    image = rng.normal(size=(1, *size, 32)).astype("float32")

    def dense(x, layer):
        kernel, bias = model.get_layer(layer).get_weights()
        return x @ kernel.reshape(kernel.shape[-2:]) + bias

    mean = image.mean(axis=tuple(range(1, image.ndim - 1)))
    by_channel = _sigmoid(dense(np.maximum(dense(mean, "it_channel_squeeze"), 0), "it_channel_excite"))
    by_position = _sigmoid(dense(image, "it_position"))
    assert model.get_layer("it_channel_squeeze").filters == 2
    np.testing.assert_allclose(model.predict_on_batch(image), image * (by_channel + by_position), atol=1e-5)


def test_zeros_leave_features_as_they_are():
    x = keras.Input((4, 4, 8))
    model = keras.Model(x, scse(x, name="it"))
    model.set_weights([np.zeros(weight.shape) for weight in model.weights])
    image = np.random.default_rng(0).normal(size=(1, 4, 4, 8)).astype("float32")
    np.testing.assert_allclose(model.predict_on_batch(image), image, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("backbone_unet", {"encoder": "tiny", "decoder_filters": [8, 6, 6, 4, 4]}),
        ("manet", {"encoder": "tiny", "decoder_filters": [8, 6, 6, 4, 4]}),
        ("unet_plus_plus", {"filters": [4, 6, 8]}),
    ],
)
def test_attention_weighs_input_and_output_of_every_decoder_block_and_sees_the_whole_image(name, options):
    blocks = {"unet_plus_plus": ["node0_1", "node1_1", "node0_2"]}.get(name, [f"decoder{level}" for level in range(5)])
    model = models.build_model(name, (None, None, 3), 2, attention="scse", **options)
    layers = {layer.name for layer in model.layers if layer.name.endswith("_scse")}
    assert layers == {f"{block}_{side}_scse" for block in blocks for side in ("in", "out")}
    assert any("pools the whole image" in layer for layer in analysis.geometry(model).global_layers)
    plain = models.build_model(name, (None, None, 3), 2, **options)
    assert not [layer.name for layer in plain.layers if layer.name.endswith("_scse")]
    assert model(np.zeros((1, 32, 64, 3), "float32")).shape == (1, 32, 64, 2)


def test_attention_takes_volumes():
    model = models.build_model("unet_plus_plus", (None, None, None, 1), filters=[2, 3], attention="scse")
    assert model(np.zeros((1, 4, 8, 4, 1), "float32")).shape == (1, 4, 8, 4, 1)
