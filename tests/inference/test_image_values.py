"""A run refuses images that cannot be what it was trained on, and brings them to its range if asked to."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from maskzoo import data, inference
from maskzoo.errors import ImageError, OptionError


def test_another_type_is_refused_or_rescaled_to_equal_masks(trained_run, squares, tmp_path):
    run = inference.load_run(trained_run)
    assert run.data.pixel_values["dtypes"] == ["uint8"]
    file = sorted((squares / "images").iterdir())[0]
    with data.open_source(file) as source:
        pixels = source.read(data.Window((0, 0), source.shape))
    inference.predict_image(run, data.open_source(pixels), tmp_path / "bytes.npy")
    expected = np.load(tmp_path / "bytes.npy")
    for values in (pixels.astype(np.uint16) * 257, pixels.astype(np.float32) / 255):
        source = data.open_source(values)
        with pytest.raises(ImageError, match="`rescale`"):
            inference.predict_image(run, source, tmp_path / "refused.npy")
        inference.predict_image(replace(run, rescale=True), source, tmp_path / "rescaled.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "rescaled.npy"), expected)
    assert not (tmp_path / "refused.npy").exists()


def test_a_run_that_noted_no_values_takes_all(trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    described = json.loads((run / "data.json").read_text())
    del described["pixel_values"]
    (run / "data.json").write_text(json.dumps(described))
    loaded = inference.load_run(run)
    source = data.open_source(np.zeros((8, 8, loaded.data.channels), np.uint16))
    assert inference.fitting_source(loaded, source) is source
    with pytest.raises(OptionError, match="rescale: expected a run that notes the values of its images"):
        inference.fitting_source(inference.load_run(run, inference.PredictOptions(rescale=True)).members[0], source)


def test_what_is_normalised_by_its_own_values_may_have_any(trained_run):
    run = inference.load_run(trained_run)
    own = replace(run, data=replace(run.data, normalization={"kind": "image", "channels": run.data.channels}))
    source = data.open_source(np.full((8, 8, run.data.channels), 60000, np.uint16))
    assert inference.fitting_source(own, source) is source
    with pytest.raises(ImageError):
        inference.fitting_source(run, source)


def test_values_of_another_scale_or_shifted_are_said(trained_run, caplog):
    run = inference.load_run(trained_run)
    scan = {"dtypes": ["int16"], "low": -1000, "high": 990, "bits": None}
    run = replace(run, data=replace(run.data, pixel_values=scan))
    values = np.random.default_rng(0).integers(-1000, 990, (8, 8, run.data.channels)).astype(np.int16)
    inference.fitting_source(run, data.open_source(values))
    assert not caplog.text
    inference.fitting_source(run, data.open_source((values + 1024).astype(np.int16)))
    assert "values that may be shifted" in caplog.text
    inference.fitting_source(run, data.open_source((values // 40).astype(np.int16)))
    assert "values of another scale" in caplog.text
