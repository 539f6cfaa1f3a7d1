"""From images to masks through the command line: train, evaluate, predict and export, and what can go wrong."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio
import yaml
from run_verb import run

from maskzoo import data, inference

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--model", "unet_padded", "--option", "filters=[4,8]", "--patch", "64", "--steps", "3", "--batch-size", "2"]


def read_rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def write_image(path, array, **profile):
    """Writes `(H, W, bands)` as TIFF."""
    height, width, bands = array.shape
    profile = {"crs": "EPSG:32616", "transform": rasterio.Affine(0.5, 0, 700000, 0, -0.5, 3700000)} | profile
    with rasterio.open(path, "w", "GTiff", width, height, bands, dtype=array.dtype, **profile) as file:
        file.write(np.moveaxis(array, -1, 0))
    return path


@pytest.fixture(scope="module")
def folder(squares):
    return squares


@pytest.fixture(scope="module")
def trained(trained_run):
    return trained_run


@pytest.fixture(scope="module")
def image(folder):
    return folder / "images" / "0.tif"


def test_a_run_folder_holds_everything(trained, folder):
    names = {path.name for path in trained.iterdir()}
    assert names >= {"best.keras", "last.keras", "recipe.yaml", "history.csv", "curves.png", "samples.png"}
    assert names >= {"decision.json", "data.json", "manifest.json", "scores.json", "logs"}
    assert not [name for name in names if name.startswith(".")], "something half-written was left"
    recipe = yaml.safe_load((trained / "recipe.yaml").read_text())
    assert recipe["option"] == {"filters": [4, 8]}
    assert recipe["data"] == str(folder)
    rows = read_rows(trained / "history.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(row["val_dice"])) for row in rows)


@pytest.mark.slow
def test_the_recipe_of_a_run_trains_the_same_run_again(trained, tmp_path):
    again = tmp_path / "again"
    assert run("train", "--recipe", trained / "recipe.yaml", "--run", again, "--epochs", 1) == 0
    recipes = [yaml.safe_load((path / "recipe.yaml").read_text()) for path in (trained, again)]
    assert recipes[0] | {"epochs": 1} == recipes[1]


@pytest.mark.slow
def test_loss_weights_follow_the_epoch_and_the_log_shows_them(folder, tmp_path):
    points = "{bce: [[0, 1], [2, 0]]}"
    path = tmp_path / "run"
    options = ["--data", folder, "--run", path, "--epochs", 2, "--steps", 1, "--loss", "bce+dice"]
    assert run("train", *SMALL, *options, "--loss-weights", points) == 0
    assert [float(row["weight_bce"]) for row in read_rows(path / "history.csv")] == [1, 0.5]


def test_predict_keeps_the_georeference_and_writes_ids_that_can_be_seen(trained, image, tmp_path):
    output = tmp_path / "mask.tif"
    assert run("predict", trained, image, output, "--tile", 32) == 0
    with rasterio.open(image) as source, rasterio.open(output) as mask:
        assert (mask.crs, mask.transform, mask.shape) == (source.crs, source.transform, source.shape)
        assert mask.dtypes == ("uint8",)
        assert mask.profile["tiled"]
        assert set(np.unique(mask.read())) <= {0, 1}
        assert mask.colormap(1)[1][:3] != mask.colormap(1)[0][:3]


def test_class_ids_are_the_probabilities_at_the_threshold(trained, image, tmp_path):
    assert run("predict", trained, image, tmp_path / "mask.tif") == 0
    assert run("predict", trained, image, tmp_path / "p.tif", "--probabilities", "float32") == 0
    with rasterio.open(tmp_path / "mask.tif") as mask, rasterio.open(tmp_path / "p.tif") as probability:
        scores = probability.read(1)
        assert scores.dtype == np.float32
        assert 0 <= scores.min() < scores.max() <= 1
        np.testing.assert_array_equal(mask.read(1), scores >= 0.5)


def test_a_folder_gives_a_folder_of_the_same_names(trained, folder, tmp_path):
    assert run("predict", trained, folder / "images", tmp_path / "masks") == 0
    assert sorted(path.name for path in (tmp_path / "masks").glob("[!.]*")) == [f"{index}.tif" for index in range(5)]


def test_a_bad_image_in_a_folder_is_skipped_and_named(trained, folder, image, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.tif").write_bytes(image.read_bytes()[:4000])
    (images / "b.tif").write_bytes(image.read_bytes())
    assert run("predict", trained, images, tmp_path / "masks") == 2
    assert [path.name for path in (tmp_path / "masks").glob("[!.]*")] == ["b.tif"]
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "skipped" in error
    assert str(images / "a.tif") in error


def test_evaluate_scores_the_held_out_images(trained, capsys):
    assert run("evaluate", trained, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    stored = json.loads((trained / "scores.json").read_text())
    assert stored.pop("chosen")["epoch"] >= 1
    assert scores == stored
    assert len(scores["images"]) == 1
    # Pooled over a single image the two means are one; IoU follows from Dice.
    assert scores["dice"] == scores["mean_dice"]
    np.testing.assert_allclose(scores["iou"], [d / (2 - d) for d in scores["dice"]])


def test_export_answers_as_the_keras_model(trained, tmp_path):
    import tensorflow as tf

    assert run("export", trained, tmp_path / "saved", "--bare") == 0
    exported = tf.saved_model.load(str(tmp_path / "saved"))
    images = np.random.default_rng(0).normal(size=(2, 70, 90, 3)).astype(np.float32)
    expected = inference.load_run(trained).model.predict_on_batch(images)
    np.testing.assert_allclose(exported.serve(images), expected, atol=1e-5)


def test_export_refuses_a_folder_that_is_there(trained, tmp_path):
    assert run("export", trained, tmp_path) == 2
    assert list(tmp_path.iterdir()) == []


def damaged(tmp_path, folder, how):
    """A copy of the data set in which one file is wrong."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir(parents=True)
        for path in (folder / name).iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    target = tmp_path / "images" / "1.tif"
    rng = np.random.default_rng(0)
    if how == "truncated":
        target.write_bytes(target.read_bytes()[:3000])
    elif how == "mask of another size":
        write_image(tmp_path / "masks" / "1.tif", np.zeros((96, 100, 1), np.uint8))
    elif how == "nan":
        pixels = rng.random((96, 112, 3), np.float32)
        pixels[40:60, 40:60] = np.nan
        for path in (tmp_path / "images").iterdir():
            write_image(path, pixels if path == target else rng.random((96, 112, 3), np.float32))
    elif how == "empty":
        for path in (tmp_path / "images").iterdir():
            path.unlink()
    elif how == "two bands more":
        write_image(target, np.zeros((96, 112, 5), np.uint8))
    return tmp_path


