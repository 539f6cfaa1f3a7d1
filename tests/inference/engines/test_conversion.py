"""Networks are converted once, for any size, and kept beside their run."""

import sys

import keras
import numpy as np
import pytest
from random_weights import randomised
from small_models import OURS, build_encoder

from maskzoo import models
from maskzoo.errors import MissingPackage, OptionError
from maskzoo.inference.engines import conversion
from maskzoo.inference.engines.choice import open_engine


@pytest.mark.slow
@pytest.mark.parametrize("family", OURS)
def test_our_encoders_are_converted_for_any_size(family, random_images):
    """Sizes that are no multiples of an attention's windows, after a conversion without sizes."""
    keras.utils.set_random_seed(0)
    encoder = randomised(build_encoder(family, (None, None, 3)))
    model = keras.Model(encoder.inputs, encoder.outputs[-1])
    engine = open_engine(model, "onnx")
    for size in ((64, 96), (160, 32)):
        images = random_images(size)
        expected = open_engine(model).predict(images)
        np.testing.assert_allclose(engine.predict(images), expected, rtol=0, atol=1e-4 * np.ptp(expected))


def test_a_run_is_converted_once_and_again_when_its_model_changes(run, monkeypatch, random_images):
    first = open_engine(run, "onnx").predict(random_images((16, 24)))
    (kept,) = (run.path / "engines").iterdir()
    assert kept.name.startswith("best-")
    monkeypatch.setattr(conversion, "to_onnx", None)
    np.testing.assert_array_equal(open_engine(run, "onnx").predict(random_images((16, 24))), first)
    monkeypatch.undo()
    run.model.layers[-1].set_weights([weights + 1 for weights in run.model.layers[-1].get_weights()])
    run.model.save(run.path / "best.keras")
    assert np.abs(open_engine(run, "onnx").predict(random_images((16, 24))) - first).max() > 0.1
    (new,) = (run.path / "engines").iterdir()
    assert new.name != kept.name


def test_a_failed_conversion_leaves_nothing(run, monkeypatch):
    def fail(function, path):
        path.write_bytes(b"half")
        raise RuntimeError("broken")

    monkeypatch.setattr(conversion, "to_onnx", fail)
    with pytest.raises(RuntimeError, match="broken"):
        open_engine(run, "onnx")
    assert list((run.path / "engines").iterdir()) == []


@pytest.mark.slow
def test_the_order_of_the_converter_s_steps_does_not_matter(monkeypatch, random_images):
    from tf2onnx import optimizer

    steps = optimizer._optimizers.copy()
    steps.move_to_end("remove_identity", last=False)
    monkeypatch.setattr(optimizer, "_optimizers", steps)
    keras.utils.set_random_seed(0)
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(2, 4))
    images = random_images((16, 24), 2)
    received = open_engine(model, "onnx").predict(images)
    expected = open_engine(model).predict(images)
    assert received.shape == expected.shape == (2, 16, 24, 1)
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4 * np.ptp(expected))
    assert list(optimizer._optimizers) == list(steps)


def test_a_batch_norm_is_rounded_with_its_convolution(run):
    import onnx

    open_engine(run, "onnx", "int8")
    (path,) = (run.path / "engines").glob("*.int8.onnx")
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("Conv") == sum("conv" in type(layer).__name__.lower() for layer in run.model.layers)
    assert not {"BatchNormalization", "Add"} & set(kinds)


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(MissingPackage, match=r'expected the package onnxruntime; .*pip install "maskzoo\[export\]"'):
        conversion.needed("onnxruntime.quantization")


def test_a_model_of_two_images_is_refused():
    inputs = [keras.Input((None, None, 1)), keras.Input((None, None, 1))]
    with pytest.raises(OptionError, match="engine: expected keras for a model of 2 images"):
        conversion.network(keras.Model(inputs, keras.layers.Add()(inputs)))
