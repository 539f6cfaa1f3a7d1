"""`--rescale` of every verb that reads images with a run: 16 bits are taken for what they were in 8."""

import json
import shutil

import numpy as np
import pytest
from run_verb import run_and_capture

from maskzoo.data.images.raster_files import open_raster

pytestmark = pytest.mark.slow


@pytest.fixture
def sixteen_bits(squares, tmp_path):
    """The images of `squares` as 16 bits, with the same masks."""
    folder = tmp_path / "sixteen"
    shutil.copytree(squares, folder)
    for path in sorted((folder / "images").iterdir()):
        with open_raster(path) as file:
            pixels, profile = file.read(), file.profile
        with open_raster(path, "w", **{**profile, "dtype": "uint16"}) as file:
            file.write(pixels.astype(np.uint16) * 257)
    return folder


@pytest.fixture
def run_of_sixteen(trained_run, sixteen_bits, tmp_path):
    """A copy of the run whose own data set has become one of 16 bits."""
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    described = json.loads((folder / "data.json").read_text())
    described["spec"]["path"] = str(sixteen_bits)
    (folder / "data.json").write_text(json.dumps(described))
    return folder


REFUSED = "expected values such as those of the training images of "


def test_predict_and_evaluate(trained_run, squares, sixteen_bits, tmp_path, capsys):
    image = sixteen_bits / "images" / "0.tif"
    code, _, err = run_and_capture(capsys, "predict", trained_run, image, tmp_path / "wide.npy")
    assert code == 2
    assert REFUSED in err
    assert err.endswith("uint16 from 0 to 53713: convert it, or let --rescale bring 0 to 65535 to 0 to 255\n")
    assert run_and_capture(capsys, "predict", trained_run, image, tmp_path / "wide.npy", "--rescale")[0] == 0
    assert run_and_capture(capsys, "predict", trained_run, squares / "images" / "0.tif", tmp_path / "a.npy")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "wide.npy"), np.load(tmp_path / "a.npy"))
    code, _, err = run_and_capture(capsys, "evaluate", trained_run, "--data", sixteen_bits)
    assert code == 2
    assert REFUSED in err
    _, rescaled, _ = run_and_capture(capsys, "evaluate", trained_run, "--data", sixteen_bits, "--rescale", "--json")
    _, own, _ = run_and_capture(capsys, "evaluate", trained_run, "--data", squares, "--json")
    assert json.loads(rescaled)["dice"] == json.loads(own)["dice"]


def test_decide(trained_run, run_of_sixteen, tmp_path, capsys):
    code, _, err = run_and_capture(capsys, "decide", run_of_sixteen)
    assert code == 2
    assert REFUSED in err
    assert run_and_capture(capsys, "decide", run_of_sixteen, "--rescale")[0] == 0
    shutil.copytree(trained_run, tmp_path / "own")
    assert run_and_capture(capsys, "decide", tmp_path / "own")[0] == 0
    found, own = (json.loads((folder / "decision.json").read_text()) for folder in (run_of_sixteen, tmp_path / "own"))
    for key in ("thresholds", "score", "minimum_area"):
        assert found[key] == own[key]


def test_pseudo(trained_run, sixteen_bits, tmp_path, capsys):
    for path in (sixteen_bits / "images").iterdir():
        # Copies of images that were trained on would be left out.
        with open_raster(path) as file:
            pixels, profile = file.read(), file.profile
        with open_raster(path, "w", **profile) as file:
            file.write(pixels[:, ::-1])
    code, _, err = run_and_capture(capsys, "pseudo", trained_run, sixteen_bits / "images", tmp_path / "labels")
    assert code == 2
    assert REFUSED in err
    assert not (tmp_path / "labels").exists()
    options = ["--threshold", 0.5, "--rescale"]
    assert (
        run_and_capture(capsys, "pseudo", trained_run, sixteen_bits / "images", tmp_path / "labels", *options)[0] == 0
    )
    masks = sorted((tmp_path / "labels" / "masks").iterdir())
    assert len(masks) == 5
    assert (
        run_and_capture(
            capsys, "predict", trained_run, sixteen_bits / "images" / "0.tif", tmp_path / "0.npy", "--rescale"
        )[0]
        == 0
    )
    with open_raster(masks[0]) as file:
        np.testing.assert_array_equal(file.read(1), np.load(tmp_path / "0.npy"))
