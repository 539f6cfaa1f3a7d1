"""Every recipe: known keys, a command and a result at its top, and a short epoch on a synthetic set of its format."""

import csv
import re
from pathlib import Path

import pytest
import yaml

from maskzoo import cli, data, training

RECIPES = {path.stem: path for path in sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))}
# The builder options that make a recipe's model small; its classes, where those of the synthetic set differ.
SMALL = {
    "clouds": ["--option", "encoder=resnet18"],
    "hippocampus": ["--option", "filters=[4,8]"],
    "kidney": ["--option", "encoder=resnet18", "--option", "aspp_filters=16"],
    "membrane": ["--option", "filters=[4,8]", "--classes", "{membrane: 0}"],
    "organs": ["--option", "encoder=mit_b0", "--option", "decoder_filters=8"],
    "pneumothorax": ["--option", "encoder=resnet18"],
    "schwannoma": ["--option", "filters=[4,4,4,8,8]"],
    "spine_fine_grained": ["--option", "trunk=unet_padded", "--option", "trunk_options={filters: [4, 8]}"],
}
PATCH = {"volumes": [16, 16, 16], "tumour": [32, 32, 8]}
SUFFIX = {2: "png", 3: "nii.gz"}


def synthetic_kind(path):
    """The synthetic set of a recipe, as the command at its top names it."""
    return re.search(r"^#   maskzoo synth (\w+) ", path.read_text(), re.MULTILINE)[1]


def tiny(name, recipe):
    """Options that shorten a recipe to an epoch of two steps in each of its stages, with a network from scratch."""
    patch = PATCH.get(synthetic_kind(RECIPES[name]), 64)
    options = {"patch": patch, "steps": 2, "epochs": 1, "batch_size": 2, "accumulate": min(2, recipe.accumulate)}
    if recipe.stages:
        kept = [{key: value for key, value in stage.items() if key not in options} for stage in recipe.stages]
        stages = [{**stage, "patch": patch * number} for number, stage in enumerate(kept, 1)]
        options["stages"] = yaml.safe_dump(stages, default_flow_style=True, width=10**6).strip()
    arguments = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", str(value))]
    scratch = ["--option", "encoder_weights=null"] if "encoder_weights" in recipe.option else []
    return [*arguments, "--validation-windows", "4", *scratch, *SMALL.get(name, [])]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_begins_with_its_command_and_its_result(name):
    comment = RECIPES[name].read_text().split("\nmodel:")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert f"--recipe recipes/{name}.yaml" in comment
    assert "Result to expect:" in comment
    assert max(map(len, RECIPES[name].read_text().splitlines())) <= 120
    recipe = training.Recipe(**yaml.safe_load(RECIPES[name].read_text()))
    assert all(stage.patch for stage in recipe.each_stage())


# The others are of the slow suite: encoders of the published size take long to build.
FAST = ("hippocampus", "membrane")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in RECIPES]
)
def test_a_recipe_trains_and_predicts_on_its_synthetic_set(name, tmp_path):
    kind, run = synthetic_kind(RECIPES[name]), tmp_path / "run"
    recipe = training.Recipe(**yaml.safe_load(RECIPES[name].read_text()))
    size = [] if kind in PATCH else ["--size", "160" if kind == "kidney" else "96"]
    cli.main("synth", [kind, str(tmp_path / "set"), "--count", "6" if kind == "xray" else "3", *size])
    spec = str(tmp_path / "set" / "spec.yaml")
    cli.main("train", ["--recipe", name, "--data", spec, "--run", str(run), *tiny(name, recipe)])
    with (run / "history.csv").open(newline="") as file:
        stages = [int(row["stage"]) for row in csv.DictReader(file)]
    assert stages == list(range(1, len(recipe.each_stage()) + 1))
    image = next(path for path in sorted((tmp_path / "set" / "images").iterdir()) if data.is_image(path))
    with data.open_source(image, spatial_dims=3 if kind in PATCH else 2) as source:
        output = tmp_path / f"mask.{SUFFIX[len(source.shape)]}"
        cli.main("predict", [str(run), str(image), str(output)])
        with data.open_source(output, spatial_dims=len(source.shape)) as mask:
            assert mask.shape == source.shape


def test_a_recipe_is_found_by_name_or_the_nearest_one_is_named(capsys):
    for argument, expected in {"kidny": "kidney", "nowhere.yaml": "nowhere.yaml"}.items():
        with pytest.raises(SystemExit) as stop:
            cli.main("train", ["--recipe", argument])
        err = capsys.readouterr().err
        assert (stop.value.code, err.count("\n")) == (2, 1)
        assert expected in err


@pytest.mark.slow
def test_an_encoder_learns_from_image_level_labels_then_masks_behind_a_gate(tmp_path, capsys):
    folder = tmp_path / "set"
    cli.main("synth", ["xray", str(folder), "--count", "6", "--size", "64"])
    _, *rows = (folder / "train.csv").read_text().splitlines()
    labels = [f"{name},{'' if runs == '-1' else '1 4096'}" for name, runs in (row.split(",") for row in rows)]
    assert len({label.split(",")[1] for label in labels}) == 2
    (folder / "labels.csv").write_text("\n".join(["ImageId,EncodedPixels", *labels]) + "\n")
    (folder / "labels.yaml").write_text("path: .\nlabels: labels.csv\ntask: binary\nclasses: [finding]\n")
    small = ["--model", "unet_padded", "--option", "filters=[4,8]", "--patch", "64", "--steps", "2", "--epochs", "1"]
    whole = ["--label-head", "1", "--output-weights", "{mask: 0}", "--run", str(tmp_path / "labels")]
    cli.main("train", ["--data", str(folder / "labels.yaml"), *small, *whole])
    row = training.read_history(tmp_path / "labels")[0]
    assert 0 <= float(row["val_label_accuracy"]) <= 1
    # The loss is that of the labels alone: a cross-entropy near that of a guess.
    assert 0.3 < float(row["loss"]) < 1.2
    capsys.readouterr()
    masks = ["--label-head", "0.2", "--windows", "positive", "--run", str(tmp_path / "masks")]
    start = ["--init-from", str(tmp_path / "labels" / "last.keras")]
    cli.main("train", ["--data", str(folder / "spec.yaml"), *small, *masks, *start])
    taken, known = re.search(r"init +(\d+) of (\d+) layers", capsys.readouterr().out).groups()
    assert taken == known
    image = next((folder / "images").iterdir())
    for gate, empty in {"0": False, "0.9999": True}.items():
        output = tmp_path / f"{gate}.npy"
        options = ["--threshold", "0.0001", "--gate", gate]
        cli.main("predict", [str(tmp_path / "masks"), str(image), str(output), *options])
        with data.open_source(output, spatial_dims=2) as mask:
            assert (mask.read(data.Window((0, 0), mask.shape)).max() == 0) == empty
