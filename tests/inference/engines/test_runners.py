"""Engines give the numbers that Keras gives, at any size; lower precisions come close."""

import keras
import numpy as np
import pytest
from random_weights import randomised

from maskzoo import data, inference, models
from maskzoo.inference.engines.choice import open_engine

FAMILIES = {
    "unet_plus_plus": ({"filters": (4, 6, 8), "deep_supervision": True}, (32, 48)),
    "pspnet": ({"encoder": "resnet18", "pyramid_filters": 4}, (64, 32)),
    "vnet3d": ({"depth": 2, "start_filters": 4}, (8, 12, 16)),
}


def random_model(name, shape, classes, **options):
    keras.utils.set_random_seed(1)
    return randomised(models.build_model(name, shape, classes, **options))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_engines_agree_with_keras_at_any_size(name, random_images):
    options, size = FAMILIES[name]
    model = random_model(name, (*(None,) * len(size), 3), 2, **options)
    keras_engine = open_engine(model)
    others = [open_engine(model, kind) for kind in ("onnx", "openvino")]
    for batch, shape in ((2, size), (1, size[::-1])):
        images = random_images(shape, batch)
        expected = keras_engine.predict(images)
        for engine in others:
            received = engine.predict(images)
            assert (received.shape, received.dtype) == ((batch, *shape, 2), np.float32)
            np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4 * np.ptp(expected))


def test_engines_take_batches_of_any_size(unet, random_images):
    engines = [open_engine(unet, kind) for kind in ("keras", "saved_model", "onnx", "openvino")]
    for batch, size in ((2, (16, 24)), (1, (32, 8)), (3, (16, 24))):
        images = random_images(size, batch)
        expected, *others = (engine.predict(images) for engine in engines)
        for received in others:
            assert (received.shape, received.dtype) == ((batch, *size, 1), np.float32)
            np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4 * np.ptp(expected))


@pytest.mark.slow
def test_lower_precisions_come_close(run, random_images):
    images = random_images((32, 32))
    expected = open_engine(run).predict(images)
    for kind in ("onnx", "openvino"):
        received = open_engine(run, kind, "int8").predict(images)
        assert 0.95 < np.corrcoef(received.ravel(), expected.ravel())[0, 1] < 1
    # The ranges are those of the training images; a bare model has none.
    with pytest.raises(ValueError, match="expected a run with training images for int8"):
        open_engine(run.model, "onnx", "int8")


def test_an_engine_predicts_an_image_tile_by_tile(unet):
    pixels = np.random.default_rng(0).normal(size=(70, 90, 3)).astype(np.float32)
    source = data.open_source(pixels, spatial_dims=2)
    plan = inference.plan_tiles(unet, source.shape, 3, inference.TileOptions(tile=32))
    engine = open_engine(unet, "onnx")
    for (window, expected), (same, received) in zip(
        inference.predict_tiles(unet, source.read, plan),
        inference.predict_tiles(engine, source.read, plan),
        strict=True,
    ):
        assert window == same
        np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4 * np.ptp(expected))
