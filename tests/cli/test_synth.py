"""`maskzoo synth` ends with what to try next; mistakes are one line and leave nothing behind."""

import pytest
from run_verb import run_and_capture


def test_the_command_ends_with_what_to_try(tmp_path, capsys):
    code, out, _ = run_and_capture(capsys, "synth", "nuclei", tmp_path / "out", "--count", "2", "--size", "32")
    assert code == 0
    assert out.endswith(f"--data {tmp_path / 'out' / 'spec.yaml'}\n")


@pytest.mark.parametrize(("arguments", "expected"), [
    (("nuclei", "full"), "full: expected a folder that is empty or does not exist"),
    (("nuclie", "new"), "kind: expected nuclei"),
    (("xray", "new", "--size", "3"), "--size: expected at least 32 pixels; received 3"),
    (("xray", "new", "--count", "1"), "--count: expected at least 2 images; received 1"),
    (("xray", "new", "--seed", "-1"), "--seed: expected at least 0"),
])  # fmt: skip
def test_mistakes_are_one_line(arguments, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    code, out, err = run_and_capture(capsys, "synth", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert expected in err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
