"""`explain` prints a table and writes heat maps, and touches nothing else."""

import json

import pytest
from run_verb import run


def test_a_table_a_picture_and_json(trained_run, squares, tmp_path, capsys):
    image, label = squares / "images" / "0.tif", squares / "masks" / "0.tif"
    picture = tmp_path / "levels.png"
    assert run("explain", trained_run, image, "--label", label, "--output", picture, "--size", 64) == 0
    printed = capsys.readouterr().out
    titles = printed.splitlines()[0].split()
    assert titles == ["level", "stride", "class", "inside", "outside", "separation", "elements"]
    assert "best at" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run("explain", trained_run, image, "--output", picture, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"level", "stride", "class_name", "inside", "outside", "separation", "elements"} == set(rows[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--output", "x.tif"], "--output: expected a .png file"), (["--size", "0"], "--size: expected at least 1 pixel")],
)
def test_mistakes_are_refused(options, message, trained_run, squares, capsys):
    assert run("explain", trained_run, squares / "images" / "0.tif", *options) == 2
    assert message in capsys.readouterr().err
