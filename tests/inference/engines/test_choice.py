"""The fastest engine that agrees with Keras is taken; what is missing or unknown is said in one line."""

import logging

import numpy as np
import pytest
from run_verb import run as run_verb

from maskzoo.errors import OptionError
from maskzoo.inference.engines import choice
from maskzoo.inference.engines.choice import open_engine


def answering(predict):
    return lambda run, precision: predict


def test_auto_takes_the_fastest_that_agrees(unet, random_images, monkeypatch, caplog):
    openers = {
        "keras": answering(lambda images: images[..., :1]),
        "saved_model": answering(lambda images: images[..., :1] + 1e-4),
        "onnx": answering(lambda images: images[..., :1] + 0.1),
        "openvino": answering(lambda images: [][0]),
    }
    seconds = {"keras": 0.06, "saved_model": 0.03, "onnx": 0.001, "openvino": 0.0}
    monkeypatch.setattr(choice, "OPENERS", openers)
    monkeypatch.setattr(choice, "candidates", lambda: [(name, "float32") for name in list(openers)[1:]])
    monkeypatch.setattr(choice, "timed", lambda engine, images: (seconds[engine.name], engine.predict(images)))
    with caplog.at_level(logging.INFO, "maskzoo"):
        engine = open_engine(unet, "auto", images=random_images((8, 8)))
    assert engine.name == "saved_model"
    text = "\n".join(caplog.messages)
    assert "engine onnx float32: 1 ms per tile, largest difference 2.5e-02, above 1e-03: not used" in text
    assert "engine openvino float32: not used; received list index out of range" in text
    assert caplog.messages[-1] == "engine saved_model float32: taken"


def test_an_engine_is_timed_by_its_best_repetition(monkeypatch):
    clock = iter([0, 5, 10, 12, 20, 29])
    monkeypatch.setattr(choice.time, "perf_counter", lambda: next(clock))
    engine = choice.OpenedEngine("keras", "float32", lambda images: images + 1)
    seconds, logits = choice.timed(engine, np.zeros((1, 2, 2, 1), np.float32))
    assert seconds == 2
    assert (logits == 1).all()


def test_what_is_unknown_is_said_in_one_line(unet):
    with pytest.raises(OptionError, match=r"engine: expected onnx .*; received 'onnxx'"):
        open_engine(unet, "onnxx")
    with pytest.raises(OptionError, match="precision: expected float32 for the engine keras; received int8"):
        open_engine(unet, "keras", "int8")
    with pytest.raises(OptionError, match="precision: expected one of float32, bfloat16, int8; received 'half'"):
        open_engine(unet, "keras", "half")
    with pytest.raises(OptionError, match="images: expected images to measure the engines on"):
        open_engine(unet, "auto")


@pytest.mark.slow
def test_predict_takes_an_engine(run, tmp_path, capsys):
    image = tmp_path / "image.npy"
    np.save(image, np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8))

    def predict(*options):
        output = tmp_path / "out.npy"
        if status := run_verb("predict", run.path, image, output, "--probabilities", "float32", *options):
            return status
        return np.load(output)

    for name, *options in (["onnx"], ["openvino"], ["auto"], ["onnx", "--tta", "flips"]):
        difference = np.abs(predict("--engine", name, *options) - predict(*options)).max()
        assert difference < (1e-3 if name == "auto" else 1e-4)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "ms per tile" in line]) >= 4
    assert predict("--engine", "keras", "--precision", "int8") == 2
    assert "--precision: expected float32 for the engine keras" in capsys.readouterr().err
