"""The table of architectures: its numbers by hand for small ones, its files, and its one-line refusals."""

import csv
import json

import keras
import numpy as np
import pytest
from keras import layers
from matplotlib import image
from matplotlib.figure import Figure

from maskzoo import cli
from maskzoo.cli.compare_picture import name_points
from maskzoo.errors import OptionError
from maskzoo.models import registry


def tiny(input_shape=(None, None, 1), num_classes=1):
    """Halves a 2D image by a strided convolution and doubles it again."""
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="down")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2DTranspose(num_classes, 2, strides=2, name="mask")(x)
    return keras.Model(inputs, x, name="tiny")


def thin(input_shape=(None, None, None, 1), num_classes=1):
    """Convolves a volume in the plane, valid-padded; has two outputs."""
    inputs = keras.Input(input_shape)
    x = layers.Conv3D(2, (3, 3, 1), name="conv")(inputs)
    label = layers.GlobalAveragePooling3D(name="pool")(x)
    return keras.Model(inputs, {"mask": layers.Dense(num_classes, name="head")(x), "label": label}, name="thin")


def gate(input_shape=(None, None, 1), num_classes=1):
    """Weighs an image by its mean."""
    inputs = keras.Input(input_shape)
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(inputs)
    return keras.Model(inputs, layers.Multiply()([layers.Conv2D(num_classes, 1)(inputs), mean]), name="gate")


def pair(input_shape=(None, None, 1), num_classes=1):
    """Adds two images, and convolves the sum."""
    inputs = {name: keras.Input(input_shape, name=name) for name in ("image", "region")}
    x = layers.Conv2D(num_classes, 1, name="mask")(layers.Add()([*inputs.values()]))
    return keras.Model(inputs, x, name="pair")


@pytest.fixture(autouse=True)
def three_models(monkeypatch):
    monkeypatch.setattr(registry, "MODELS", {"gate": gate, "thin": thin, "tiny": tiny})


def compare(*arguments):
    cli.main("compare", [str(argument) for argument in arguments])


def compare_json(capsys, *arguments):
    compare(*arguments, "--json")
    return {row["model"]: row for row in json.loads(capsys.readouterr().out)}


def test_numbers_by_hand(capsys):
    rows = compare_json(capsys)
    row = rows["tiny"]
    assert row["input_shape"] == [256, 256, 1]
    weights = 9 * 4 + 4 + 4 * 4 + 4 * 4 + 1
    assert (row["parameters"], row["trainable_parameters"]) == (weights, weights - 8)
    assert row["multiply_adds"] == 128 * 128 * (9 * 4 + 4 * 4)
    assert row["stride"] == [2, 2]
    assert row["allowed_sizes"] == [{"multiple": 2, "remainder": 0, "minimum": 2}] * 2
    # Input 256 x 256, its half with 4 channels, twice: the image is alive no longer when the norm works.
    assert row["peak_activation_bytes"] == 4 * 128 * 128 * 8
    assert row["receptive_field"] == [3, 3]
    row = rows["thin"]
    assert row["input_shape"] == [64, 64, 64, 1]
    assert row["receptive_field"] == [3, 3, 1]
    assert row["crop"] == [2, 2, 0]
    assert not row["is_global"]
    row = rows["gate"]
    assert row["is_global"]
    assert row["global_layers"] == ["squeeze: GlobalAveragePooling2D pools the whole image"]


def test_table_fits_and_lists_every_model(capsys):
    compare()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["model", "input", "parameters"]
    assert [line.split()[0] for line in lines[1:4]] == ["gate", "thin", "tiny"]
    assert "3x3x1" in lines[2]
    assert " all " in lines[1]
    assert " 2k " in lines[3]
    assert max(map(len, lines)) <= 160


