"""The command line: quick answers, one line for every mistake, and the same program under each of its names."""

import subprocess
import sys
from pathlib import Path

import pytest
from run_verb import told

from maskzoo import cli

ROOT = Path(__file__).resolve().parents[2]


def started(*arguments):
    """What a process of its own answers."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_mistakes_are_one_line_and_name_the_right_word(capsys, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("epohcs: 3\n")
    image = tmp_path / "image.tif"
    mistakes = {
        ("train", "--modle", "unet"): "--model",
        ("train", "--recipe", recipe): "epochs",
        ("train", "--recipe", tmp_path / "none.yaml"): "none.yaml",
        ("train", "--data", tmp_path / "nowhere"): "nowhere",
        ("train", "--epochs", "many"): "--epochs: expected a whole number; received many",
        ("train", "--epochs", "0"): "--epochs: expected at least 1; received 0",
        ("train", "--option", "filters"): "NAME=VALUE",
        ("train", "--resume"): "--run",
        ("train", "--run", tmp_path / "none", "--resume"): "none",
        ("predict", tmp_path, image, tmp_path / "out.tif"): "best.keras",
        ("predict", tmp_path / "norun", image, tmp_path / "out.tif"): "norun",
        ("predict", "--tile", "0", tmp_path, image, image): "--tile",
        ("predict", "--memory", "much", tmp_path, image, image): "--memory",
        ("predict", tmp_path, image): "output",
        ("export", tmp_path, tmp_path / "out"): "best.keras",
        ("evaluate", tmp_path): "best.keras",
    }
    for (verb, *arguments), expected in mistakes.items():
        code, out, err = told(capsys, verb, *arguments)
        assert code == 2, (verb, arguments, err)
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert expected in err, err
        assert out == ""


def test_an_unknown_verb_names_the_nearest(capsys):
    code, _, err = told(capsys, "trian")
    assert code == 2
    assert "expected train" in err


def test_a_defect_keeps_its_traceback(monkeypatch):
    def broken(arguments):
        int("seven")

    monkeypatch.setattr("maskzoo.cli.export.run", broken)
    # `int` raises in this file, which is not the project's code as installed: not a message for people.
    monkeypatch.setattr("maskzoo.cli.ROOT", ROOT / "cli")
    with pytest.raises(ValueError, match="seven"):
        cli.main("export", ["run", "output"])


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_help_teaches(capsys, verb):
    code, out, _ = told(capsys, verb, "--help")
    assert code == 0
    assert "example" in out
    assert verb in out


QUICK_ANSWERS = """
import sys
from maskzoo.cli import main
for arguments in (["train", "--help"], ["train", "--modle", "x"], ["predict", "none", "none.tif", "out.tif"],
                  ["train", "--data", "nowhere"], ["--help"], ["compare", "--help"], ["export", "none", "out"]):
    try:
        main(None, arguments)
    except SystemExit:
        pass
slow = {"keras", "tensorflow", "scipy", "matplotlib"} & set(sys.modules)
assert not slow, slow
"""


def test_help_and_mistakes_answer_without_importing_keras():
    answer = started("-c", QUICK_ANSWERS)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("program", [["-m", "maskzoo", "train"], ["train.py"]])
def test_the_launchers_are_one_program(program):
    answer = started(*program, "--modle")
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: unknown option: expected --model")
