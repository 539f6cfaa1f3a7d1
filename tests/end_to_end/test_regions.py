"""One raster: trained on, scored, decided and compared by regions."""

import json

import numpy as np
import pytest
from run_verb import run, run_and_capture

from maskzoo import data
from maskzoo.data.images.raster_files import open_raster

pytestmark = pytest.mark.slow
MODEL = ["--model", "unet_padded", "--option", "filters=[4,8]", "--patch", 32, "--batch-size", 2, "--steps", 2]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """One raster of 160 x 240 pixels: bright squares on noise."""
    folder = tmp_path_factory.mktemp("scene")
    rows, columns = np.mgrid[:160, :240]
    mask = ((rows // 12) % 2 & (columns // 12) % 2).astype(np.uint8)
    image = (np.random.default_rng(0).integers(0, 90, mask.shape) + 120 * mask).astype(np.uint8)
    for kind, pixels in (("images", image), ("masks", mask)):
        (folder / kind).mkdir()
        profile = {"driver": "GTiff", "height": 160, "width": 240, "count": 1, "dtype": "uint8"}
        with open_raster(folder / kind / "scene.tif", "w", **profile) as file:
            file.write(pixels[None])
    return folder


def test_one_image_is_trained_on_and_held_out(scene, tmp_path, capsys):
    path = tmp_path / "run"
    code, out, err = run_and_capture(capsys, "train", *MODEL, "--epochs", 1, "--data", scene, "--run", path)
    assert code == 0, err
    described = json.loads((path / "data.json").read_text())
    (held_out,) = described["validation"]
    region = described["regions"][held_out]
    assert "scene.tif: pixels" in out
    assert "(the receptive field) is left out" in out
    assert "data       2 regions for training, 1 held out" in out or "1 region for training, 1 held out" in out
    assert "1 held-out region" in out
    # Scores are those of the pixels of the region alone.
    code, out, err = run_and_capture(capsys, "evaluate", path, "--metrics", "presence", "--json")
    assert (code, err) == (0, "")
    with open_raster(scene / "masks" / "scene.tif") as file:
        mask = file.read(1)
    box = data.Region.from_mapping(region).box
    (image,) = json.loads(out)["images"]
    assert image["presence"]["true_pixels"] == [int(mask[box.slices].sum())]
    code, out, err = run_and_capture(capsys, "evaluate", path, "--data", scene, "--json")
    assert f"{path} was trained on regions of 1 of 1 image: 1 image (scene)" in err
    assert json.loads(out)["trained_on"] == {str(path): ["scene"]}
    assert run("decide", path) == 0


def test_folds_of_one_image_hold_out_each_pixel_once(scene, tmp_path, capsys):
    folder = tmp_path / "folds"
    assert run("train", *MODEL, "--epochs", 1, "--data", scene, "--folds", 2, "--run", folder) == 0
    runs = sorted(path for path in folder.iterdir() if path.is_dir())
    counts = np.zeros((160, 240), int)
    for path in runs:
        described = json.loads((path / "data.json").read_text())
        for name in described["validation"]:
            counts[data.Region.from_mapping(described["regions"][name]).box.slices] += 1
            assert (path / "out_of_fold" / f"{name}.tif").is_file()
    assert (counts == 1).all()
    capsys.readouterr()
    assert run("decide", *runs) == 0
    # They held out different regions: together they are not scored on either.
    code, _, err = run_and_capture(capsys, "evaluate", *runs)
    assert code == 2
    assert "images that none of the runs was trained on" in err
