"""What `maskzoo evaluate` prints, writes and refuses."""

import csv
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import rasterio
from exact_run import blobs, row_of, sure_run, write_image
from run_verb import run

ROOT = Path(__file__).resolve().parents[2]
ALL = "overlap,presence,calibration,surface,membrane,objects"
NORTH_UP = rasterio.Affine(0.5, 0, 733601, 0, -0.25, 3725139)


def test_the_tables_are_aligned(tmp_path, capsys):
    folder = sure_run(tmp_path, [blobs((30, 25), 0)], suffix=".tif", crs="EPSG:32616", transform=NORTH_UP)
    assert run("evaluate", folder, "--metrics", ALL) == 0
    first, *tables = capsys.readouterr().out.rstrip().split("\n\n")
    assert first.splitlines()[0] == "1 image"
    titles = [table.splitlines()[0].split(",")[0] for table in tables]
    assert titles == [
        "presence in an image",
        "surface",
        "segments between membranes",
        "objects",
        "expected calibration error",
    ]
    for table in (first, *tables[:-1]):
        _, head, *rows = table.splitlines()
        assert head.startswith("class")
        assert {len(row) for row in rows} == {len(head)}
    assert "distances in m," in tables[1]


def test_mistakes_are_one_line(tmp_path, capsys):
    folder = sure_run(tmp_path / "squares", [blobs((30, 25), 0)])
    image = tmp_path / "squares" / "data" / "images" / "0.npy"
    whole = ("--metrics", "surface,objects", "--memory", "1GB")
    for arguments, expected in [
        (("--metrics", "overlap,surfase"), "--metrics: expected surface (of overlap"),
        (("--tolerance", "-1", "--metrics", "surface"), "--tolerance: expected a distance of at least 0; received -1"),
        (("--tolerance", "nan"), "--tolerance: expected"),
        (("--csv", tmp_path / "none" / "s.csv"), "s.csv: expected a place that can be written"),
        (("--csv", tmp_path), "expected the name of a file"),
        (whole, f"at least 1.3 GB for surface, objects of the whole label map of {image}; received 1.0 GB"),
        (("--data", tmp_path / "none"), "none"),
    ]:
        assert run("evaluate", folder, *arguments) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1
        assert error[0].startswith("error: ")
        assert expected in error[0]
    assert [path.name for path in tmp_path.iterdir()] == ["squares"]


def test_the_memory_that_is_asked_for_suffices(tmp_path, capsys):
    folder = sure_run(tmp_path, [blobs((30, 25), 0)])
    assert run("evaluate", folder, "--metrics", "surface", "--memory", "1GB") == 2
    asked = capsys.readouterr().err.split("at least ")[1].split(" for")[0].replace(" ", "")
    assert run("evaluate", folder, "--metrics", "surface", "--memory", asked) == 0


def test_images_in_several_units_are_refused(tmp_path, capsys):
    folder = sure_run(tmp_path, [blobs((8, 8, 8), seed) for seed in (0, 1)], suffix=".nii", affine=np.eye(4))
    for part in ("images", "labels"):
        path = tmp_path / "data" / part / "1.nii"
        write_image(path, np.asarray(nibabel.load(path).dataobj)[..., None], affine=np.eye(4), unit="micron")
    assert run("evaluate", folder, "--metrics", "surface") == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert "expected pixel sizes in the unit of" in error[0]
    assert run("evaluate", folder, "--metrics", "objects") == 0


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, capsys, monkeypatch):
    folder = sure_run(tmp_path, [(row_of(8, 1), row_of(8, 1))])
    (tmp_path / "s.csv").write_text("before")

    def full(writer, rows):
        raise OSError("no space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", full)
    before = set(tmp_path.iterdir())
    assert run("evaluate", folder, "--csv", tmp_path / "s.csv") == 2
    assert capsys.readouterr().err.splitlines() == ["error: no space left on device"]
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "s.csv").read_text() == "before"


QUICK_ANSWERS = """
import sys
from maskzoo.cli import main
for arguments in (["--help"], ["none"], ["none", "--metrics", "x"], ["none", "--tolerance", "-2"]):
    try:
        main(None, ["evaluate", *arguments])
    except SystemExit:
        pass
slow = {"keras", "tensorflow", "scipy", "skimage"} & set(sys.modules)
assert not slow, slow
"""


def test_help_and_mistakes_answer_without_importing_keras():
    answer = subprocess.run(
        [sys.executable, "-c", QUICK_ANSWERS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    help_text = " ".join(answer.stdout.split())
    assert "the whole label map" in help_text