@pytest.mark.parametrize("how", ["truncated", "mask of another size", "nan", "empty", "two bands more"])
def test_train_reports_bad_data_in_one_line(folder, tmp_path, capsys, how):
    bad = damaged(tmp_path / "data", folder, how)
    assert run("train", *SMALL, "--data", bad, "--run", tmp_path / "run", "--epochs", 1, "--augment", "none") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert str(bad) in error
    assert "Traceback" not in error


@pytest.mark.parametrize("how", ["truncated", "nan", "two bands more"])
def test_a_bad_image_leaves_no_output(trained, folder, tmp_path, capsys, how):
    bad = damaged(tmp_path / "data", folder, how) / "images" / "1.tif"
    (tmp_path / "out").mkdir()
    assert run("predict", trained, bad, tmp_path / "out" / "mask.tif") == 2
    assert list((tmp_path / "out").iterdir()) == []
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert str(bad) in error


def test_other_mistakes_are_one_line(trained, image, folder, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, expected in [
        (("train", "--model", "unet_paded", "--data", folder), "unet_padded"),
        (("train", *SMALL, "--option", "filtres=[4]", "--data", folder), "filters"),
        (("train", *SMALL, "--data", folder, "--loss", "dise"), "dice"),
        (("train", *SMALL, "--data", folder, "--batch-size", 3, "--devices", "cpu:2"), "multiple of the 2 devices"),
        (("train", *SMALL, "--data", folder, "--devices", "two"), "cpu:N"),
        (("train", *SMALL, "--data", folder, "--run", trained), "--resume"),
        (("train", "--model", "vnet3d", "--data", folder), "3 spatial axes"),
        (("predict", trained, empty, tmp_path / "out"), "folder with images"),
        (("predict", trained, image, tmp_path / "none" / "mask.tif"), "none"),
        (("predict", trained, image, tmp_path / "mask.doc"), ".tif"),
        (("predict", trained, image, tmp_path / "mask.tif", "--memory", "10MB"), "--memory: expected at least"),
    ]:
        if arguments[0] == "train" and "--run" not in arguments:
            arguments += ("--run", tmp_path / "run")
        assert run(*arguments) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("error: ")
        assert expected in error, (arguments, error)
        assert not (tmp_path / "run" / "history.csv").exists()


@pytest.mark.slow
def test_a_killed_run_resumes_where_it_stopped(folder, tmp_path):
    """SIGKILL in epoch 2 of 4; resumed, the history is that of one run."""
    path = tmp_path / "run"
    command = [sys.executable, "train.py", *SMALL, "--data", str(folder), "--run", str(path), "--epochs", "4"]
    history = path / "history.csv"
    killed = subprocess.Popen(
        [*command, "--steps", "40"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    patience = time.monotonic() + 240
    while not (path / "last.keras").exists():
        assert time.monotonic() < patience
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = history.read_text().splitlines()
    assert 2 <= len(before) <= 4

    resumed = [sys.executable, "train.py", "--run", str(path), "--resume"]
    answer = subprocess.run(resumed, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    rows = read_rows(history)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert history.read_text().splitlines()[:2] == before[:2]
    assert (path / "scores.json").exists()
    assert not list(path.glob(".*"))


@pytest.mark.slow
def test_volumes_make_a_model_3d_and_keep_their_affine(tmp_path):
    affine = np.array([[0, -1.5, 0, 10], [2, 0, 0, -5], [0, 0, 3, 7], [0, 0, 0, 1.0]])
    rng = np.random.default_rng(0)
    for index in range(3):
        label = np.zeros((18, 21, 16), np.float32)
        label[4:9, 4:9, 4:9], label[9:14, 9:14, 4:9] = 1, 2
        volume = (rng.normal(100, 10, label.shape) + 50 * label).astype(np.float32)
        for name, array in (("images", volume), ("labels", label)):
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / "data" / name / f"{index}.nii.gz")
    options = ["--epochs", 1, "--steps", 1, "--batch-size", 1, "--patch", 16, "--option", "filters=[4,8]"]
    path = tmp_path / "run"
    assert run("train", "--model", "unet_padded", "--data", tmp_path / "data", "--run", path, *options) == 0
    assert run("predict", path, tmp_path / "data" / "images", tmp_path / "masks") == 0
    mask = nibabel.load(tmp_path / "masks" / "0.nii.gz")
    np.testing.assert_allclose(mask.affine, affine)
    assert mask.shape == (18, 21, 16)
    assert mask.get_data_dtype() == np.uint8
    assert set(np.unique(mask.dataobj)) <= {0, 1, 2}
    assert json.loads((path / "data.json").read_text())["task"] == "multiclass"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["unet", "vnet3d"])
def test_synthetic_images_need_no_data_at_all(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    option = {"unet": "filters=[4,8]", "vnet3d": "start_filters=4"}[model]
    assert run("train", "--model", model, "--option", option, "--epochs", 1, "--steps", 2, "--batch-size", 2) == 0
    printed = capsys.readouterr().out
    assert "Dice 0." in printed
    command = printed.splitlines()[-1].removeprefix("try: ").split()
    assert run("predict", *command[command.index("predict") + 1 if "predict" in command else 2 :]) == 0
    assert Path(command[-1]).is_file()
    source = data.open_source(command[-1])
    assert source.shape == data.open_source(command[-2]).shape
