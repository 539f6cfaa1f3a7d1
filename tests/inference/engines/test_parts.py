"""An engine computes only what the tiles of a plan need, where that saves more than it costs to convert."""

import logging
import os
from dataclasses import replace

import numpy as np
import pytest

from maskzoo import data, inference
from maskzoo.inference.engines import conversion, parts, runners
from maskzoo.inference.engines.choice import open_engine
from maskzoo.models import analysis

PIXELS = np.random.default_rng(0).normal(size=(70, 90, 3)).astype(np.float32)
ENGINES = ("keras", "saved_model", "onnx", "openvino")


def predicted(model, plan):
    tiles = inference.predict_tiles(model, data.open_source(PIXELS, spatial_dims=2).read, plan)
    whole = np.zeros((70, 90, 1), np.float32)
    for window, logits in tiles:
        whole[window.slices] = logits
    return whole


@pytest.fixture
def plan(run):
    return inference.plan_tiles(run.model, PIXELS.shape[:2], 3, inference.TileOptions(tile=32))


@pytest.fixture
def worth_it(monkeypatch):
    monkeypatch.setattr(parts, "WORTH_A_CONVERSION", 0)


@pytest.mark.parametrize("name", ENGINES)
def test_parts_of_every_engine_agree_with_keras(run, plan, worth_it, name):
    engine = open_engine(run, name)
    assert plan.share < 1
    images = np.random.default_rng(1).normal(size=(2, *plan.input_size, 3)).astype(np.float32)
    (first, stop), (left, right) = plan.part
    answer = engine.parts.answer(plan)
    np.testing.assert_allclose(answer(images), engine.predict(images)[:, first:stop, left:right], rtol=0, atol=1e-4)
    expected = predicted(run.model, plan)
    np.testing.assert_allclose(predicted(engine, plan), expected, rtol=0, atol=1e-4)
    sizes = "x".join(map(str, plan.input_size))
    kept = [path.name for path in (run.path / "engines").glob("*.tile-*")]
    assert len(kept) == (name != "keras")
    assert all(f".tile-32x32-{sizes}-{first}x{left}" in one for one in kept)


def test_a_part_is_converted_only_where_it_saves_more_than_it_costs(run, plan, monkeypatch):
    whole = 9 * (3 * 4 + 4 * 4)  # what is computed for each pixel at the least
    monkeypatch.setattr(parts, "WORTH_A_CONVERSION", plan.tiles * whole * np.prod(plan.input_size) * 10**6)
    monkeypatch.setattr(conversion, "to_onnx", lambda function, path: path.write_bytes(b""))
    assert parts.Parts(run, "onnx", "float32").answer(plan) is None
    monkeypatch.setitem(runners.OPENERS, "onnx", lambda part, precision: part)
    saved = (1 - plan.share) * plan.tiles * analysis.multiply_adds(run.model, (*plan.input_size, 3))
    for share, is_worth in ((0.99, True), (1.01, False)):
        monkeypatch.setattr(parts, "WORTH_A_CONVERSION", share * saved)
        assert (parts.Parts(run, "onnx", "float32").answer(plan) is not None) is is_worth
    monkeypatch.setattr(parts, "WORTH_A_CONVERSION", 0)
    assert parts.Parts(run, "onnx", "int8").answer(plan) is None
    whole_plan = inference.plan_tiles(run.model, (32, 32), 3, inference.TileOptions(tile=1024))
    assert parts.Parts(run, "onnx", "float32").answer(replace(whole_plan, share=1.0)) is None


def test_a_part_that_cannot_be_converted_leaves_the_whole_network(run, plan, worth_it, monkeypatch, caplog):
    engine = open_engine(run, "onnx")
    expected = predicted(run.model, plan)

    def fail(function, path):
        raise RuntimeError("no such operation\nat all")

    monkeypatch.setattr(conversion, "to_onnx", fail)
    with caplog.at_level(logging.WARNING, "maskzoo"):
        np.testing.assert_allclose(predicted(engine, plan), expected, rtol=0, atol=1e-4)
    assert "engine onnx computes the whole network: its part was refused, no such operation" in caplog.messages


def test_the_last_few_parts_of_this_model_and_these_versions_stay(run, monkeypatch):
    written = []

    def write(part, path):
        written.append(part)
        path.write_bytes(b"")

    def keep(size):
        part = conversion.NetworkPart(run, (size, size), ((1, 9), (2, 8)))
        with conversion.converted(part, ".onnx", write) as path:
            return path

    with conversion.converted(run, ".onnx", write) as whole:
        pass
    paths = [keep(size) for size in range(16, 16 + conversion.KEPT_PARTS)]
    for moment, path in enumerate(paths):
        os.utime(path, (moment, moment))
    # What is used again is no longer the oldest.
    assert keep(16) == paths[0]
    assert len(written) == 1 + len(paths)
    new = keep(99)
    assert new.name.endswith(".tile-8x6-99x99-1x2.onnx")
    assert {path for path in paths if path.exists()} == {paths[0], *paths[2:]}
    assert whole.exists()
    monkeypatch.setattr(conversion, "version", lambda package: "another")
    assert keep(16) != paths[0]
    assert len(list(whole.parent.iterdir())) == 1
