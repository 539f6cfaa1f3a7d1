"""Folds and seeds: each a process of its own, the folds the same for all, what is finished is not done again."""

import csv
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from maskzoo import cli, data, training
from maskzoo.training.folds import assign_folds

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"{patient}{number}" for patient in "abcd" for number in range(2)]


@pytest.fixture(scope="module")
def folder(grey_squares):
    return grey_squares


@pytest.fixture
def program(tmp_path):
    """A stand-in for `train`: leaves what a training leaves, with a Dice that says which one it was.

    FAIL names a fold that ends with an error, HANG one that goes on until it is interrupted.
    """
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import json, os, sys, time
        from pathlib import Path
        from maskzoo import training
        options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
        fold, seed, run = int(options["--fold"]), int(options["--seed"]), Path(options["--run"])
        print("Epoch 1", flush=True)
        epochs = training.read_recipe(Path(options["--recipe"]).parent).epochs
        recipe = training.Recipe(folds=options["--folds"], fold=fold, seed=seed, epochs=epochs)
        if os.environ.get("FAIL") == str(fold):
            if "TRAINED" in os.environ:
                (run / "last.keras").touch()
            sys.exit("error: loss: expected a finite one")
        from maskzoo.training.run_folder import write_recipe
        write_recipe(recipe, run)
        if os.environ.get("HANG") == str(fold):
            (run / "hangs").write_text(str(os.getpid()))
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                (run / "interrupted").touch()
            sys.exit(130)
        best = (10 * fold + seed) / 100
        (run / "history.csv").write_text(f"epoch,val_dice\\n1,{best / 2}\\n2,{best}\\n3,{best / 4}\\n")
        (run / "last.keras").touch()
        (run / "calls").write_text((run / "calls").read_text() + "." if (run / "calls").exists() else ".")
        (run / "scores.json").write_text(json.dumps({"dice": [best, best + 0.02]}))
        """)
    )
    return [sys.executable, str(script)]


def recipe(folder, run, **options):
    return training.Recipe(data=str(folder), run=str(run), **options)


def test_every_fold_with_every_seed_and_the_table(folder, program, tmp_path, caplog):
    caplog.set_level(logging.INFO, "maskzoo")
    run, rows = training.train_folds(recipe(folder, tmp_path / "run", folds=2, seeds=3, seed=5), program)
    assert sorted(p.name for p in run.iterdir() if p.is_dir()) == [
        f"fold{f}-seed{s}" for f in (0, 1) for s in (5, 6, 7)
    ]
    # The stand-in's Dice is 0.1 times the fold and 0.01 times the seed.
    bests = [0.05, 0.06, 0.07, 0.15, 0.16, 0.17]
    np.testing.assert_allclose([row["best"] for row in rows[:6]], bests)
    np.testing.assert_allclose([row["last"] for row in rows[:6]], [best / 4 for best in bests])
    np.testing.assert_allclose([row["images"] for row in rows[:6]], [best + 0.01 for best in bests])
    assert {row["best_epoch"] for row in rows[:6]} == {2}
    scores = json.loads((run / "scores.json").read_text())
    np.testing.assert_allclose(scores["mean"]["best"], 0.11)
    np.testing.assert_allclose(scores["deviation"]["best"], statistics.stdev(bests))
    with (run / "scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["fold"] for row in table] == ["0"] * 3 + ["1"] * 3 + ["mean", "deviation"]
    np.testing.assert_allclose([float(row["best"]) for row in table[:6]], bests)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == f"6 trainings: 2 folds of 8 images, 3 seeds; {run}"
    assert len([line for line in lines if "fold 1, seed 6: Dice 0.1600 in epoch 2" in line]) == 1
    folds = data.read_folds(run / "folds.json", NAMES)
    assert sorted(folds.values()) == [0] * 4 + [1] * 4


def test_what_is_finished_is_not_done_again_unless_more_epochs_are_asked_for(folder, program, tmp_path):
    first = recipe(folder, tmp_path / "run", folds=2, epochs=3)
    run, _ = training.train_folds(first, program)
    before = (run / "folds.json").read_bytes()
    (run / "fold1-seed0" / "scores.json").unlink()
    calls = [run / f"fold{fold}-seed{seed}" / "calls" for fold in (0, 1) for seed in (0, 1)]
    # Another seed may join; folds were made once.
    training.train_folds(recipe(folder, run, folds=2, epochs=3, seeds=2, resume=True), program)
    assert [len(path.read_text()) for path in calls] == [1, 1, 2, 1]
    training.train_folds(recipe(folder, run, folds=2, epochs=4, seeds=2, resume=True), program)
    assert [len(path.read_text()) for path in calls] == [2, 2, 3, 2]
    assert (run / "folds.json").read_bytes() == before
    with pytest.raises(ValueError, match=r"^folds: expected 2 to resume"):
        training.train_folds(recipe(folder, run, folds=3, resume=True), program)


def test_a_failure_of_the_options_ends_all_and_leaves_nothing(folder, program, tmp_path, monkeypatch):
    monkeypatch.setenv("FAIL", "0")
    with pytest.raises(ValueError, match="fold 0, seed 0: loss: expected a finite one"):
        training.train_folds(recipe(folder, tmp_path / "run", folds=2), program)
    assert not (tmp_path / "run").exists()


def test_a_failure_does_not_remove_models_without_their_last_epoch(folder, program, tmp_path, monkeypatch):
    run, _ = training.train_folds(recipe(folder, tmp_path / "run", folds=2, epochs=3), program)
    for model in run.glob("fold*/last.keras"):
        model.rename(model.with_name("best.keras"))
    monkeypatch.setenv("FAIL", "0")
    with pytest.raises(ValueError, match="fold 0, seed 0: loss: expected a finite one"):
        training.train_folds(recipe(folder, run, folds=2, epochs=4, resume=True), program)
    assert len(list(run.glob("fold*/best.keras"))) == 2


def test_a_failure_in_the_middle_does_not_keep_the_others(folder, program, tmp_path, monkeypatch):
    monkeypatch.setenv("FAIL", "0")
    monkeypatch.setenv("TRAINED", "yes")
    with pytest.raises(ValueError, match="1 failed: fold 0, seed 0"):
        training.train_folds(recipe(folder, tmp_path / "run", folds=2), program)
    assert (tmp_path / "run" / "fold1-seed0" / "scores.json").exists()
    assert (tmp_path / "run" / "fold0-seed0" / "train.log").read_text().startswith("Epoch 1")


def start(folder, run, program):
    """Starts `train_folds` in a process and waits until its training of fold 1 hangs."""
    script = (
        "import sys; from maskzoo import training; "
        "training.train_folds(training.Recipe(data=sys.argv[1], run=sys.argv[2], folds=2), sys.argv[3:])"
    )
    command = [sys.executable, "-c", script, str(folder), str(run), *program]
    parent = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"HANG": "1"}, stderr=subprocess.DEVNULL)
    patience = time.monotonic() + 30
    while not (run / "fold1-seed0" / "hangs").exists() or not (run / "fold1-seed0" / "hangs").read_text():
        assert time.monotonic() < patience
        assert parent.poll() is None
        time.sleep(0.05)
    return parent, int((run / "fold1-seed0" / "hangs").read_text())


def is_running(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_training_ends_with_its_parent(folder, program, tmp_path, how):
    run = tmp_path / "run"
    parent, child = start(folder, run, program)
    with pytest.raises(OSError, match="expected a run that no other process trains"):
        training.train_folds(recipe(folder, run, folds=2, resume=True), program)
    parent.send_signal(how)
    assert parent.wait(20) != 0
    patience = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < patience
        time.sleep(0.05)
    assert (run / "fold1-seed0" / "interrupted").exists() == (how == signal.SIGINT)
    training.train_folds(recipe(folder, run, folds=2, resume=True), program)
    assert len((run / "fold0-seed0" / "calls").read_text()) == 1
    assert (run / "fold1-seed0" / "scores.json").exists()


def test_seeds_never_change_the_folds_and_groups_stay_together(folder, tmp_path):
    def held_out(**options):
        chosen = training.Recipe(data=str(folder / "set.yaml"), **options)
        return assign_folds(chosen, data.read_spec(chosen.data, chosen.data_options()))

    folds, regions, numbers = held_out(folds=2, seeds=4)
    assert regions == {}
    assert numbers == [0, 1]
    assert len({(name[0], fold) for name, fold in folds.items()}) == 4
    # Without folds, the images that are held out by default are so for all seeds.
    alone, _, numbers = held_out(seeds=3)
    assert numbers == [0]
    assert {name for name, fold in alone.items() if fold == 0} == data.held_out_names(
        NAMES, 0.2, groups={name: name[0] for name in NAMES}
    )
    data.write_folds(tmp_path / "folds.json", folds)
    assert held_out(folds=str(tmp_path / "folds.json")) == (folds, {}, [0, 1])


def test_folds_and_seeds_of_one_image_are_those_of_its_regions(folder, tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / "one" / kind).mkdir(parents=True)
        picture = np.zeros((90, 120), np.uint8)
        picture[::2] = 255
        cv2.imwrite(str(tmp_path / "one" / kind / "scene.png"), picture)

    def assigned(**options):
        chosen = training.Recipe(data=str(tmp_path / "one"), **options)
        return assign_folds(chosen, data.read_spec(chosen.data, chosen.data_options()))

    folds, regions, numbers = assigned(folds=3)
    assert folds == {f"scene-region{number + 1}": number for number in numbers}
    assert numbers == [0, 1, 2]
    data.write_folds(tmp_path / "folds.json", folds, regions=regions)
    assert assigned(folds=str(tmp_path / "folds.json")) == (folds, regions, numbers)
    alone, regions, numbers = assigned(seeds=2)
    assert (alone, numbers) == ({"scene-region1": 0}, [0])
    data.write_folds(tmp_path / "seeds.json", alone, regions=regions)
    spec = data.read_spec(tmp_path / "one", {"folds": str(tmp_path / "seeds.json")})
    (case,) = data.load_data(spec, spatial_dims=2, seed=7).validation
    assert case.image.shape == regions["scene-region1"].size


def test_mistakes_are_one_line(folder, tmp_path, capsys):
    for arguments, expected in [
        (["--folds", 1], "--folds: expected a file, or at least 2"),
        (["--folds", 9], "expected 2 to 8"),
        (["--folds", 2, "--fold", 0], "which --fold needs"),
        (["--folds", tmp_path / "none.json"], "none.json"),
        (["--seeds", 0], "--seeds: expected at least 1"),
        (["--folds", 2, "--data", "synthetic"], "maskzoo synth"),
    ]:
        with pytest.raises(SystemExit) as stop:
            cli.main("train", [str(a) for a in ["--data", folder, "--run", tmp_path / "run", *arguments]])
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_folds_killed_in_the_second_and_resumed(folder, tmp_path):
    """Nothing is simulated: a process per fold, the parent without Keras, 8-bit probabilities of held-out images."""
    run = tmp_path / "run"
    options = ["--model", "unet_padded", "--option", "filters=[4]", "--patch", "16", "--steps", "2", "--epochs", "1"]
    command = ["-m", "maskzoo", "train", *options, "--data", str(folder), "--folds", "2", "--run", str(run)]
    parent = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL)
    patience = time.monotonic() + 120
    while not (run / "fold1-seed0" / "train.log").exists():
        assert time.monotonic() < patience
        assert parent.poll() is None
        time.sleep(0.1)
    libraries = Path(f"/proc/{parent.pid}/maps").read_text()
    assert "rasterio" in libraries
    assert "tensorflow" not in libraries
    parent.kill()
    parent.wait()
    written = (run / "fold0-seed0" / "best.keras").stat().st_mtime_ns

    answer = subprocess.run(
        [sys.executable, *command, "--resume"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "fold 0, seed 0: already finished" in answer.stdout
    assert (run / "fold0-seed0" / "best.keras").stat().st_mtime_ns == written
    folds = data.read_folds(run / "folds.json", NAMES)
    for fold in (0, 1):
        stored = run / f"fold{fold}-seed0"
        held_out = sorted(name for name in NAMES if folds[name] == fold)
        assert json.loads((stored / "data.json").read_text())["validation"] == held_out
        assert sorted(path.name for path in (stored / "out_of_fold").iterdir()) == [f"{n}.tif" for n in held_out]
        source = data.open_source(stored / "out_of_fold" / f"{held_out[0]}.tif")
        assert (source.channels, source.shape, source.dtype) == (1, (48, 40), np.uint8)
        assert len(np.unique(source.read(data.Window((0, 0), (48, 40))))) > 2
    assert len((run / "scores.csv").read_text().splitlines()) == 5
