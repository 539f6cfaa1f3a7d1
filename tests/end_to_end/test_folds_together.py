"""Five folds and two architectures decide together; pseudo-labels join folds without showing what these hold out."""

import json
import shutil

import cv2
import keras
import numpy as np
import pytest
from run_verb import run, run_and_capture

from maskzoo import data, inference

FOLDS = 5
NAMES = [f"im{number}" for number in range(10)]


def picture(number):
    """Noise below and above grey 128, and the mask that says which."""
    rng = np.random.default_rng(number)
    mask = cv2.resize(rng.integers(0, 2, (6, 5), np.uint8), (40, 48), interpolation=cv2.INTER_NEAREST)
    return np.where(mask, rng.integers(170, 256, mask.shape), rng.integers(0, 86, mask.shape)).astype(np.uint8), mask


def write_set(folder, numbers):
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in numbers:
        image, mask = picture(number)
        cv2.imwrite(str(folder / "images" / f"im{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"im{number}.png"), mask)
    return folder


def network(sign):
    """An architecture that sees bright pixels as foreground, or another that sees dark ones so."""
    image = keras.Input((None, None, 1))
    if sign > 0:
        layer = keras.layers.Conv2D(1, 1)
        model = keras.Model(image, layer(image))
    else:
        layer = keras.layers.Conv2D(1, 1)
        model = keras.Model(image, layer(keras.layers.Conv2D(1, 1, kernel_initializer="ones")(image)))
    layer.set_weights([np.full((1, 1, 1, 1), 20.0 * sign), np.array([-10.0 * sign])])
    return model


def write_run(path, folder, fold, sign):
    """A run folder of a fold, as `train` describes it; each fold has weights of its own."""
    spec = data.read_spec(folder, {"folds": str(folder.parent / "folds.json"), "fold": fold, "normalization": "none"})
    dataset = data.load_data(spec, spatial_dims=2)
    model = network(sign)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias + 1e-3 * fold])
    path.mkdir(parents=True)
    model.save(path / "best.keras")
    inference.RunData.from_mapping({**dataset.as_mapping(), "patch": [32, 32]}).write(path)
    inference.Decision((0.5,)).write(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """A data set, and its five folds in a file beside it."""
    data.write_folds(tmp_path / "folds.json", data.make_folds(NAMES, FOLDS))
    return write_set(tmp_path / "set", range(10))


@pytest.fixture
def runs(tmp_path, folder):
    """The runs of two architectures in the layout of many runs: `good/fold0`, `bad/fold0`, ..."""
    return [
        write_run(tmp_path / "runs" / kind / f"fold{fold}", folder, fold, sign)
        for kind, sign in (("good", 1), ("bad", -1))
        for fold in range(FOLDS)
    ]


def dice(capsys, *arguments):
    """The Dice of runs, of which nothing was said that would not fit them."""
    found, said = dice_and_words(capsys, *arguments)
    assert "does not hold" not in said
    return found


def dice_and_words(capsys, *arguments):
    """The Dice of runs, and what was said on the way."""
    capsys.readouterr()
    status, printed, said = run_and_capture(capsys, "evaluate", "--json", *arguments)
    assert status == 0, said
    return json.loads(printed)["dice"][0], said


@pytest.mark.slow
def test_five_folds_of_two_architectures_decide_together(tmp_path, runs, capsys):
    good, bad = runs[:FOLDS], runs[FOLDS:]
    assert run("decide", *runs) == 0
    decision = inference.read_decision(bad[3]).ensemble
    weights = dict(zip(decision.members, decision.weights, strict=True))
    assert weights["good/fold3"] > 10 * weights["bad/fold3"]
    new = write_set(tmp_path / "new", [20, 21])
    equal = ["--weights", json.dumps([1] * 10)]
    # Whatever their order, and whatever they are called now.
    shuffled = [*bad[::-1], *good]
    assert dice(capsys, *shuffled, "--data", new) > 0.99
    assert dice(capsys, *shuffled, "--data", new, *equal) < 0.8
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "runs", moved)
    renamed = [path.rename(path.with_name(f"{path.name}-{path.parent.name}")) for path in moved.glob("*/*")]
    assert dice(capsys, *renamed, "--data", new) > 0.99
    # The two runs of a fold alone, on what they held out.
    assert dice(capsys, good[2], bad[2]) > 0.99
    output = tmp_path / "mask.png"
    assert run("predict", *shuffled, new / "images" / "im20.png", output) == 0
    np.testing.assert_array_equal(cv2.imread(str(output), cv2.IMREAD_GRAYSCALE) > 0, picture(20)[1] > 0)
    # Others were not decided on, which is said.
    found, said = dice_and_words(capsys, good[0], bad[1], "--data", new)
    assert found < 0.8
    assert "does not hold for fold0 + fold1: weights are equal" in said


