"""Pseudo-labels come from models that have not seen the image, count where those are sure, and can be trained on."""

import csv
import json

import cv2
import keras
import numpy as np
import pytest

from maskzoo import cli, data, inference, training
from maskzoo.training.pseudo_labels import likeliest_labels

RAMP = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))


def write_run(path, seen, middle, steep=10, **described):
    """A run whose model is a convolution of one pixel: the probability is 1/2 where the grey value is `middle`.

    Like one of an earlier version, it knows what it has seen by name alone, unless it is described otherwise.
    """
    image = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(1, 1)
    model = keras.Model(image, layer(image))
    layer.set_weights([np.full((1, 1, 1, 1), steep), np.array([-steep * middle / 255])])
    path.mkdir(parents=True)
    model.save(path / "best.keras")
    description = {
        "task": "binary",
        "class_names": ["cell"],
        "num_classes": 1,
        "channels": 1,
        "rank": 2,
        "patch": [32, 32],
        "ignore_index": None,
        "normalization": data.Normalizer("none", 1).as_dict(),
        "train": seen,
        "validation": [],
        **described,
    }
    (path / "data.json").write_text(json.dumps(description))
    (path / "decision.json").write_text(json.dumps({"thresholds": [0.5]}))
    return path


@pytest.fixture
def images(tmp_path):
    """Ramps from dark to bright, and one that is bright all over."""
    folder = tmp_path / "more"
    folder.mkdir()
    for name, pixels in (("a", RAMP), ("b", RAMP), ("c", RAMP), ("sure", np.full_like(RAMP, 250))):
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    return folder


