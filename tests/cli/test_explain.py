"""`explain` prints a table and writes heat maps, and touches nothing else."""

import json
import shutil

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


def test_images_and_labels_are_read_at_the_scale_of_the_run(trained_run, squares, tmp_path, capsys):
    half = tmp_path / "half"
    shutil.copytree(trained_run, half)
    described = json.loads((half / "data.json").read_text())
    described["spec"]["resize"] = 0.5
    (half / "data.json").write_text(json.dumps(described))
    image, label = squares / "images" / "0.tif", squares / "masks" / "0.tif"
    assert run("explain", half, image, "--label", label, "--output", tmp_path / "levels.png", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    # A rectangle of 30 x 40 pixels is one of 15 x 20 there.
    assert rows[-1]["elements"] == pytest.approx(15 * 20, rel=0.1)
    assert rows[0]["separation"] > 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--output", "x.tif"], "--output: expected a .png file"), (["--size", "0"], "--size: expected at least 1 pixel")],
)
def test_mistakes_are_refused(options, message, trained_run, squares, capsys):
    assert run("explain", trained_run, squares / "images" / "0.tif", *options) == 2
    assert message in capsys.readouterr().err
