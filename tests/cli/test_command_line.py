"""The command line: quick answers, one line for every mistake, and the same program under each of its names."""

import subprocess
import sys
from pathlib import Path

import pytest
from run_verb import run_and_capture

from maskzoo import __version__, cli
from maskzoo.errors import OptionError, RunError

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
        ("train", "--hosts", "a"): "--hosts: expected NAME:PORT of every host",
        ("doctor", "more"): "expected no further arguments; received more",
    }
    for (verb, *arguments), expected in mistakes.items():
        code, out, err = run_and_capture(capsys, verb, *arguments)
        assert code == 2, (verb, arguments, err)
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert expected in err, err
        assert out == ""


def test_an_unknown_verb_names_the_nearest(capsys):
    code, _, err = run_and_capture(capsys, "trian")
    assert code == 2
    assert "expected train" in err


@pytest.mark.parametrize("error", [ValueError("seven"), TypeError("eight"), KeyError("nine")])
def test_a_defect_keeps_its_traceback(monkeypatch, error):
    def broken(arguments):
        raise error

    monkeypatch.setattr("maskzoo.cli.export.run", broken)
    with pytest.raises(type(error), match=str(error.args[0])):
        cli.main("export", ["run", "output"])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OptionError("no_decision", "none with `tta`", True), "--no-decision: expected none with --tta; received True"),
        (RunError("runs/a", "a run", "nothing"), "runs/a: expected a run; received nothing"),
        (FileNotFoundError(2, "No such file or directory", "a.tif"), "a.tif: No such file or directory"),
        (OSError("a library says\nthat the disk\n  is gone"), "a library says that the disk is gone"),
        (MemoryError("no room"), "out of memory: no room"),
    ],
)
def test_an_error_for_people_is_one_line(monkeypatch, capsys, error, line):
    def refused(arguments):
        raise error

    monkeypatch.setattr("maskzoo.cli.export.run", refused)
    code, out, err = run_and_capture(capsys, "export", "run", "output")
    assert (code, out, err) == (2, "", f"error: {line}\n")


def test_errors_show_where_they_come_from_when_asked(monkeypatch):
    def refused(arguments):
        raise RunError("runs/a", "a run", "nothing")

    monkeypatch.setattr("maskzoo.cli.export.run", refused)
    monkeypatch.setenv("MASKZOO_DEBUG", "1")
    with pytest.raises(RunError):
        cli.main("export", ["run", "output"])


def test_ctrl_c_ends_with_its_own_code(monkeypatch, capsys):
    def stopped(arguments):
        raise KeyboardInterrupt("; resume with --resume")

    monkeypatch.setattr("maskzoo.cli.export.run", stopped)
    assert run_and_capture(capsys, "export", "run", "output") == (130, "", "error: interrupted; resume with --resume\n")


def test_the_version_is_printed_by_the_program_and_by_every_verb(capsys):
    expected = f"maskzoo {__version__}\n"
    cli.main(None, ["--version"])
    assert capsys.readouterr().out == expected
    assert run_and_capture(capsys, "predict", "--version") == (0, expected, "")


def test_quiet_verbs_write_their_files_and_say_nothing(capsys, tmp_path):
    quiet = run_and_capture(capsys, "synth", "nuclei", tmp_path / "a", "--count", 2, "--size", 32, "--quiet")
    assert quiet == (0, "", "")
    assert (tmp_path / "a" / "spec.yaml").is_file()
    code, out, err = run_and_capture(capsys, "synth", "nuclei", tmp_path / "b", "--count", 2, "--size", 32)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"wrote {tmp_path / 'b'}"


def test_options_of_earlier_versions_are_understood(capsys, tmp_path):
    old = {
        ("predict", "--how", "votes", tmp_path / "none", "a.tif", "b.tif"): "--how is now called --reduction",
        ("pseudo", "--share", 0.5, tmp_path / "none", tmp_path, tmp_path): "--share is now called --fraction",
        ("inspect", "--rank", 2, tmp_path / "none"): "--rank is now called --spatial-dims",
        ("train", "--hard", 0.1, "--data", tmp_path / "none"): "--hard is now called --hard-example-fraction",
        ("train", "--soften", 0.1, "--data", tmp_path / "none"): "--soften is now called --mask-sigma",
        ("train", "--mix", "{cutmix: 0.1}", "--data", tmp_path / "none"): "--mix is now called --mix-probabilities",
        ("train", "--fine", "[a]", "--data", tmp_path / "none"): "--fine is now called --roi-classes",
        ("train", "--start-from", "a", "--data", tmp_path / "none"): "--start-from is now called --init-from",
    }
    for (verb, *arguments), note in old.items():
        code, _, err = run_and_capture(capsys, verb, *arguments)
        assert code == 2
        first, second = err.splitlines()
        assert first == f"note: {note}"
        assert "none" in second, second


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_help_teaches(capsys, verb):
    code, out, _ = run_and_capture(capsys, verb, "--help")
    assert code == 0
    assert "example" in out
    assert verb in out


QUICK_ANSWERS = """
import sys
from maskzoo.cli import VERBS, main
for arguments in (["--help"], ["--version"], *([verb, "--help"] for verb in VERBS), ["train", "--modle", "x"],
                  ["predict", "none", "none.tif", "out.tif"], ["train", "--data", "nowhere"], ["export", "none", "out"],
                  ["evaluate", "none"], ["decide", "none"], ["pseudo", "none", "images", "out"], ["runs", "nowhere"],
                  ["inspect", "nowhere"], ["folds", "nowhere", "folds.json"], ["doctor", "--batch-size", "0"]):
    try:
        main(None, arguments)
    except SystemExit:
        pass
    slow = {"keras", "tensorflow", "scipy", "matplotlib", "skimage", "rasterio", "SimpleITK"} & set(sys.modules)
    assert not slow, (arguments, slow)
"""


def test_help_and_mistakes_answer_without_importing_keras():
    answer = started("-c", QUICK_ANSWERS)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("program", [["-m", "maskzoo", "train"], ["train.py"]])
def test_the_launchers_are_one_program(program):
    answer = started(*program, "--modle")
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: unknown option: expected --model")
