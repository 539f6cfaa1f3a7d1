"""No verb writes over what it reads: images, labels, runs and what describes them."""

import json
import shutil

import pytest
from run_verb import run_and_capture

from maskzoo import data


@pytest.fixture
def place(squares, trained_run, tmp_path):
    """A data set with a run that was trained on it, both for one test, and what all their files hold."""
    shutil.copytree(squares, tmp_path / "set")
    shutil.copytree(trained_run, tmp_path / "run")
    described = json.loads((tmp_path / "run/data.json").read_text())
    described["spec"]["path"] = str(tmp_path / "set")
    (tmp_path / "run/data.json").write_text(json.dumps(described))
    (tmp_path / "set.yaml").write_text("path: set\n")
    return tmp_path


def contents(place):
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and not path.is_symlink()}


def refused(capsys, place, *arguments):
    """Whether a command ends in one line that names an output which is read, and leaves every file as it was."""
    before = contents(place)
    code, out, err = run_and_capture(capsys, *arguments)
    assert contents(place) == before
    assert (code, out, err.count("\n")) == (2, "", 1), err
    return "an output that is none of the inputs" in err


def test_predict_refuses_its_image_by_any_name(place, capsys):
    image, run = place / "set/images/0.tif", place / "run"
    (place / "soft.tif").symlink_to(image)
    (place / "hard.tif").hardlink_to(image)
    (place / "set/images/0.tif.ovr").write_bytes(b"overview")
    for output in (image, place / "soft.tif", place / "hard.tif", image.with_name("0.TIF"), place / "set/masks/0.tif"):
        assert refused(capsys, place, "predict", run, image, output), output
    for output in ("history.csv", "samples.png"):
        assert refused(capsys, place, "predict", run, image, run / output), output


def test_predict_refuses_the_folder_of_its_images(place, capsys):
    images, run = place / "set/images", place / "run"
    (place / "linked").symlink_to(images)
    for output in (images, place / "linked", place / "set/../set/images", place / "set/masks"):
        assert refused(capsys, place, "predict", run, images, output), output
    # A result that would have the place of an image by a link.
    (place / "out").mkdir()
    (place / "out/3.tif").symlink_to(images / "3.tif")
    assert refused(capsys, place, "predict", run, images, place / "out")
    shutil.copy(run / "history.csv", images / "table.csv")
    assert refused(capsys, place, "predict", run, images, run / "history.csv")


def test_predict_refuses_the_channels_of_its_images(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    described = {"task": "binary", "class_names": ["cell"], "channels": 2, "rank": 2, "patch": [32, 32]}
    described |= {"normalization": {"kind": "none", "channels": 2}, "decision": None}
    for channels in ({"red": "red", "nir": "nir"}, {"a": "_0000", "b": "_0001"}):
        spec = {"path": str(tmp_path / "gone"), "channels": channels}
        (tmp_path / "run/data.json").write_text(json.dumps(described | {"spec": spec}))
        for name in ("best.keras", "decision.json"):
            (tmp_path / "run" / name).write_text("{}")
        for name in ("red/0.tif", "nir/0.tif", "both/0_0000.tif", "both/0_0001.tif"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"pixels")
        commands = {
            "red": [(tmp_path / "red/0.tif", tmp_path / "nir/0.tif"), (tmp_path, tmp_path / "nir")],
            "a": [(tmp_path / "both/0_0000.tif", tmp_path / "both/0_0001.tif")],
        }
        for image, output in commands[next(iter(channels))]:
            # The model is no model: it is not even looked at.
            assert refused(capsys, tmp_path, "predict", tmp_path / "run", image, output), (image, output)


def test_predict_refuses_the_files_behind_its_image(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    described = {"task": "binary", "class_names": ["cell"], "channels": 1, "rank": 3, "patch": [32] * 3}
    described |= {"normalization": {"kind": "none", "channels": 1}, "spec": {"path": str(tmp_path / "gone")}}
    (run / "data.json").write_text(json.dumps(described))
    for name in ("best.keras", "decision.json"):
        (run / name).write_text("{}")
    (tmp_path / "scan.mhd").write_text("NDims = 3\nElementDataFile = voxels.npy\n")
    (tmp_path / "voxels.npy").write_bytes(b"voxels")
    (tmp_path / "series").mkdir()
    (tmp_path / "series/a.dcm").write_bytes(b"slice")
    (tmp_path / "hard.nii").hardlink_to(tmp_path / "series/a.dcm")
    assert refused(capsys, tmp_path, "predict", run, tmp_path / "scan.mhd", tmp_path / "voxels.npy")
    assert refused(capsys, tmp_path, "predict", run, tmp_path / "series", tmp_path / "hard.nii")


def test_predict_writes_beside_its_images(place, capsys):
    images, run = place / "set/images", place / "run"
    assert run_and_capture(capsys, "predict", run, images / "0.tif", images / "0-mask.tif")[0] == 0
    assert run_and_capture(capsys, "predict", run, images / "0.tif", run / "0-mask.tif")[0] == 0
    assert run_and_capture(capsys, "predict", run, images / "0.tif", run / "0-mask.tif", "--quiet") == (0, "", "")


def test_the_other_verbs_refuse_what_they_read(place, capsys):
    run, spec = place / "run", place / "set.yaml"
    (place / "set/masks/picture.png").write_bytes(b"no picture")
    (place / "set/images/set.json").write_text("{}")
    (place / "linked.csv").symlink_to(run / "history.csv")
    (place / "againstset").mkdir()
    cases = [
        ("evaluate", run, "--csv", run / "history.csv"),
        ("evaluate", run, "--data", spec, "--csv", place / "linked.csv"),
        ("inspect", spec, "--picture", place / "set/masks/picture.png"),
        ("folds", spec, place / "set/images/set.json"),
        ("runs", run, "--csv", run / "history.csv"),
        ("runs", place, "--csv", place / "linked.csv"),
        ("compare", "unet_padded", "--csv", place / "a.png", "--plot", place / "A.png"),
        ("train", "--data", spec, "--run", place / "set"),
        ("train", "--data", spec, "--run", place / "SET/images"),
        ("train", "--data", place / "set", "--run", place / "again", "--init-from", place / "again"),
        ("export", run, place / "RUN"),
        ("pseudo", run, place / "set/images", place / "SET/IMAGES"),
    ]
    for arguments in cases:
        assert refused(capsys, place, *arguments), arguments


def test_the_files_of_a_set_are_its_images_labels_and_descriptions(place):
    (place / "set.yaml").write_text("path: set\nfolds: folds.json\n")
    names = {path.name for path in data.files_of(place / "set.yaml")}
    assert names == {"set.yaml", "set", "images", "masks", "folds.json", *(f"{number}.tif" for number in range(5))}
    assert "folds.json" not in {path.name for path in data.files_of(place / "set.yaml", with_folds=False)}
