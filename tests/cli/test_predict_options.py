"""Ensembles, views, decisions and post-processing on the command line: predict, evaluate and decide."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import rasterio
from exact_run import exact_run, write_image
from run_verb import run
from scipy import ndimage

from maskzoo import data, inference, metrics
from maskzoo import postprocessing as postprocess
from maskzoo.inference import gate
from maskzoo.inference.engines import choice
from maskzoo.inference.results import without_classes
from maskzoo.models.crf import LocalCRF


def speckled(seed, shape=(48, 52)):
    """The logits of a prediction with specks and holes, and the truth: whatever its threshold, 0.5 is not the best."""
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.normal(size=shape), 4) > 0.02
    wrong = ndimage.gaussian_filter(rng.normal(size=shape), 0.8) > 0.6
    logits = np.where(truth ^ wrong, 2.0, -2.0) + rng.normal(0, 1, shape) - 1
    return logits[..., None].astype(np.float32), truth.astype(np.uint8)[..., None]


@pytest.fixture
def trained(tmp_path):
    """A run whose model returns its input; three held-out images."""
    return exact_run(tmp_path, [speckled(seed) for seed in range(3)])


def predicted(*arguments):
    """What `predict` writes for the first image of a run's data."""
    run_folder = arguments[0]
    output = run_folder.parent / "out.npy"
    assert run("predict", *arguments, run_folder.parent / "data/images/0.npy", output) == 0
    return np.load(output)


