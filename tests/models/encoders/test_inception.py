"""The Inceptions of segmentation_models: strides, sizes, and the weights of keras.applications that fit."""

import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.encoders import feature_strides
from maskzoo.models.encoders.inception import ScaledSum, stable_names


def test_features_lie_at_the_strides_and_can_be_saved(tmp_path):
    encoder = models.build_encoder("inceptionv3", (None, None, 1))
    assert feature_strides(encoder) == [2, 4, 8, 16, 32]
    assert [x.shape[-1] for x in encoder.outputs] == [64, 192, 288, 768, 2048]
    assert not analysis.geometry(encoder).is_global
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    image = np.random.default_rng(0).normal(size=(1, 64, 32, 1)).astype("float32")
    for one, other in zip(encoder(image), loaded(image), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_weights_fit(encoder, published):
    names = stable_names(layer.name for layer in published.layers)
    shapes = {names.get(layer.name, layer.name): [w.shape for w in layer.weights] for layer in published.layers}
    weighted = [layer for layer in encoder.layers if layer.weights]
    assert len(weighted) == sum(bool(shape) for shape in shapes.values())
    for layer in weighted:
        assert [w.shape for w in layer.weights] == shapes[layer.name], layer.name


def test_weights_of_keras_applications_fit_by_their_order():
    published = keras.applications.InceptionV3(include_top=False, weights=None)
    assert_weights_fit(models.build_encoder("inceptionv3", (None, None, 3)), published)


@pytest.mark.slow
def test_the_residual_one_has_the_same_strides_no_lambda_and_weights_that_fit():
    encoder = models.build_encoder("inceptionresnetv2", (None, None, 3))
    assert feature_strides(encoder) == [2, 4, 8, 16, 32]
    assert [x.shape[-1] for x in encoder.outputs] == [64, 192, 320, 1088, 1536]
    assert not analysis.geometry(encoder).is_global
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in encoder.layers)
    assert_weights_fit(encoder, keras.applications.InceptionResNetV2(include_top=False, weights=None))


def test_layers_without_names_are_numbered_in_the_order_of_their_creation():
    names = ["batch_normalization_11", "conv2d_10", "conv2d_9", "batch_normalization_9", "mixed0", "activation_9"]
    assert stable_names(names) == {
        "conv2d_9": "conv1",
        "conv2d_10": "conv2",
        "batch_normalization_9": "conv1_bn",
        "batch_normalization_11": "conv2_bn",
        "activation_9": "conv1_relu",
    }


def test_a_residual_branch_is_scaled():
    x = np.array([[[[1.0, 2.0]]]], "float32")
    np.testing.assert_allclose(ScaledSum(0.5)([x, 2 * x]), 2 * x)