def test_an_input_shape_is_for_the_models_of_as_many_axes(capsys):
    rows = compare_json(capsys, "--input-shape", "33x20x1")
    # 33 is raised to the next size that the strided model can take.
    assert {name: row["input_shape"] for name, row in rows.items()} == {
        "gate": [33, 20, 1],
        "thin": [64, 64, 64, 1],
        "tiny": [34, 20, 1],
    }


def test_files_hold_the_same_numbers(capsys, tmp_path):
    rows = compare_json(capsys, "--csv", tmp_path / "zoo.csv", "--plot", tmp_path / "zoo.png")
    with open(tmp_path / "zoo.csv", newline="") as file:
        read = {row["model"]: row for row in csv.DictReader(file)}
    assert read.keys() == rows.keys()
    for name, row in rows.items():
        assert int(read[name]["multiply_adds"]) == row["multiply_adds"]
        assert json.loads(read[name]["receptive_field"]) == row["receptive_field"]
    assert np.ptp(image.imread(tmp_path / "zoo.png")) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["zoo.csv", "zoo.png"]


def test_measures_every_kind_of_input_and_output(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.MODELS, "pair", pair)
    rows = compare_json(capsys, "--measure", "tiny", "thin", "pair", "--plot", tmp_path / "zoo.svg")
    for row in rows.values():
        assert row["forward_seconds"] > 0
        assert row["training_step_seconds"] > 0
        assert row["device"]
    assert (tmp_path / "zoo.svg").stat().st_size > 0


def test_summary_comes_before_the_table_and_not_into_the_json(capsys):
    compare("tiny", "--summary")
    out = capsys.readouterr().out
    assert out.index("norm (BatchNormalization)") < out.index("parameters")
    compare("tiny", "--summary", "--json")
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["model"] == "tiny"
    assert "norm (BatchNormalization)" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinny"], "tiny"),
        (["--input-shape", "256"], "--input-shape: expected sizes and channels such as 256,256,1"),
        (["--input-shape", "256,-1,1"], "received 256,-1,1"),
        (["--plot", "zoo.txt"], "--plot: expected a file that ends in .png, .svg, .pdf; received zoo.txt"),
        (
            ["--csv", "nowhere/zoo.csv"],
            "nowhere/zoo.csv: expected a place that can be written",
        ),
        (["--mesure"], "unknown option: expected --measure"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        compare(*arguments)
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_a_model_that_cannot_be_read_is_left_out_of_the_zoo_but_not_when_it_is_named(capsys, monkeypatch):
    def picky(input_shape=(None, None, 3), num_classes=1):
        raise OptionError("input_shape", "3 channels", 1)

    monkeypatch.setitem(registry.MODELS, "picky", picky)
    compare()
    printed = capsys.readouterr()
    assert "picky" not in printed.out
    assert printed.err.endswith("picky left out: input_shape: expected 3 channels; received 1\n")
    with pytest.raises(SystemExit):
        compare("picky")
    assert capsys.readouterr().err == "error: --input-shape: expected 3 channels; received 1\n"


def test_names_in_the_picture_cover_no_dots_and_no_other_names():
    figure = Figure(figsize=(11, 7), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 1100), ylim=(0, 700))
    names = ["linknet", "backbone_unet", "branch2_unet", "fine_grained_unet", "fpn"]
    points, areas = [(470, 396), (520, 405), (520, 405), (605, 405), (660, 400)], [250] * 5
    axes.scatter(*zip(*points, strict=True), areas, label="models")
    axes.legend()
    name_points(figure, axes, names, points, [area**0.5 / 2 for area in areas])
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 5
    for number, box in enumerate(boxes):
        assert not box.count_overlaps([*boxes[:number], *boxes[number + 1 :]])
        for (x, y), area in zip(axes.transData.transform(points), areas, strict=True):
            nearest = np.clip(x, box.x0, box.x1), np.clip(y, box.y0, box.y1)
            assert np.hypot(x - nearest[0], y - nearest[1]) >= area**0.5 / 2 * 100 / 72
