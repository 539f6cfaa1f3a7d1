"""Options that would have no effect are refused, before a run is loaded wherever its files say enough."""

import numpy as np
import pytest
from exact_run import CELL, exact_run
from rasterio import Affine
from run_verb import run_and_capture

from maskzoo import data

IDS = data.LabelScheme("multiclass", ("ground", "road", "roof"), ((0,), (1,), (2,)))

PLACE = Affine(0.5, 0, 700000, 0, -0.5, 3700000)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A binary and a multiclass run, each with one held-out image."""
    root = tmp_path_factory.mktemp("runs")
    found = {}
    for scheme in (CELL, IDS):
        logits = np.zeros((16, 20, scheme.num_classes), np.float32)
        logits[4:9, 5:12] = 3
        (root / scheme.task).mkdir()
        found[scheme.task] = exact_run(
            root / scheme.task, [(logits, np.ones((16, 20, 1)))], scheme, suffix=".tif", transform=PLACE
        )
    return found


@pytest.mark.parametrize(
    "mask_option",
    [
        ("--min-area", 5),
        ("--min-area", 0),
        ("--threshold", 0.9),
        ("--largest",),
        ("--fill-holes", "all"),
        ("--watershed", 4),
        ("--gate", 0.5),
    ],
)
def test_probabilities_take_no_option_of_masks(runs, tmp_path, capsys, mask_option):
    image = runs["binary"].parent / "data/images/0.tif"
    out = tmp_path / "p.tif"
    options = ("--probabilities", "float32", *mask_option)
    code, _, err = run_and_capture(capsys, "predict", runs["binary"], image, out, *options)
    assert code == 2
    assert f"--probabilities: expected no {mask_option[0]}, which changes masks alone; received float32" in err
    assert list(tmp_path.iterdir()) == []


def mistakes(runs, folder):
    """Verbs with an option that they would leave unused, and what is complained of."""
    binary, multiclass = runs["binary"], runs["multiclass"]
    image = binary.parent / "data/images/0.tif"
    many = multiclass.parent / "data/images"
    out = folder / "out.tif"
    predict = ("predict", binary, image, out)
    return [
        ((*predict, "--suffix", ".png"), "--suffix"),
        (("predict", binary, image.parent, folder / "m", "--suffix", "/a.tif"), "--suffix"),
        (("predict", binary, image.parent, folder / "m", "--suffix", "/../a.tif"), "--suffix"),
        (("evaluate", binary, "--csv", folder / "set.yaml"), "--csv"),
        (("predict", binary, image.parent, folder / "all.csv", "--suffix", ".csv"), "--suffix"),
        ((*predict, "--level", 1, "--resolution", 2.0), "--level"),
        ((*predict, "--level", -1), "--level"),
        ((*predict, "--resolution", -2.0), "--resolution"),
        ((*predict, "--tissue", "--resize", 16), "--tissue"),
        ((*predict, "--weights", "[1,2]"), "--weights"),
        ((*predict, "--weights", "[1]"), "--weights"),
        ((*predict, "--reduction", "votes"), "--reduction"),
        ((*predict, "--threshold", "[0.1,0.2]"), "--threshold"),
        ((*predict, "--gate", 0.5, "--engine", "onnx"), "--gate"),
        ((*predict, "--precision", "int8"), "--precision"),
        ((*predict, "--rle-dialect", "kidney"), "--rle-dialect"),
        ((*predict, "--full-size", "--probabilities", "uint8"), "--full-size"),
        (("predict", binary, image, folder / "o.csv", "--full-size"), "--full-size"),
        (("predict", binary, image, folder / "o.png", "--cog"), "--cog"),
        (("predict", multiclass, many, folder / "m", "--suffix", ".csv", "--rle-dialect", "organs"), "--rle-dialect"),
        (("predict", multiclass, many, folder / "m", "--threshold", 0.4), "--threshold"),
        (("predict", multiclass, many, folder / "m", "--suffix", ".png", "--probabilities", "float32"), "output"),
        (("evaluate", multiclass, "--threshold", 0.4), "--threshold"),
        (("evaluate", binary, "--tolerance", 3), "--tolerance"),
        (("evaluate", binary, "--members"), "--members"),
        (("evaluate", binary, "--reduction", "logits"), "--reduction"),
        (("inspect", binary.parent / "data", "--samples", 3), "--samples"),
        (("train", "--region", "box", "--run", folder / "r"), "--region"),
        (("train", "--host", 1, "--run", folder / "r"), "--host"),
        (("decide", multiclass, "--shared"), "--shared"),
        (("decide", multiclass, "--groups", "^a"), "--groups"),
        (("decide", multiclass, "--thresholds-only"), "--thresholds-only"),
        (("export", binary, folder / "b", "--min-area", 4), "--min-area"),
        (("export", binary, folder / "b", "--gate", 0.5), "--gate"),
        (("export", binary, folder / "b", "--size", "[32,32]"), "--size"),
        (("export", binary, folder / "b", "--bare", "--tta", "flips"), "--bare"),
        (("export", binary, folder / "b", "--bare", "--dtype", "uint8"), "--bare"),
    ]


def test_what_would_be_ignored_is_refused_without_loading_a_run(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("maskzoo.inference.predictor.read_run", lambda path: pytest.fail(f"{path} was loaded"))
    for arguments, named in mistakes(runs, tmp_path):
        code, out, err = run_and_capture(capsys, *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), (arguments, out, err)
        assert err.startswith(f"error: {named}: "), (arguments, err)
    assert list(tmp_path.iterdir()) == []


def test_blending_is_refused_for_a_model_whose_tiles_are_exact(runs, tmp_path, capsys):
    image = runs["binary"].parent / "data/images/0.tif"
    for option in (("--overlap", 0.5), ("--blend", "gaussian")):
        code, _, err = run_and_capture(capsys, "predict", runs["binary"], image, tmp_path / "out.tif", *option)
        assert code == 2
        assert f"{option[0]}: expected a model that sees the whole image; the tiles of this one are exact" in err
    assert list(tmp_path.iterdir()) == []
