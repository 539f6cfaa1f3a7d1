"""Engines give the numbers that Keras gives, are converted once, and the fastest one that agrees is taken."""

import json
import sys
import time

import keras
import numpy as np
import pytest
from random_weights import randomised
from test_encoders import OURS, our_family
from test_export import as_run, lively, noise

from maskzoo import cli, data, inference, models
from maskzoo.inference import engines

FAMILIES = {
    "unet_plus_plus": ({"filters": (4, 6, 8), "deep_supervision": True}, (32, 48)),
    "pspnet": ({"encoder": "resnet18", "pyramid_filters": 4}, (64, 32)),
    "vnet3d": ({"depth": 2, "start_filters": 4}, (8, 12, 16)),
}


def random_images(size, batch=1):
    return np.random.default_rng(0).normal(size=(batch, *size, 3)).astype(np.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_engines_agree_with_keras_at_any_size(name):
    options, size = FAMILIES[name]
    model = lively(name, (*(None,) * len(size), 3), 2, **options)
    keras_engine = engines.open_engine(model)
    others = [engines.open_engine(model, kind) for kind in ("onnx", "openvino")]
    for batch, shape in ((2, size), (1, size[::-1])):
        images = random_images(shape, batch)
        expected = keras_engine.predict(images)
        for engine in others:
            received = engine.predict(images)
            assert (received.shape, received.dtype) == ((batch, *shape, 2), np.float32)
            np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4 * np.ptp(expected))


@our_family
def test_our_encoders_are_converted_for_any_size(family):
    """Sizes that are no multiples of an attention's windows, after a conversion without sizes."""
    keras.utils.set_random_seed(0)
    encoder = randomised(OURS[family]((None, None, 3)))
    model = keras.Model(encoder.inputs, encoder.outputs[-1])
    engine = engines.open_engine(model, "onnx")
    for size in ((64, 96), (160, 32)):
        images = random_images(size)
        expected = engines.open_engine(model).predict(images)
        np.testing.assert_allclose(engine.predict(images), expected, rtol=0, atol=1e-4 * np.ptp(expected))


