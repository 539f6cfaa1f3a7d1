"""Run folders: new ones, ones to resume, and what they say about themselves."""

import json
import os
import sys

import pytest
import yaml

from maskzoo.errors import ExistingFile, MissingFile, OptionError, RunError
from maskzoo.training import Recipe, create_run, discard_unfinished, read_recipe, run_folder


def test_a_run_without_a_name_gets_a_free_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [create_run(Recipe(model="unet", data="sets/cells.yaml")) for _ in range(3)]
    assert [str(run) for run in runs] == ["runs/unet-cells", "runs/unet-cells-2", "runs/unet-cells-3"]


def test_a_folder_that_holds_a_run_is_not_overwritten(tmp_path):
    run = create_run(Recipe(run=str(tmp_path / "run")))
    (run / "train.log").touch()
    assert create_run(Recipe(run=str(run))) == run
    (run / "last.keras").touch()
    with pytest.raises(ExistingFile, match="expected a new folder, or `resume`"):
        create_run(Recipe(run=str(run)))


def test_a_run_is_resumed_with_its_own_options(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(MissingFile, match="run: expected a run folder"):
        create_run(Recipe(run=str(run), resume=True))
    recipe = Recipe(run=str(run), epochs=3, patch=64)
    run_folder.write_recipe(recipe, create_run(recipe))
    assert create_run(Recipe(run=str(run), resume=True, epochs=5, patch=64)) == run
    with pytest.raises(OptionError, match=r"^patch: expected 64 to resume .*; received 32"):
        create_run(Recipe(run=str(run), resume=True, epochs=3, patch=32))


def test_stages_are_resumed_at_other_rates_but_with_the_same_windows(tmp_path):
    run = tmp_path / "run"
    recipe = Recipe(run=str(run), stages=[{"patch": 32, "learning_rate": 1.0}])
    run_folder.write_recipe(recipe, create_run(recipe))
    assert create_run(Recipe(run=str(run), resume=True, stages=[{"patch": 32, "learning_rate": 1e-3}])) == run
    with pytest.raises(OptionError, match=r"^stages: expected"):
        create_run(Recipe(run=str(run), resume=True, stages=[{"patch": 16}]))
    # Every stage has a rate of its own, so that this one would change nothing.
    with pytest.raises(OptionError, match=r"^learning_rate: expected another value in `stages`, each of which has"):
        create_run(Recipe(run=str(run), resume=True, learning_rate=1e-4, stages=recipe.stages))


def test_the_data_of_a_run_may_lie_elsewhere_and_the_folds_of_a_single_one_too(tmp_path):
    """What the images are is looked at when they are opened."""
    run = tmp_path / "run"
    recipe = Recipe(run=str(run), data="here", folds="here.json", fold=1)
    run_folder.write_recipe(recipe, create_run(recipe))
    assert create_run(Recipe(run=str(run), resume=True, data="there", folds="there.json", fold=1)) == run
    with pytest.raises(OptionError, match=r"^fold: expected 1 to resume"):
        create_run(Recipe(run=str(run), resume=True, data="there", folds="there.json", fold=2))
    several = Recipe(run=str(tmp_path / "several"), data="here", folds=3)
    run_folder.write_recipe(several, create_run(several))
    with pytest.raises(OptionError, match=r"^folds: expected 3 to resume"):
        create_run(Recipe(run=several.run, resume=True, data="here", folds=4))


def test_what_killed_processes_left_is_removed_at_the_next_start(tmp_path):
    (tmp_path / "run" / "kept").mkdir(parents=True)
    dead = 2**22 + 1  # more than Linux gives to a process
    left = [tmp_path / "run" / f".best.{dead}.keras", tmp_path / "run" / "kept" / f".a.keras.{dead}.unfinished.keras"]
    ours = tmp_path / "run" / f".last.keras.{os.getpid()}.unfinished.keras"
    # The progress of a prediction, and somebody's notes.
    others = [tmp_path / "run/kept" / f".slide.{dead}.tif.journal", tmp_path / "run" / f".notes.{dead}.txt"]
    for path in (*left, *others, ours):
        path.touch()
    recipe = Recipe(run=str(tmp_path / "run"))
    run_folder.write_recipe(recipe, tmp_path / "run")
    create_run(Recipe(run=str(tmp_path / "run"), resume=True))
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in (*others, ours))


def test_the_recipe_of_an_earlier_version_is_read_and_resumed_by_its_new_names(tmp_path):
    new = Recipe(hard_example_fraction=0.5, stages=[{"mask_sigma": 2.0}])
    old = new.as_mapping()
    for name, renamed in {"hard": "hard_example_fraction", "mix": "mix_probabilities", "fine": "roi_classes"}.items():
        old[name] = old.pop(renamed)
    old["stages"] = [{"soften": 2.0}]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(old))
    assert read_recipe(tmp_path) == new
    assert create_run(Recipe(**new.as_mapping(), run=str(tmp_path), resume=True)) == tmp_path


@pytest.mark.parametrize("text", ["a: [", "- a list", "model: unet\nunknown: 1"])
def test_a_damaged_recipe_is_named(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises((RunError, OptionError), match=r"recipe\.yaml: expected"):
        read_recipe(tmp_path)


def test_a_run_without_a_checkpoint_leaves_only_its_log(tmp_path):
    for name, left in {"a": [], "b": ["train.log"]}.items():
        run = tmp_path / name
        (run / "logs").mkdir(parents=True)
        (run / "recipe.yaml").touch()
        for file in left:
            (run / file).touch()
        assert discard_unfinished(run)
        assert [path.name for path in run.iterdir()] == left if left else not run.exists()
    for name in ("last.keras", "best.keras"):
        model = tmp_path / "b" / name
        model.touch()
        assert not discard_unfinished(tmp_path / "b")
        assert model.exists()
        model.unlink()


def test_a_run_whose_last_model_is_gone_is_not_begun_anew(tmp_path):
    folder = create_run(Recipe(run=str(tmp_path / "run")))
    run_folder.write_recipe(Recipe(), folder)
    resumed = Recipe(run=str(folder), resume=True)
    assert create_run(resumed) == folder
    (folder / "best.keras").touch()
    (folder / "history.csv").write_text("epoch,stage\n1,1\n")
    assert create_run(resumed) == folder
    (folder / "history.csv").write_text("epoch,stage\n1,1\n2,1\n")
    with pytest.raises(MissingFile, match=r"expected a run with a last\.keras, which is"):
        create_run(resumed)
    (folder / "last.keras").touch()
    assert create_run(resumed) == folder


def test_the_manifest_says_what_a_run_was_made_with(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed", "7"])
    run_folder.Manifest.now(Recipe(seed=7), "abc", 1234).write(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["format"] == run_folder.MANIFEST_FORMAT
    assert (manifest["seed"], manifest["data_fingerprint"], manifest["parameters"]) == (7, "abc", 1234)
    assert manifest["command"] == ["train.py", "--seed", "7"]
    assert manifest["backend"].startswith("tensorflow ")
    assert {"keras", "numpy"} <= manifest["versions"].keys()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
