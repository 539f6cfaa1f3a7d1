"""`explain` prints a table and writes heat maps, and touches nothing else."""

import json

import pytest
from run_verb import run


def test_a_table_a_picture_and_json(trained_run, squares, tmp_path, capsys):
    image, label = squares / "images" / "0.tif", squares / "masks" / "0.tif"
    picture = tmp_path / "levels.png"
    assert run("explain", trained_run, image, "--label", label, "--output", picture, "--size", 64) == 0
    printed = capsys.readouterr().out
    titles = printed.splitlines()[0].split("  ")
    titles = [title.strip() for title in titles if title]
    expected = ["level", "stride", "class", "inside", "outside", "separation", "fitted", "with mask", "elements"]
    assert titles == expected
    assert " by the mask alone" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run("explain", trained_run, image, "--output", picture, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {*expected[:2], *expected[3:7], "class_name", "with_mask", "elements"} == set(rows[0])
    assert rows[-1]["level"] == "mask"
    assert run("explain", trained_run, image, "--output", picture) == 0
    assert "foreground: best at " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--output", "x.tif"], "--output: expected a .png file"), (["--size", "0"], "--size: expected at least 1 pixel")],
)
def test_mistakes_are_refused(options, message, trained_run, squares, capsys):
    assert run("explain", trained_run, squares / "images" / "0.tif", *options) == 2
    assert message in capsys.readouterr().err