@pytest.fixture
def run(tmp_path):
    """A run in a folder, with images to calibrate on."""
    model = lively("unet_padded", (None, None, 3), filters=(4, 8))
    folder = tmp_path / "run"
    folder.mkdir()
    model.save(folder / "best.keras")
    images, masks = tmp_path / "data" / "images", tmp_path / "data" / "masks"
    for number in range(3):
        for kind, values in ((images, noise((40, 40), seed=number)), (masks, noise((40, 40), 1) // 128)):
            kind.mkdir(parents=True, exist_ok=True)
            np.save(kind / f"{number}.npy", values)
    described = data.load_data(str(tmp_path / "data"), spatial_dims=2).as_mapping()
    (folder / "data.json").write_text(json.dumps({**described, "patch": [32, 32]}))
    (folder / "decision.json").write_text(json.dumps({"thresholds": [0.5]}))
    return inference.load_run(folder)


def test_a_run_is_converted_once_and_again_when_its_model_changes(run, monkeypatch):
    first = engines.open_engine(run, "onnx").predict(random_images((16, 24)))
    (kept,) = (run.path / "engines").iterdir()
    assert kept.name.startswith("best-")
    monkeypatch.setattr(engines, "to_onnx", None)
    np.testing.assert_array_equal(engines.open_engine(run, "onnx").predict(random_images((16, 24))), first)
    monkeypatch.undo()
    run.model.layers[-1].set_weights([weights + 1 for weights in run.model.layers[-1].get_weights()])
    run.model.save(run.path / "best.keras")
    assert np.abs(engines.open_engine(run, "onnx").predict(random_images((16, 24))) - first).max() > 0.1
    (new,) = (run.path / "engines").iterdir()
    assert new.name != kept.name


def test_a_failed_conversion_leaves_nothing(run, monkeypatch):
    def fail(function, path):
        path.write_bytes(b"half")
        raise RuntimeError("broken")

    monkeypatch.setattr(engines, "to_onnx", fail)
    with pytest.raises(RuntimeError, match="broken"):
        engines.open_engine(run, "onnx")
    assert list((run.path / "engines").iterdir()) == []


def test_lower_precisions_come_close(run):
    images = random_images((32, 32))
    expected = engines.open_engine(run).predict(images)
    for kind in ("onnx", "openvino"):
        received = engines.open_engine(run, kind, "int8").predict(images)
        assert 0.95 < np.corrcoef(received.ravel(), expected.ravel())[0, 1] < 1
    # The ranges are those of the training images; a bare model has none.
    with pytest.raises(ValueError, match="expected a run with training images for int8"):
        engines.open_engine(run.model, "onnx", "int8")


def test_the_order_of_the_converter_s_steps_does_not_matter(monkeypatch):
    from tf2onnx import optimizer

    steps = optimizer._optimizers.copy()
    steps.move_to_end("remove_identity", last=False)
    monkeypatch.setattr(optimizer, "_optimizers", steps)
    keras.utils.set_random_seed(0)
    model = models.build_model("unet_padded", (None, None, 3), 1, filters=(2, 4))
    images = random_images((16, 24), 2)
    received = engines.open_engine(model, "onnx").predict(images)
    expected = engines.open_engine(model).predict(images)
    assert received.shape == expected.shape == (2, 16, 24, 1)
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4 * np.ptp(expected))
    assert list(optimizer._optimizers) == list(steps)


def test_a_batch_norm_is_rounded_with_its_convolution(run):
    import onnx

    engines.open_engine(run, "onnx", "int8")
    (path,) = (run.path / "engines").glob("*.int8.onnx")
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("Conv") == sum("conv" in type(layer).__name__.lower() for layer in run.model.layers)
    assert not {"BatchNormalization", "Add"} & set(kinds)


def engine_that(predict, seconds):
    def opened(run, precision):
        def slowly(images):
            time.sleep(seconds)
            return predict(images)

        return slowly

    return opened


def test_auto_takes_the_fastest_that_agrees(monkeypatch):
    def keras_numbers(images):
        return images[..., :1]

    openers = {
        "keras": engine_that(keras_numbers, 0.06),
        "saved_model": engine_that(lambda images: images[..., :1] + 1e-4, 0.03),
        "onnx": engine_that(lambda images: images[..., :1] + 0.1, 0.001),
        "openvino": engine_that(lambda images: [][0], 0),
    }
    monkeypatch.setattr(engines, "OPENERS", openers)
    monkeypatch.setattr(engines, "candidates", lambda: [(name, "float32") for name in list(openers)[1:]])
    lines = []
    model = lively("unet_padded", (None, None, 3), filters=(2, 3))
    engine = engines.open_engine(model, "auto", images=random_images((8, 8)), tell=lines.append)
    assert engine.name == "saved_model"
    text = "\n".join(lines)
    assert "engine onnx float32: 1 ms per tile, largest difference 2.5e-02, above 1e-03: not used" in text
    assert "engine openvino float32: not used; received list index out of range" in text
    assert lines[-1] == "engine saved_model float32: taken"


def test_what_is_missing_or_unknown_is_said_in_one_line(monkeypatch):
    model = lively("unet_padded", (None, None, 3), filters=(2, 3))
    with pytest.raises(ValueError, match=r"--engine: expected one of auto, keras, .* received 'onnxx'"):
        engines.open_engine(model, "onnxx")
    with pytest.raises(ValueError, match="--precision: expected float32 for the engine keras; received int8"):
        engines.open_engine(model, "keras", "int8")
    with pytest.raises(ValueError, match="--precision: expected one of float32, bfloat16, int8; received 'half'"):
        engines.open_engine(model, "keras", "half")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r'expected the package onnxruntime; .*pip install "maskzoo\[export\]"'):
        engines.open_engine(model, "onnx")


def test_an_engine_predicts_an_image_tile_by_tile():
    run = as_run(lively("unet_padded", (None, None, 3), filters=(4, 8)))
    source = data.open_source(noise((70, 90)), spatial_dims=2)
    plan = inference.plan_image(run, source, tile=32)
    read = data.Normalizer.from_dict(run.data.normalization)(source)
    engine = engines.open_engine(run.model, "onnx")
    for (window, expected), (same, received) in zip(
        inference.predict_tiles(run.model, read, plan), inference.predict_tiles(engine, read, plan), strict=True
    ):
        assert window == same
        np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4)


def test_predict_takes_an_engine(run, tmp_path, capsys):
    image = tmp_path / "image.npy"
    np.save(image, noise((50, 60)))

    def predict(*options):
        output = tmp_path / "out.npy"
        try:
            cli.main("predict", [str(run.path), str(image), str(output), "--probabilities", "float32", *options])
        except SystemExit as stop:
            return stop.code
        return np.load(output)

    for name, *options in (["onnx"], ["openvino"], ["auto"], ["onnx", "--tta", "flips"]):
        difference = np.abs(predict("--engine", name, *options) - predict(*options)).max()
        assert difference < (1e-3 if name == "auto" else 1e-4)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "ms per tile" in line]) >= 4
    assert predict("--engine", "keras", "--precision", "int8") == 2
    assert "--precision: expected float32 for the engine keras" in capsys.readouterr().err
