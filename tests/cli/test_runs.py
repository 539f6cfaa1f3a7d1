"""A list of runs: read from the folders without Keras, the best first, broken ones shown as such."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from maskzoo import cli, training

ROOT = Path(__file__).resolve().parents[2]


def write_run(path, dice, epochs=3, scores=None, started="2026-01-02T03:04:05+00:00", **recipe):
    """A run folder as training leaves it, with empty models."""
    path.mkdir(parents=True)
    options = {"model": "unet", "epochs": epochs, "data": "/data/cells", **recipe}
    (path / "recipe.yaml").write_text(yaml.safe_dump(training.Recipe(**options).as_mapping()))
    (path / "manifest.json").write_text(json.dumps({"started": started, "parameters": 1234567}))
    (path / "data.json").write_text(json.dumps({"patch": [64, 64]}))
    if dice:
        lines = ["epoch,val_dice", *(f"{epoch},{value}" for epoch, value in enumerate(dice, 1))]
        (path / "history.csv").write_text("\n".join(lines) + "\n")
        for name in ("best.keras", "last.keras"):
            (path / name).write_bytes(b"")
    if scores:
        (path / "scores.json").write_text(json.dumps({"dice": scores}))
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "runs"
    write_run(root / "good", [0.5, 0.875, 0.75], scores=[0.75, 0.25], option={"encoder": "resnet34", "width": [4, 8]})
    write_run(root / "worse", [0.25, 0.5], loss="dice", seed=3)
    write_run(root / "new", [])
    write_run(root / "split" / "fold0-seed0", [0.625], folds="folds.json", fold=0)
    # The folder around several trainings holds runs, and is none.
    (root / "split" / "recipe.yaml").write_text((root / "new" / "recipe.yaml").read_text())
    (root / "split" / "folds.json").write_text("{}")
    (root / "good" / "logs").mkdir()
    return root


def listed(capsys, *arguments):
    cli.main("runs", [str(argument) for argument in arguments])
    return capsys.readouterr().out


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main("runs", [str(argument) for argument in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_the_best_come_first_and_those_without_dice_last(folder, capsys):
    rows = json.loads(listed(capsys, folder, "--json"))
    assert [Path(row["run"]).name for row in rows] == ["good", "fold0-seed0", "worse", "new"]
    assert [row["best"] for row in rows] == [0.875, 0.625, 0.5, None]
    assert [row["last"] for row in rows] == [0.75, 0.625, 0.5, None]
    assert [row["epochs"] for row in rows] == ["3/3", "1/3", "2/3", "0/3"]
    assert [row["state"] for row in rows] == ["done", "unfinished", "unfinished", "unfinished"]
    good, fold, worse, _ = rows
    assert (good["encoder"], good["options"], good["images"]) == ("resnet34", "width=4x8", 0.5)
    assert (good["model"], good["data"], good["size"], good["parameters"]) == ("unet", "cells", "64", 1234567)
    assert (fold["fold"], worse["loss"], worse["seed"]) == (0, "dice", 3)


def test_stages_count_the_epochs_of_all(tmp_path, capsys):
    write_run(tmp_path / "run", [0.5] * 4, stages=[{"epochs": 2}, {}, {"epochs": 4}])
    assert json.loads(listed(capsys, tmp_path, "--json"))[0]["epochs"] == "4/9"


def test_the_table_and_its_other_forms_say_the_same(folder, tmp_path, capsys):
    table = listed(capsys, folder, "--csv", tmp_path / "runs.csv").splitlines()
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    markdown = listed(capsys, folder, "--markdown").splitlines()
    assert len(table) == 1 + len(rows) == len(markdown) - 1 == 5
    assert float(rows[0]["best"]) == 0.875
    for line in (table[1], markdown[2]):
        assert "1,234,567" in line
        assert "0.8750" in line
    assert len({len(line.split("|")) for line in markdown}) == 1


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("recipe.yaml", "model: [", "recipe.yaml"),
        ("recipe.yaml", "- unet", "recipe.yaml: expected options by name"),
        ("history.csv", "epoch,dice\n1,0.5\n", "val_dice"),
        ("history.csv", "epoch,val_dice\n1,half\n", "half"),
        ("data.json", "{", "Expecting"),
        ("last.keras", None, "last.keras"),
    ],
)
def test_a_broken_run_is_shown_as_such(folder, capsys, name, content, problem):
    path = folder / "good" / name
    path.unlink() if content is None else path.write_text(content)
    rows = json.loads(listed(capsys, folder, "--json"))
    assert len(rows) == 4
    broken = next(row for row in rows if Path(row["run"]).name == "good")
    assert broken["state"] == "broken"
    assert problem in broken["problem"]
    cli.main("runs", [str(folder)])
    assert problem in capsys.readouterr().err.splitlines()[-1]


def test_mistakes_are_one_line(folder, tmp_path, capsys):
    assert "nowhere" in refused(capsys, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "expected a folder that holds runs" in refused(capsys, tmp_path / "empty")
    assert "--json" in refused(capsys, folder, "--json", "--markdown")
    assert "runs.csv" in refused(capsys, folder, "--csv", tmp_path / "none" / "runs.csv")


def test_a_hundred_runs_are_listed_without_keras(tmp_path):
    for number in range(100):
        write_run(tmp_path / "runs" / f"run{number}", [number / 100])
    script = (
        "import sys; from maskzoo import cli; cli.main('runs', [sys.argv[1]]); "
        "print([name for name in ('keras', 'tensorflow') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = answer.stdout.splitlines()
    assert lines[-1] == "[]"
    assert "run99 " in lines[1]
    assert "run0 " in lines[100]
