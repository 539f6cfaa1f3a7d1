"""`maskzoo folds`: files that every tool reads, in which no group is split; mistakes in one line."""

import json

import cv2
import numpy as np
import pytest
from run_verb import run_and_capture

from maskzoo import data


def run(capsys, *arguments):
    return run_and_capture(capsys, "folds", *arguments)


@pytest.fixture
def folder(tmp_path):
    """Thirty images of ten patients; the share of foreground is the number of the image in percent."""
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(30):
        name = f"patient{number // 3}-{number:02}.png"
        cv2.imwrite(str(tmp_path / "set" / "images" / name), rng.integers(0, 256, (10, 10, 3), np.uint8))
        mask = np.zeros(100, np.uint8)
        mask[:number] = 255
        cv2.imwrite(str(tmp_path / "set" / "masks" / name), mask.reshape(10, 10))
    return tmp_path / "set"


def test_no_patient_is_split_in_any_repeat(folder, capsys):
    path = folder / "folds.json"
    code, out, err = run(capsys, folder, path, "--k", 5, "--repeats", 3, "--group", "^(patient[0-9]+)", "--stratify")
    assert (code, err) == (0, "")
    assert f"wrote {path}" in out
    names = data.image_names(folder)
    assert len(names) == 30
    several = [data.read_folds(path, names, repeat) for repeat in range(3)]
    assert len({tuple(folds.items()) for folds in several}) == 3
    for folds in several:
        assert sorted(np.bincount(list(folds.values()))) == [6] * 5
        patients = {(name.split("-")[0], fold) for name, fold in folds.items()}
        assert len(patients) == 10
    with pytest.raises(ValueError, match=r"folds.json: expected a repeat below 3; received 3"):
        data.read_folds(path, names, 3)


def test_stratified_folds_share_the_foreground(folder, capsys):
    shares = data.foreground_fractions(folder)
    assert list(shares.values()) == pytest.approx([number / 100 for number in range(30)])
    code, out, _ = run(capsys, folder, folder / "folds.json", "--stratify")
    folds = json.loads((folder / "folds.json").read_text())["folds"]
    means = [np.mean([shares[name] for name in folds if folds[name] == fold]) for fold in range(5)]
    assert code == 0
    assert np.ptp(means) < 0.03
    assert f"{means[0]:.2%}" in out


def test_the_foreground_of_joined_sets_is_spread_over_the_folds(folder, tmp_path, capsys):
    second = tmp_path / "second"
    for name in ("images", "masks"):
        (second / name).mkdir(parents=True)
        for path in sorted((folder / name).iterdir())[15:]:
            path.rename(second / name / path.name)
    (tmp_path / "both.yaml").write_text("sets: {set: 1, second: 2}\n")
    shares = data.foreground_fractions(tmp_path / "both.yaml")
    assert list(shares) == data.images_to_split(data.read_spec(tmp_path / "both.yaml")).names
    assert sorted(shares.values()) == pytest.approx([number / 100 for number in range(30)])
    code, _, err = run(capsys, tmp_path / "both.yaml", tmp_path / "folds.json", "--stratify")
    assert (code, err) == (0, "")
    folds = json.loads((tmp_path / "folds.json").read_text())["folds"]
    assert {name.split("-")[0] for name in folds} == {"set", "second"}
    means = [np.mean([shares[name] for name in folds if folds[name] == fold]) for fold in range(5)]
    assert np.ptp(means) < 0.03


def test_a_patient_of_two_sets_is_in_one_fold(folder, tmp_path, capsys):
    second = tmp_path / "second"
    for name in ("images", "masks"):
        (second / name).mkdir(parents=True)
        for path in sorted((folder / name).iterdir())[1::2]:
            path.rename(second / name / path.name)
    (tmp_path / "both.yaml").write_text("sets: {set: 1, second: 2}\n")
    for seed in range(3):
        options = ["--k", 3, "--group", "^(patient[0-9])", "--seed", seed]
        assert run(capsys, tmp_path / "both.yaml", tmp_path / "folds.json", *options)[0] == 0
        folds = json.loads((tmp_path / "folds.json").read_text())["folds"]
        assert len({(name.split("-")[1], fold) for name, fold in folds.items()}) == 10


def test_one_image_is_divided_into_regions(tmp_path, capsys):
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
        pixels = np.random.default_rng(0).integers(0, 2, (90, 120), np.uint8)
        cv2.imwrite(str(tmp_path / "set" / name / "scene.png"), pixels)
    path = tmp_path / "folds.json"
    assert run(capsys, tmp_path / "set", path, "--k", 3)[0] == 0
    content = json.loads(path.read_text())
    assert content["folds"] == {f"scene-region{number + 1}": number for number in range(3)}
    assert {region["image"] for region in content["regions"].values()} == {"scene"}
    spec = data.read_spec(tmp_path / "set", {"folds": str(path), "fold": 1})
    assert [case.name for case in data.load_data(spec, spatial_dims=2).validation] == ["scene-region2"]
    for option in (["--repeats", 2], ["--stratify"]):
        code, _, err = run(capsys, tmp_path / "set", path, "--k", 3, *option)
        assert code == 2
        assert f"{option[0]}: expected several images" in err


def test_a_specification_holds_out_the_fold(folder, capsys):
    assert run(capsys, folder, folder / "folds.json", "--k", 3, "--split", "block")[0] == 0
    (folder / "set.yaml").write_text("path: .\nfolds: folds.json\nfold: 2\n")
    loaded = data.load_data(str(folder / "set.yaml"), spatial_dims=2)
    names = data.image_names(folder)
    assert [case.name for case in loaded.validation] == names[20:]
    assert run(capsys, folder, folder / "folds.json", "--k", 3, "--repeats", 2)[0] == 0
    (folder / "set.yaml").write_text("path: .\nfolds: folds.json\nfold: 2\nrepeat: 1\n")
    loaded = data.load_data(str(folder / "set.yaml"), spatial_dims=2)
    folds = data.make_folds(names, 3, seed=1)
    assert [case.name for case in loaded.validation] == [name for name in names if folds[name] == 2]


def test_the_same_seed_writes_the_same_file(folder, capsys):
    for name in ("a", "b"):
        run(capsys, folder, folder / f"{name}.json", "--seed", 4)
    assert (folder / "a.json").read_bytes() == (folder / "b.json").read_bytes()
    assert [path.name for path in folder.glob(".*")] == []


def test_mistakes_are_one_line(folder, capsys):
    mistakes = {
        ("nowhere", "folds.json"): "nowhere",
        (folder, "folds.txt"): "output: expected a file name that ends in .json; received folds.txt",
        (folder, folder / "none" / "folds.json"): "none",
        (folder, folder / "f.json", "--k", 31): "--k: expected 2 to 30",
        (folder, folder / "f.json", "--repeats", 0): "--repeats: expected at least 1",
        (folder, folder / "f.json", "--split", "blok"): "split: expected block (of random, block); received blok",
        (folder, folder / "f.json", "--split", "block", "--stratify"): "--split: expected random",
        (folder, folder / "f.json", "--group", "clinic"): "to be found in every name",
        (folder, folder / "f.json", "--stratyfi"): "--stratify",
    }
    for arguments, expected in mistakes.items():
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert expected in err
    assert not (folder / "f.json").exists()