def scores_of(capsys, *arguments):
    capsys.readouterr()
    assert run("evaluate", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def by_hand(logits, threshold, holes, least):
    mask = 1 / (1 + np.exp(-logits[..., 0].astype(float))) >= threshold
    empty, _ = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    mask = mask | ((empty > 0) & (np.bincount(empty.ravel()) <= holes)[empty])
    objects, _ = ndimage.label(mask)
    return mask & (np.bincount(objects.ravel()) >= least)[objects]


def test_decide_writes_what_predict_and_evaluate_then_apply(trained, capsys):
    pairs = [speckled(seed) for seed in range(3)]
    before = scores_of(capsys, trained)
    assert run("decide", trained) == 0
    assert "at 0.5" in capsys.readouterr().out
    decision = json.loads((trained / "decision.json").read_text())
    assert {path.name for path in trained.iterdir()} >= {"decision.json", "decision.png"}
    assert not [path for path in trained.iterdir() if path.name.startswith(".")], "something half-written was left"
    chosen = (decision["thresholds"][0], decision["holes"][0], decision["minimum_area"][0])
    assert chosen[0] < 0.45
    assert min(chosen[1:]) > 0
    masks = [by_hand(logits, *chosen) for logits, _ in pairs]
    dice = [
        metrics.dice_from_counts(metrics.confusion_counts(truth[..., 0], mask))[0]
        for mask, (_, truth) in zip(masks, pairs, strict=True)
    ]
    assert decision["score"] == pytest.approx(np.mean(dice), abs=1e-9)
    assert decision["score_at_half"] == pytest.approx(before["mean_dice"][0], abs=1e-9)
    np.testing.assert_array_equal(predicted(trained), masks[0])
    assert f"threshold {chosen[0]:g}" in capsys.readouterr().out
    after = scores_of(capsys, trained)
    assert after["mean_dice"][0] == pytest.approx(decision["score"], abs=1e-9)
    assert after["mean_dice"][0] > before["mean_dice"][0] + 0.02
    assert scores_of(capsys, trained, "--no-decision") == before


@pytest.mark.slow
def test_evaluate_scores_the_engine_that_is_asked_for(trained, capsys, monkeypatch):
    plain = scores_of(capsys, trained)
    for engine in ("onnx", "auto"):
        assert scores_of(capsys, trained, "--engine", engine)["mean_dice"] == pytest.approx(plain["mean_dice"])
    assert run("evaluate", trained, "--engine", "auto", "--json") == 0
    assert "ms per tile" in capsys.readouterr().err
    blind = {"onnx": lambda *_: lambda images: np.full((*images.shape[:-1], 1), -9, np.float32)}
    monkeypatch.setattr(choice, "OPENERS", blind)
    received = scores_of(capsys, trained, trained, "--engine", "onnx", "--members")
    assert [received["mean_dice"], received["members"][str(trained)]["mean_dice"]] == [[0], [0]]


def test_options_take_the_place_of_decisions(trained):
    (trained / "decision.json").write_text(json.dumps({"thresholds": [0.3], "holes": [9], "minimum_area": [20]}))
    logits, _ = speckled(0)
    cases = {
        (): (0.3, 9, 20),
        ("--min-area", 0): (0.3, 9, 0),
        ("--fill-holes", "all"): (0.3, np.inf, 20),
        ("--fill-holes", 2, "--min-area", 5, "--threshold", 0.5): (0.5, 2, 5),
        ("--threshold", "[0.6]"): (0.6, 9, 20),
        ("--no-decision",): (0.5, 0, 0),
        ("--no-decision", "--min-area", 7): (0.5, 0, 7),
    }
    for options, expected in cases.items():
        np.testing.assert_array_equal(predicted(trained, *options), by_hand(logits, *expected), str(options))
    mask = by_hand(logits, 0.3, 9, 20)
    objects, _ = ndimage.label(mask)
    largest = objects == 1 + np.argmax(np.bincount(objects.ravel())[1:])
    np.testing.assert_array_equal(predicted(trained, "--largest"), largest)
    strips = postprocess.array_strips(by_hand(logits, 0.3, 9, 0))
    split = postprocess.remove_small(postprocess.split_touching(strips, 4), 20).read(0, 48)
    assert (split != mask).any()
    np.testing.assert_array_equal(predicted(trained, "--watershed", 4), split)


def test_probabilities_are_left_as_they_are(trained):
    (trained / "decision.json").write_text(json.dumps({"thresholds": [0.3], "minimum_area": [10_000]}))
    assert predicted(trained).max() == 0
    assert predicted(trained, "--probabilities", "float32").max() > 0.9


def test_a_group_of_images_has_thresholds_of_its_own(trained, capsys):
    assert run("decide", trained, "--groups", "^.", "--thresholds-only") == 0
    decision = json.loads((trained / "decision.json").read_text())
    assert sorted(decision["groups"]["thresholds"]) == ["0", "1", "2"]
    threshold = decision["groups"]["thresholds"]["0"][0]
    assert threshold != decision["thresholds"][0]
    np.testing.assert_array_equal(predicted(trained), by_hand(speckled(0)[0], threshold, 0, 0))
    assert scores_of(capsys, trained)["mean_dice"][0] == pytest.approx(decision["score"], abs=1e-9)


def noisy_copy(trained, name, seed, scale):
    """A second run on the same images, whose model adds a convolution with weights of its own."""
    import keras

    image = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(1, 3, padding="same")
    model = keras.Model(image, layer(image))
    kernel = np.random.default_rng(seed).normal(0, scale, (3, 3, 1, 1))
    kernel[1, 1] += 1
    layer.set_weights([kernel, np.zeros(1)])
    copy = trained.parent / name
    shutil.copytree(trained, copy)
    model.save(copy / "best.keras")
    return copy


def test_an_ensemble_is_decided_on_and_better_than_its_members(trained, capsys):
    other = noisy_copy(trained, "other", 0, 0.15)
    assert run("decide", trained, other) == 0
    assert "weights of the ensemble" in capsys.readouterr().out
    decisions = [json.loads((path / "decision.json").read_text()) for path in (trained, other)]
    together = decisions[0]["ensemble"]
    assert together == decisions[1]["ensemble"]
    assert together["members"] == ["run", "other"]
    assert together["score"] >= max(decision["score"] for decision in decisions) - 1e-3
    scores = scores_of(capsys, other, trained)
    assert scores["mean_dice"][0] == pytest.approx(together["score"], abs=1e-6)
    mask = predicted(trained, other)
    chances = sum(
        weight / (1 + np.exp(-predicted_logits(path).astype(float)))
        for weight, path in zip(together["weights"], (trained, other), strict=True)
    )
    expected = by_hand(
        np.log(chances / (1 - chances)), together["thresholds"][0], together["holes"][0], together["minimum_area"][0]
    )
    np.testing.assert_array_equal(mask, expected)


def predicted_logits(path):
    loaded = inference.load_run(path)
    source = data.open_source(path.parent / "data/images/0.npy", spatial_dims=2)
    plan = inference.plan_image(loaded, source)
    answers = inference.predict_tiles(loaded.model, loaded.reader(source), plan)
    return np.concatenate([logits for _, logits in answers])


def test_two_folds_get_one_decision(trained, tmp_path):
    second = exact_run(tmp_path / "second", [speckled(seed) for seed in range(5, 8)])
    assert run("decide", trained, second, "--thresholds-only", "--metric", "dice") == 0
    decisions = [json.loads((path / "decision.json").read_text()) for path in (trained, second)]
    models = [decision.pop("models") for decision in decisions]
    assert models[0] != models[1]
    assert decisions[0] == decisions[1]
    assert decisions[0]["chosen_on"]["images"] == 6
    assert "ensemble" not in decisions[0]


def test_views_and_weights_on_the_command_line(trained):
    other = noisy_copy(trained, "other", 1, 0.3)
    image = trained.parent / "data/images/0.npy"
    for order in (
        [trained, other, "--tta", "symmetries", "--weights", "[3,1]", image],
        ["--tta", "symmetries", trained, other, image, "--weights", "[3,1]"],
        [trained, "--tta=symmetries", other, "--weights", "[3,1]", image],
    ):
        output = trained.parent / "views.npy"
        output.unlink(missing_ok=True)
        assert run("predict", *order, output, "--probabilities", "float32") == 0
    with data.open_source(image, spatial_dims=2) as source:
        ensemble = inference.Ensemble(map(inference.load_run, (trained, other)), weights=[3, 1], tta="symmetries")
        plan = ensemble.plan(source)
        answers = list(inference.predict_tiles(ensemble.scorer(plan), ensemble.reader(source), plan))
    expected = metrics.probabilities(np.concatenate([logits for _, logits in answers]), "binary")[..., 0]
    np.testing.assert_allclose(np.load(output).reshape(expected.shape), expected, atol=1e-6)
    assert np.ptp(expected) > 0.5


def test_members_are_scored_beside_their_ensemble(trained, capsys):
    other = noisy_copy(trained, "other", 1, 2.0)
    alone = {str(folder): scores_of(capsys, folder) for folder in (trained, other)}
    together = scores_of(capsys, trained, other, "--weights", "[3,1]")
    found = scores_of(capsys, trained, other, "--weights", "[3,1]", "--members")
    assert found.pop("members") == alone
    assert found == together
    assert len({str(scores["dice"]) for scores in (*alone.values(), together)}) == 3
    assert run("evaluate", trained, other, "--weights", "[3,1]", "--members") == 0
    rows = [line.split()[0::3] for line in capsys.readouterr().out.strip().splitlines()[-3:]]
    assert rows == [[name, f"{scores['iou'][0]:.4f}"] for name, scores in {**alone, "together": together}.items()]


def test_a_field_behind_the_model_takes_specks_away(trained):
    plain, refined = (predicted(trained, "--crf", weight, "--probabilities", "float32") for weight in (0, 3))
    logits, _ = speckled(0)
    layer = LocalCRF("binary", weight=3.0)
    # Mirrored borders, as prediction has them; the model returns its input.
    image = np.pad(logits, [(15, 15), (15, 15), (0, 0)], mode="reflect")[None]
    expected = np.asarray(layer([image, image]))[0, 15:-15, 15:-15, 0]
    np.testing.assert_allclose(refined.reshape(expected.shape), 1 / (1 + np.exp(-expected)), atol=1e-4)
    assert ndimage.label(np.squeeze(refined) > 0.5)[1] < ndimage.label(np.squeeze(plain) > 0.5)[1]


def test_a_table_of_runs_cleans_as_a_picture_does(tmp_path):
    place = {"crs": "EPSG:32616", "transform": rasterio.Affine(2, 0, 0, 0, -2, 0)}
    run_folder = exact_run(tmp_path, [speckled(0)], suffix=".tif", **place)
    image = tmp_path / "data/images/0.tif"
    assert run("predict", run_folder, image, tmp_path / "mask.npy", "--min-area", 20) == 0
    assert run("predict", run_folder, image, tmp_path / "mask.csv", "--min-area", 20) == 0
    row = (tmp_path / "mask.csv").read_text().splitlines()[1].split(",")[1]
    np.testing.assert_array_equal(data.decode_rle(row, (48, 52)), np.load(tmp_path / "mask.npy"))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "scratch was left"


def test_a_class_map_of_a_volume_is_decided_on_and_cleaned(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(2):
        truth = np.digitize(ndimage.gaussian_filter(rng.normal(size=(16, 20, 18)), 2), [0, 0.08]).astype(np.uint8)
        wrong = np.where(rng.random(truth.shape) < 0.03, (truth + 1) % 3, truth)
        logits = 6.0 * (wrong[..., None] == np.arange(3)) + rng.normal(size=(*truth.shape, 3))
        pairs.append((logits.astype(np.float32), truth))
    scheme = data.LabelScheme("multiclass", ("ground", "a", "b"), ((0,), (1,), (2,)))
    run_folder = exact_run(tmp_path, pairs, scheme=scheme)
    before = scores_of(capsys, run_folder)
    assert run("decide", run_folder) == 0
    assert "at 0.5" in capsys.readouterr().out
    decision = json.loads((run_folder / "decision.json").read_text())
    after = scores_of(capsys, run_folder)
    assert decision["score_at_half"] == pytest.approx(np.mean(before["mean_dice"]))
    assert np.mean(after["mean_dice"]) == pytest.approx(decision["score"], abs=1e-9)
    assert np.mean(after["mean_dice"]) > np.mean(before["mean_dice"]) + 0.01
    assert (min(decision["minimum_area"][1:]), decision["minimum_area"][0]) > (1, 0)


def labelled_run(trained, chance):
    """The same run with an image-level label of always the same probability."""
    import keras

    model = keras.saving.load_model(trained / "best.keras")
    image = model.input
    mask = keras.layers.Activation("linear", dtype="float32", name="mask")(model(image))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(image)
    dense = keras.layers.Dense(1, name="label", kernel_initializer="zeros")
    both = keras.Model(image, {"mask": mask, "label": dense(pooled)})
    dense.set_weights([np.zeros((1, 1)), np.array([np.log(chance / (1 - chance))])])
    copy = trained.parent / f"labelled{chance}"
    shutil.copytree(trained, copy)
    both.save(copy / "best.keras")
    return copy


@pytest.mark.parametrize("tile", [[], ["--tile", 16]])
def test_a_class_whose_label_is_unlikely_is_left_out(trained, capsys, tile):
    run_folder = labelled_run(trained, 0.3)
    mask = by_hand(speckled(0)[0], 0.5, 0, 0)
    np.testing.assert_array_equal(predicted(run_folder, *tile, "--gate", 0.29), mask)
    np.testing.assert_array_equal(predicted(run_folder, *tile, "--gate", 0.31), 0 * mask)
    assert "not in this image by its label" in capsys.readouterr().out
    assert scores_of(capsys, run_folder, "--gate", 0.31)["recall"] == [0]
    assert scores_of(capsys, run_folder, "--gate", 0.29) == scores_of(capsys, run_folder)
    # The mean label of two members, 0.3 and 0.6, is 0.45; with weights of 1 and 2 it is 0.5.
    other = labelled_run(trained, 0.6)
    assert predicted(run_folder, other, *tile, "--gate", 0.46).max() == 0
    assert predicted(run_folder, other, *tile, "--gate", 0.46, "--weights", "[1,2]").max() == 1
    (run_folder / "decision.json").write_text(json.dumps({"thresholds": [0.5], "gate": [0.4]}))
    assert predicted(run_folder).max() == 0
    assert predicted(run_folder, "--gate", 0).max() == 1


def test_labels_of_tiles_before_an_interruption_count_too(trained, monkeypatch):
    """Only the first tile's label is likely. What is predicted after a resumption must still know it."""
    import keras

    loaded = inference.load_run(trained)
    image = loaded.model.input
    brightest = keras.layers.GlobalMaxPooling2D()(image)
    label = keras.layers.Dense(1, name="label", kernel_initializer="ones")(brightest)
    both = keras.Model(image, {"mask": loaded.model(image), "label": label})
    bright = np.full((40, 16, 1), -5, np.float32)
    bright[1, 1] = 5
    bright[30:] = 0.1
    run = dataclasses.replace(loaded, model=both)
    np.save(trained.parent / "image.npy", bright)
    predict = gate.LabelRecorder.predict

    def stopping(self, images):
        if self.largest[0] > 0.9:
            raise KeyboardInterrupt
        return predict(self, images)

    def segment(output):
        with data.open_source(trained.parent / "image.npy", spatial_dims=2) as source:
            plan = dataclasses.replace(inference.plan_image(run, source, inference.TileOptions(tile=8)), batch=1)
            inference.predict_image(
                run, source, output, tiles=plan, post_processing=inference.PostProcessing(gate=(0.8,))
            )
        return np.load(output)

    output = trained.parent / "bright.npy"
    monkeypatch.setattr(gate.LabelRecorder, "predict", stopping)
    with pytest.raises(KeyboardInterrupt, match=r"1 of 10 parts .* are kept"):
        segment(output)
    monkeypatch.setattr(gate.LabelRecorder, "predict", predict)
    np.testing.assert_array_equal(segment(output), bright[..., 0] >= 0)


def test_the_classes_of_a_map_have_gates_of_their_own():
    labels = np.array([[0, 1, 2]], np.uint8)
    np.testing.assert_array_equal(without_classes(labels, [2], "multiclass"), [[0, 1, 0]])
    bands = np.ones((1, 2, 3), np.uint8)
    np.testing.assert_array_equal(without_classes(bands, [0, 2], "multilabel"), bands * [0, 1, 0])


def test_mistakes_are_one_line(trained, tmp_path, capsys):
    other = exact_run(tmp_path / "second", [speckled(9)])
    write_image(tmp_path / "image.npy", speckled(0)[0])
    files = [tmp_path / "image.npy", tmp_path / "out.npy"]
    mistakes = {
        ("predict", trained, *files, "--tta", "mirrors"): "--tta: expected none, flips",
        ("predict", trained, *files, "--threshold", 1.5): "--threshold: expected numbers between 0 and 1; received 1.5",
        ("predict", trained, *files, "--threshold", "[0.1,0.2]"): "--threshold: expected one number",
        ("predict", trained, *files, "--min-area", -1): "--min-area: expected at least 0",
        ("predict", trained, *files, "--watershed", 0.5): "--watershed: expected a distance of at least 1",
        ("predict", trained, *files, "--weights", "[1,2]"): "--weights: expected 1 weight, one per run",
        ("predict", trained, *files, "--temperature", 0): "--temperature: expected a number above 0",
        ("predict", trained, *files, "--crf", -1): "--crf: expected a weight of at least 0; received -1.0",
        ("predict", trained, *files, "--crf", 3, "--engine", "onnx"): "--crf: expected the engine keras",
        ("evaluate", trained, "--crf", 3, "--engine", "onnx"): "--crf: expected the engine keras",
        ("evaluate", trained, "--gate", 0.5, "--engine", "onnx"): "--gate: expected the engine keras with it",
        ("predict", trained, *files, "--gate", 1.5): "--gate: expected probabilities from 0",
        ("predict", trained, *files, "--gate", 0.5): "--gate: expected runs that were trained with a label head",
        ("predict", f"{trained}:last", *files): "last.keras",
        ("evaluate", trained, other): "--data: expected images that none of the runs was trained on",
        ("decide", trained, other, trained): "runs: expected the same number of runs for each set of held-out images",
        ("decide", trained, "--metric", "accuracy"): "--metric: expected one of mean_dice",
        ("decide", trained, "--groups", "q"): "group: expected q to be found in every name",
    }
    for (verb, *arguments), expected in mistakes.items():
        assert run(verb, *arguments) == 2, (verb, arguments)
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: "), error
        assert expected in error, error
    assert json.loads((trained / "decision.json").read_text())["thresholds"] == [0.5]