def pseudo(*arguments):
    try:
        cli.main("pseudo", [str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def table(folder):
    with (folder / "confidence.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def mask(folder, name):
    with data.open_source(folder / "masks" / f"{name}.tif", palette="index") as source:
        return source.read(data.Window((0, 0), source.shape))[..., 0]


def test_an_image_is_labelled_by_runs_that_have_not_seen_it(tmp_path, images):
    runs = [write_run(tmp_path / "one", ["a", "x"], 100), write_run(tmp_path / "two", ["set/b"], 180)]
    out = tmp_path / "pseudo"
    assert pseudo(*runs, images, out, "--threshold", 0.9) == 0
    rows = table(out)
    assert {name: rows[name]["runs"] for name in "abc"} == {"a": "two", "b": "one", "c": "one two"}
    # The probability is 0.9 where the logit, 10 / 255 per grey value, is ln 9: 56 grey values off the middle.
    for name, middle in (("a", 180), ("b", 100)):
        expected = np.where(middle <= RAMP, 1, 0)
        expected[np.abs(RAMP.astype(int) - middle) < np.log(9) * 25.5 - 1] = 255
        np.testing.assert_array_equal(mask(out, name), expected)
        assert float(rows[name]["ignored"]) == (expected == 255).mean()
    # Both together are sure of less.
    assert 0 < (mask(out, "c") == 255).mean() > (mask(out, "a") == 255).mean()


def test_the_surest_are_kept_and_can_be_trained_on(tmp_path, images):
    run = write_run(tmp_path / "one", ["a"], 128)
    out = tmp_path / "pseudo"
    assert pseudo(run, images, out, "--fraction", 0.6) == 0
    rows = table(out)
    assert [name for name, row in rows.items() if row["kept"] == "True"] == ["sure", "b"]
    assert "a" not in rows
    confidence = [float(row["confidence"]) for row in rows.values()]
    assert confidence == sorted(confidence, reverse=True)
    # In the bright image all pixels show the class, with the probability of 250.
    np.testing.assert_allclose(confidence[0], 1 / (1 + np.exp(-10 * (250 - 128) / 255)), atol=1 / 255)
    assert (out / "images" / "sure.png").resolve() == images / "sure.png"
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["b.tif", "sure.tif"]
    dataset = data.load_data(str(out / "set.yaml"), spatial_dims=2)
    assert (dataset.task, dataset.class_names) == ("binary", ["cell"])
    case = next(case for case in dataset.train + dataset.validation if case.name == "b")
    labels = case.read_label(data.Window((0, 0), RAMP.shape))[..., 0]
    written = mask(out, "b")
    np.testing.assert_array_equal(labels == 1, written == 1)
    np.testing.assert_array_equal(labels == dataset.ignore_index, written == 255)


@pytest.mark.parametrize("layout", ["endings", "folders"])
def test_images_whose_channels_lie_in_several_files_are_labelled(tmp_path, layout, capsys):
    channels = {"endings": {"t1": "_0000", "t2": "_0001"}, "folders": {"red": "dirR", "nir": "dirN"}}[layout]
    more = tmp_path / "more"
    for number, place in enumerate(channels.values()):
        for name in ("seen", "new", "other"):
            first, second = np.roll(RAMP, 9 * (name == "other")), np.full_like(RAMP, 7 if name == "seen" else 9)
            file = more / f"{name}{place}.png" if layout == "endings" else more / place / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), second if number else first)
    run = write_run(tmp_path / "run", [], 128, channels=2, normalization={"kind": "none", "channels": 2})
    image = keras.Input((None, None, 2))
    keras.Model(image, keras.layers.Conv2D(1, 1, name="mask")(image)).save(run / "best.keras")
    described = json.loads((run / "data.json").read_text()) | {"spec": {"channels": channels}}
    files = data.images_as_trained(more, described["spec"])
    assert [data.name_as_trained(file, described["spec"]) for file in files] == ["new", "other", "seen"]
    identities = inference.identities_of_files(files, inference.RunData.from_mapping(described))
    # Of the seen one and the new one, the first channels are equal.
    described |= {"train": ["x"], "images": {"x": identities[2].as_mapping()}}
    (run / "data.json").write_text(json.dumps(described))
    assert pseudo(run, more, tmp_path / "out", "--threshold", 0.5) == 0
    assert "left out" in capsys.readouterr().err
    assert table(tmp_path / "out").keys() == {"new", "other"}
    dataset = data.load_data(str(tmp_path / "out/set.yaml"), spatial_dims=2)
    assert sorted(case.name for case in dataset.train) == ["new", "other"]
    case = next(case for case in dataset.train if case.name == "new")
    window = data.Window((0, 0), RAMP.shape)
    np.testing.assert_array_equal(case.image.read(window), np.dstack([RAMP, np.full_like(RAMP, 9)]))
    assert case.read_label(window)[..., 0].shape == RAMP.shape


def known_by_pixels(**files):
    """What `data.json` says of images, by name."""
    described = inference.RunData("binary", ("cell",), 1, 2, {"kind": "none", "channels": 1}, (32, 32))
    found = inference.identities_of_files(list(files.values()), described)
    return {name: identity.as_mapping() for name, identity in zip(files, found, strict=True)}


def test_images_are_known_by_pixels_not_by_names(tmp_path):
    """A run of joined sets has other names for its images; what is labelled may be a copy, a link, or a namesake."""
    rng = np.random.default_rng(0)
    folder, trained = tmp_path / "more", tmp_path / "trained"
    folder.mkdir()
    trained.mkdir()
    pictures = {name: rng.integers(0, 256, RAMP.shape, np.uint8) for name in ("x", "y", "new")}
    for name in "xy":
        cv2.imwrite(str(trained / f"{name}.png"), pictures[name])
    cv2.imwrite(str(folder / "copy.tif"), pictures["x"])
    (folder / "link.png").symlink_to(trained / "y.png")
    cv2.imwrite(str(folder / "set-x.png"), pictures["new"])
    images = known_by_pixels(**{"set-x": trained / "x.png", "set-y": trained / "y.png"})
    one = write_run(tmp_path / "one", ["set-x"], 128, validation=["set-y"], images=images)
    two = write_run(tmp_path / "two", ["set-y"], 128, seen_before=[images["set-x"]], images=images)
    out = tmp_path / "pseudo"
    assert pseudo(one, two, folder, out) == 0
    assert {name: row["runs"] for name, row in table(out).items()} == {"set-x": "one two", "link": "one"}
    makers = data.read_makers(out)
    assert [maker.name for maker in makers.of("link")] == ["one"]
    assert {image.content for image in makers.of("set-x")[1].seen} == {images[n]["content"] for n in images}
    dataset = data.load_data(str(out / "set.yaml"), spatial_dims=2)
    assert (len(dataset.train), dataset.validation) == (2, [])


def test_a_run_that_does_not_say_what_its_images_are_is_asked_for_its_files(tmp_path, images, caplog):
    trained = tmp_path / "trained"
    (trained / "images").mkdir(parents=True)
    (trained / "masks").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, RAMP.shape, np.uint8)
    cv2.imwrite(str(trained / "images" / "x.png"), picture)
    cv2.imwrite(str(images / "renamed.tif"), picture)
    run = write_run(tmp_path / "one", ["x", "gone", "c"], 128, spec={"path": str(trained)})
    (seen,) = [inference.seen_by(inference.read_run_data(run), run)]
    assert "does not say what its images are; taken to be the files that lie at their paths now" in caplog.text
    assert "some are gone; they are known by name alone" in caplog.text
    assert (seen.names, seen.identities) == ({"gone", "c"}, None)
    assert pseudo(run, images, tmp_path / "pseudo") == 0
    assert set(table(tmp_path / "pseudo")) == {"a", "b", "sure"}
    # What the run had seen is not known, so its labels stay out of a training that holds anything out.
    assert data.read_makers(tmp_path / "pseudo").saw("a", data.KnownImages([data.ImageIdentity("/x", "1")]))


