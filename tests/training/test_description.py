"""What a run folder says of its training when that begins, and on which images it is resumed."""

import json
import logging
import shutil

import numpy as np
import pytest
import rasterio

from maskzoo import data, inference
from maskzoo.errors import RunError
from maskzoo.training.description import check_same_data


def opened(folder, **options):
    return data.load_data(data.read_spec(folder, options), spatial_dims=2)


@pytest.fixture
def begun(squares, tmp_path):
    """A run folder that was begun on `squares`, and a copy of this set that may be changed."""
    shutil.copytree(squares, tmp_path / "set")
    (tmp_path / "run").mkdir()
    described = {**opened(squares).as_mapping(), "patch": [16, 16]}
    inference.RunData.from_mapping(described).write(tmp_path / "run")
    return tmp_path / "run", tmp_path / "set"


def test_the_same_images_at_another_place_are_the_same(begun, caplog):
    run, folder = begun
    check_same_data(run, opened(folder))
    assert caplog.text == ""
    # Under other names, but on the same sides of the split.
    path = run / "data.json"
    path.write_text(path.read_text().replace('"0"', '"zero"').replace('"3"', '"three"'))
    check_same_data(run, opened(folder))
    assert "the images are those that the run was begun with, but files or labels differ" in caplog.text


def test_other_labels_of_the_same_images_are_said(begun, caplog):
    run, folder = begun
    with rasterio.open(folder / "masks" / "1.tif", "r+") as file:
        file.write(np.zeros((1, *file.shape), np.uint8))
    check_same_data(run, opened(folder))
    assert "but files or labels differ" in caplog.text


@pytest.mark.parametrize("change", ["one more", "one less", "another split", "other pixels"])
def test_other_images_are_refused(begun, change):
    run, folder = begun
    options = {}
    if change == "one more":
        with rasterio.open(folder / "images" / "4.tif") as file:
            pixels, profile = file.read() // 2, file.profile
        with rasterio.open(folder / "images" / "5.tif", "w", **profile) as file:
            file.write(pixels)
        shutil.copy(folder / "masks" / "4.tif", folder / "masks" / "5.tif")
    elif change == "one less":
        held_out = opened(folder).validation[0].name
        name = next(name for name in "01234" if name != held_out)
        for kind in ("images", "masks"):
            (folder / kind / f"{name}.tif").unlink()
        # The others keep their sides.
        folds = {name: int(name != held_out) for name in "01234"}
        folds.pop(name)
        data.write_folds(folder / "folds.json", folds)
        options = {"folds": str(folder / "folds.json"), "fold": 0}
    elif change == "another split":
        options = {"validation": 0.5}
    else:
        with rasterio.open(folder / "images" / "1.tif", "r+") as file:
            file.write(file.read() // 2)
    expected = {
        "one more": "1 other image, 0 missing",
        "one less": "0 other images, 1 missing, 0 on the other side",
        "another split": "0 other images, 0 missing, [12] on the other side of the split",
        "other pixels": "1 other image, 1 missing, 0 on the other side",
    }
    with pytest.raises(RunError, match=rf"begun with, to be resumed; .*{expected[change]}"):
        check_same_data(run, opened(folder, **options))


def test_images_of_an_earlier_version_are_known_by_name(begun):
    run, folder = begun
    path = run / "data.json"
    described = json.loads(path.read_text())
    del described["images"], described["fingerprint"]
    path.write_text(json.dumps(described))
    check_same_data(run, opened(folder))
    with pytest.raises(RunError, match=r"0 other images, 0 missing, [12] on the other side of the split"):
        check_same_data(run, opened(folder, validation=0.5))


@pytest.mark.slow
def test_a_resumed_run_still_says_what_its_first_weights_had_seen(train_tiny, short_run, tmp_path, caplog):
    """Though the run that they came from is gone by then."""
    caplog.set_level(logging.INFO, "maskzoo")
    first, run = tmp_path / "first", tmp_path / "run"
    shutil.copytree(short_run, first)
    train_tiny(run, epochs=1, init_from=str(first), validation=0.5)
    seen = inference.read_run_data(run).seen_before
    assert len(seen) == 4
    assert f"held out, but seen by {first} in training" in caplog.text
    shutil.rmtree(first)
    train_tiny(run, epochs=2, init_from=str(first), validation=0.5, resume=True)
    assert inference.read_run_data(run).seen_before == seen


@pytest.mark.slow
def test_a_run_whose_best_model_is_gone_chooses_among_what_is_left(train_tiny, tmp_path, caplog):
    run = tmp_path / "run"
    train_tiny(run, learning_rate=1e-9)
    before = inference.read_run(f"{run}:last").identity
    (run / "best.keras").unlink()
    train_tiny(run, learning_rate=1e-9, resume=True)
    assert "best.keras is gone" in caplog.text
    assert inference.read_run(run).identity == before
    assert json.loads((run / "best.json").read_text())["epoch"] == 2
    train_tiny(run, learning_rate=1e-9, epochs=3, resume=True)
    assert json.loads((run / "best.json").read_text())["epoch"] in (2, 3)