def test_images_that_were_trained_on_are_said(tmp_path, folder, runs, capsys):
    """Not by their names: the set to evaluate on has a copy of a training image in another format."""
    other = write_set(tmp_path / "other", [30, 31])
    held_out = set(inference.read_run_data(runs[0]).validation)
    copied = next(name for name in NAMES if name not in held_out)
    cv2.imwrite(str(other / "images" / "im99.tif"), cv2.imread(str(folder / "images" / f"{copied}.png"), 0))
    shutil.copy(folder / "masks" / f"{copied}.png", other / "masks" / "im99.png")
    status, printed, said = run_and_capture(capsys, "evaluate", runs[0], "--data", other, "--json")
    assert status == 0
    assert json.loads(printed)["trained_on"] == {str(runs[0]): ["im99"]}
    assert "was trained on 1 of 3 images: 1 image (im99)" in said
    _, printed, said = run_and_capture(capsys, "evaluate", runs[0], "--json")
    assert "trained_on" not in json.loads(printed)
    assert "trained on" not in said


def pixels(path):
    image = np.load(path) if path.suffix == ".npy" else cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return image.tobytes()


@pytest.mark.slow
def test_pseudo_labels_join_folds_without_what_these_hold_out(tmp_path, folder, runs):
    more = tmp_path / "more"
    more.mkdir()
    for number in (40, 41):
        cv2.imwrite(str(more / f"new{number}.png"), picture(number)[0])
    for number in range(10):  # every image of the set again, in other forms
        image, original = picture(number)[0], folder / "images" / f"im{number}.png"
        if number % 5 == 0:
            cv2.imwrite(str(more / f"copy{number}.tif"), image)
        elif number % 5 == 1:
            (more / f"link{number}.png").symlink_to(original)
        elif number % 5 == 2:
            (more / f"file{number}.png").hardlink_to(original)
        elif number % 5 == 3:
            np.save(more / f"array{number}.npy", image)
        else:
            cv2.imwrite(str(more / f"packed{number}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    for fold in range(FOLDS):
        assert run("pseudo", runs[fold], more, tmp_path / f"pseudo{fold}") == 0
    assert run("pseudo", *runs[:FOLDS], more, tmp_path / "together") == 0
    sets = {"set": 3, **{f"pseudo{fold}/set.yaml": 1 for fold in range(FOLDS)}, "together/set.yaml": 1}
    (tmp_path / "all.yaml").write_text(f"sets: {json.dumps(sets)}\n")
    made = {}
    for fold in range(FOLDS):
        spec = data.read_spec(tmp_path / "all.yaml", {"folds": str(tmp_path / "folds.json"), "fold": fold})
        made[fold] = data.load_data(spec, spatial_dims=2)
        held_out = {pixels(case.path) for case in made[fold].validation}
        assert len(held_out) == 2
        assert not held_out & {pixels(case.path) for case in made[fold].train}
        # Only the run of this fold has never seen what it holds out: no labels of another are among those trained on.
        added = sorted(case.name for case in made[fold].train if "set-im" not in case.name)
        assert added == [f"pseudo{fold}-set-new40", f"pseudo{fold}-set-new41"]
    out = tmp_path / "mixed"
    model = ["--model", "unet_padded", "--option", "filters=[4]", "--patch", "16", "--steps", 1, "--epochs", 1]
    mixed = ["--data", tmp_path / "all.yaml", "--folds", tmp_path / "folds.json", "--fold", 1, "--run", out]
    assert run("train", *model, *mixed) == 0
    described = inference.read_run_data(out)
    assert list(described.train) == [case.name for case in made[1].train]
    # A run of pseudo-labels has seen what their makers had.
    seen = inference.seen_by(described, out)
    assert all(
        seen.has(identity, "") for identity in inference.seen_by(inference.read_run_data(runs[1]), "").identities
    )
