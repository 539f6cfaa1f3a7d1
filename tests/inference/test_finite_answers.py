"""Answers of a model that are no numbers refuse the image, in every verb that predicts; nothing is written."""

import json
import shutil

import keras
import numpy as np
import pytest
from exact_run import blobs, sure_run
from rasterio import Affine
from run_verb import run, run_and_capture

from maskzoo.inference import tiles

PLACE = Affine(0.5, 0, 700000, 0, -0.5, 3700000)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A run with finite weights whose answers overflow where its image is positive, with one held-out image."""
    root = tmp_path_factory.mktemp("broken")
    folder = sure_run(root, [blobs((24, 30), 0)], suffix=".tif", transform=PLACE)
    image = keras.Input((None, None, 1))
    far = keras.layers.Activation("exponential")(keras.layers.Rescaling(1000.0)(image))
    far = keras.layers.Conv2D(1, 1, kernel_initializer="ones")(far)  # the last layer is none of probabilities
    keras.Model(image, far).save(folder / "best.keras")
    return folder


def refused(capsys, *arguments):
    code, _, err = run_and_capture(capsys, *arguments)
    assert code == 2
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    return len(lines) == 1 and "an image that the model has finite answers for; received infinity" in lines[0]


@pytest.mark.parametrize("options", [(), ("--probabilities", "uint8"), ("--tta", "flips"), ("--tile", 16)])
def test_predict_refuses_and_writes_nothing(broken, tmp_path, capsys, options):
    image = broken.parent / "data/images/0.tif"
    assert refused(capsys, "predict", broken, image, tmp_path / "out.tif", *options)
    assert list(tmp_path.iterdir()) == []


def test_members_of_an_ensemble_are_asked_one_by_one(broken, tmp_path, capsys):
    """The mean of probabilities would be finite: infinity is a probability of 1."""
    image = broken.parent / "data/images/0.tif"
    shutil.copytree(broken, tmp_path / "second")
    for reduction in ("probabilities", "votes"):
        command = ("predict", broken, tmp_path / "second", image, tmp_path / "out.tif", "--reduction", reduction)
        assert refused(capsys, *command)
    assert not (tmp_path / "out.tif").exists()


def test_the_other_verbs_refuse_too(broken, tmp_path, capsys):
    before = (broken / "decision.json").read_bytes()
    assert refused(capsys, "evaluate", broken, "--csv", tmp_path / "scores.csv")
    assert refused(capsys, "decide", broken)
    assert refused(capsys, "export", broken, tmp_path / "bundle")
    (tmp_path / "images").mkdir()
    shutil.copy(broken.parent / "data/images/0.tif", tmp_path / "images/new.tif")
    assert refused(capsys, "pseudo", broken, tmp_path / "images", tmp_path / "pseudo")
    assert (broken / "decision.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_of_a_folder_only_the_image_is_left_out(broken, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    shutil.copy(broken.parent / "data/images/0.tif", tmp_path / "images/bad.tif")
    np.save(tmp_path / "images/good.npy", np.full((24, 30, 1), -4, np.float32))
    assert run("predict", broken, tmp_path / "images", tmp_path / "out", "--quiet") == 2
    err = capsys.readouterr().err
    assert "bad.tif: expected an image that the model has finite answers for" in err, err
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tif")) == ["good.tif"], err
    assert json.loads((broken / "data.json").read_text())["channels"] == 1


def test_finite_answers_pass_and_the_kind_of_the_others_is_named():
    answers = np.float32([[1, 2]])
    assert tiles.require_finite(answers) is answers
    for wrong, word in ((np.nan, "NaN"), (-np.inf, "infinity")):
        with pytest.raises(ValueError, match=f"an image: expected .* received {word}"):
            tiles.require_finite(np.float32([1, wrong]))
        with pytest.raises(ValueError, match=f"slide.tif: expected .* received {word}"):
            list(tiles.of_image((tiles.require_finite(np.float32([wrong])) for _ in range(1)), "slide.tif"))
