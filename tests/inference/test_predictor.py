"""Runs are loaded alone or together, with the options of how they answer and what is done to their masks."""

import json

import keras
import numpy as np
import pytest
from noise_runs import PIXELS, as_run

from maskzoo import data, inference
from maskzoo.errors import ImageError, OptionError, RunError
from maskzoo.inference.predictor import post_processing, thresholds_for
from maskzoo.inference.run_files import Decision, ThresholdGroups


def test_one_plain_run_stays_a_run(runs):
    found = inference.load_run(runs["multilabel"])
    assert isinstance(found, inference.Run)
    assert found.members == (found,)
    assert (found.data.class_names, found.thresholds) == (("lung", "heart, big"), (0.5, 0.5))
    assert isinstance(inference.load_run([runs["multilabel"]], inference.PredictOptions(threshold=0.3)), inference.Run)


def test_no_run_at_all_is_refused():
    with pytest.raises(OptionError, match="paths: expected at least one run folder; received none"):
        inference.load_run([])


def test_several_runs_or_transforms_are_an_ensemble(runs):
    options = inference.PredictOptions(tta="flips", reduction="logits", weights=[1, 3], temperature=2.0)
    found = inference.load_run([runs["binary"], runs["binary"]], options)
    assert isinstance(found, inference.Ensemble)
    assert found.settings == {
        "weights": [0.25, 0.75],
        "reduction": "logits",
        "temperature": 2.0,
        "tta": "flips",
        "crf": [0.0, 0.0],
    }
    assert isinstance(inference.load_run(runs["binary"], inference.PredictOptions(tta="flips")), inference.Ensemble)


def test_thresholds_that_are_asked_for_leave_the_rest_of_a_decision(runs, tmp_path):
    decided = {"thresholds": [0.3], "holes": [4], "minimum_area": [9], "gate": [0.2], "metric": "dice", "score": 0.5}
    path = tmp_path / "run"
    path.mkdir()
    for name in ("best.keras", "data.json"):
        (path / name).write_bytes((runs["binary"] / name).read_bytes())
    (path / "decision.json").write_text(json.dumps(decided))
    asked = inference.PredictOptions(threshold=0.7, min_area=5, gate=0.4)
    found = inference.load_run(path, asked)
    assert (found.thresholds, found.decision) == ((0.7,), Decision(holes=(4,), minimum_area=(9,), gate=(0.2,)))
    post = post_processing(found, asked)
    assert (post.cleaning.holes, post.cleaning.minimum_area, post.gate) == ((4,), (5,), (0.4,))
    plain = inference.load_run(path, inference.PredictOptions(no_decision=True))
    assert (plain.thresholds, plain.decision) == ((0.5,), Decision())
    nothing = post_processing(plain, inference.PredictOptions())
    assert nothing == inference.PostProcessing()
    assert post_processing(plain, inference.PredictOptions(fill_holes="all")).cleaning.holes == (np.inf,)


def test_numbers_for_other_classes_are_refused(runs):
    with pytest.raises(OptionError, match=r"threshold: expected one number, or one for each of 2 classes; received"):
        inference.load_run(runs["multilabel"], inference.PredictOptions(threshold=[0.1, 0.2, 0.3]))
    run = inference.load_run(runs["multilabel"])
    for gate in ([0.1] * 3, 1.5):
        with pytest.raises(OptionError, match=r"^gate: expected"):
            post_processing(run, inference.PredictOptions(gate=gate))


def test_an_image_of_other_axes_or_channels_is_refused(runs):
    run = inference.load_run(runs["binary"])
    for pixels, expected in ((np.zeros((8, 8, 8), np.uint8), "2 spatial axes"), (PIXELS[..., :2], "channels")):
        with pytest.raises(ImageError, match=expected):
            run.reader(data.open_source(pixels, spatial_dims=3 if pixels.ndim == 3 and pixels.shape[2] > 4 else 2))


def test_a_group_of_images_has_its_own_thresholds():
    image = keras.Input((None, None, 1))
    run = as_run(keras.Model(image, keras.layers.Conv2D(1, 1)(image)))
    groups = ThresholdGroups("^[ab]", {"a": (0.2,), "b": (0.8,)})
    grouped = run.with_thresholds((0.5,), Decision((0.5,), groups=groups))
    assert [thresholds_for(grouped, name) for name in ("a1", "b7", "c3")] == [(0.2,), (0.8,), (0.5,)]
    assert thresholds_for(run, "a1") == (0.5,)


def test_a_random_field_is_part_of_what_the_values_depend_on(runs):
    run = inference.load_run(runs["binary"], inference.PredictOptions(crf=3.0))
    assert run.settings == {"crf": 3.0}
    engine = inference.EngineOptions(engine="onnx")
    with pytest.raises(OptionError, match="crf: expected 0 for another engine than keras; received 3"):
        inference.with_engine(run, engine, None, inference.TileOptions())


def test_the_last_epoch_is_named_behind_the_run(tmp_path):
    image = keras.Input((None, None, 2))
    best, last = (keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image)) for _ in range(2))
    best.save(tmp_path / "best.keras")
    (tmp_path / "data.json").write_text(json.dumps(as_run(best).data.as_mapping()))
    (tmp_path / "decision.json").write_text(json.dumps({"thresholds": [0.5]}))
    with pytest.raises(FileNotFoundError, match=r"with a last\.keras"):
        inference.check_run(f"{tmp_path}:last")
    last.save(tmp_path / "last.keras")
    for ending, expected in (("", best), (":best", best), (":last", last)):
        run = inference.load_run(inference.check_run(f"{tmp_path}{ending}"))
        np.testing.assert_array_equal(run.model.layers[-1].kernel, expected.layers[-1].kernel)
    assert run.name == f"{tmp_path.name}:last"
    assert run.path == tmp_path


def test_a_damaged_run_says_what_is_damaged(runs, tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    for name in ("best.keras", "data.json", "decision.json"):
        (path / name).write_bytes((runs["binary"] / name).read_bytes())
    (path / "decision.json").write_text(json.dumps({"thresholds": [0.5, 0.5]}))
    with pytest.raises(RunError, match=r"decision\.json: expected 1 thresholds?, one per class"):
        inference.load_run(path)
    (path / "best.keras").write_bytes(b"nothing")
    (path / "decision.json").write_text(json.dumps({"thresholds": [0.5]}))
    with pytest.raises(RunError, match=r"best\.keras: expected a Keras model that can be read"):
        inference.load_run(path)