def test_what_goes_wrong_leaves_nothing(tmp_path, images, capsys):
    run = write_run(tmp_path / "one", ["a", "b", "c", "sure"], 128)
    out = tmp_path / "pseudo"
    for arguments, expected in [
        ([run, images, out], "expected some that a run was not trained on"),
        ([run, tmp_path / "nowhere", out], "nowhere: expected a folder of images"),
        ([run, images, images], "more: expected an output that is none of the inputs"),
        ([run, images, out, "--threshold", 0.4], "--threshold"),
        ([run, images, out, "--fraction", 0], "--fraction"),
        ([tmp_path, images, out], "best.keras"),
    ]:
        if "expected some" not in expected:
            (run / "data.json").write_text((run / "data.json").read_text().replace('"sure"', '"other"'))
        assert pseudo(*arguments) == 2
        assert expected in capsys.readouterr().err
    (images / "sure.png").write_bytes((images / "sure.png").read_bytes()[:60])
    assert pseudo(run, images, out) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more", "one"]


def test_labels_and_confidence_by_hand():
    labels, confidence = likeliest_labels(np.array([[51, 153, 51], [204, 0, 51]], np.uint8), "multiclass")
    assert labels.tolist() == [[1], [0]]
    np.testing.assert_allclose(confidence, [[0.6], [0.8]], rtol=1e-6)
    labels, confidence = likeliest_labels(np.array([[51, 255]], np.uint8), "multilabel")
    assert labels.tolist() == [[0, 1]]
    np.testing.assert_allclose(confidence, [[0.8, 1.0]], rtol=1e-6)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_several_classes_can_be_trained_on(task, tmp_path, images):
    shares = np.zeros((*RAMP.shape, 3), np.uint8)
    shares[:, :20], shares[:, 20:40], shares[:, 40:] = (255, 0, 0), (0, 255, 0), (70, 100, 85)
    source = data.open_source(shares, spatial_dims=2)
    description = inference.RunData(task, ("ground", "cell", "wall"), 1, 2, {"kind": "none", "channels": 1}, (32, 32))
    with training.PseudoSet(tmp_path / "pseudo", description, 0.9) as pseudo_set:
        for name in ("a", "b"):
            with data.open_source(images / f"{name}.png", spatial_dims=2) as image:
                pseudo_set.add(images / f"{name}.png", image, source, [data.LabelMaker("one", "/one", "1", ())])
        pseudo_set.finish()
    dataset = data.load_data(str(tmp_path / "pseudo" / "set.yaml"), spatial_dims=2)
    assert (dataset.task, dataset.class_names) == (task, ["ground", "cell", "wall"])
    labels = dataset.train[0].read_label(data.Window((0, 0), RAMP.shape))
    assert (labels[:, 40:] == dataset.ignore_index).all()
    if task == "multiclass":
        assert (labels[:, :20] == 0).all()
        assert (labels[:, 20:40] == 1).all()
    else:
        assert (labels[:, :20] == [1, 0, 0]).all()
        assert (labels[:, 20:40] == [0, 1, 0]).all()


@pytest.mark.parametrize(("options", "message"), [
    (("--threshold", 0.3), "--threshold: expected a probability from 0.5 to 1; received 0.3"),
    (("--fraction", 0), "--fraction: expected a fraction above 0, up to 1; received 0.0"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused_before_any_image_is_read(
    tmp_path, images, monkeypatch, capsys, options, message
):
    def fail(*arguments):
        raise AssertionError("read")

    monkeypatch.setattr(inference, "identities_of_files", fail)
    run = write_run(tmp_path / "one", ["a"], 128)
    assert pseudo(run, images, tmp_path / "pseudo", *options) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
