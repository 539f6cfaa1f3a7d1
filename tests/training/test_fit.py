"""Whole trainings, tiny ones: the same numbers for the same seed, also after a kill, and what the run folder holds."""

import json
import logging
import shutil
from types import SimpleNamespace

import keras
import nibabel
import numpy as np
import pytest

from maskzoo import data, evaluation, inference, models
from maskzoo.errors import OptionError, RunError, TrainingError, WeightsError
from maskzoo.training import Recipe, checkpoints, fit, read_history, recorder
from maskzoo.training.fit import describe, open_data
from maskzoo.training.history import History


def history(run):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(run)]


def weights(run, name):
    return [np.asarray(weight) for weight in keras.saving.load_model(run / name).weights]


def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(
    short_run, train_tiny, short_options, tmp_path, monkeypatch
):
    run = tmp_path / "killed"
    save = recorder.save_model

    def kill_after_the_first(network, path, state=None):
        save(network, path, state)
        if state:
            raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "save_model", kill_after_the_first)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(run, **short_options)
    monkeypatch.undo()
    assert len(history(run)) == 1
    assert train_tiny(run, **short_options, resume=True) == history(short_run)
    for name in ("best.keras", "last.keras", "averaged.keras"):
        for one, other in zip(weights(run, name), weights(short_run, name), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


@pytest.mark.slow
def test_a_run_resumed_in_the_middle_of_a_stage_has_the_history_of_one_that_was_not(
    staged_run, train_tiny, all_options, tmp_path, monkeypatch
):
    """Killed after each file that epoch 3, the second of stage 2, writes."""
    run = tmp_path / "killed"
    save, write = recorder.save_model, History.write
    killed = []

    def kill_once(where):
        if where not in killed:
            killed.append(where)
            raise KeyboardInterrupt(where)

    def written(table):
        write(table)
        if len(table) == 3:
            kill_once("after the history of epoch 3")

    def saved(network, path, state=None):
        if state and state["epochs"] == 3:
            kill_once("before the checkpoint of epoch 3")
        save(network, path, state)
        if state and state["epochs"] == 3:
            kill_once("after the checkpoint of epoch 3")

    monkeypatch.setattr(History, "write", written)
    monkeypatch.setattr(recorder, "save_model", saved)
    for start in range(3):
        with pytest.raises(KeyboardInterrupt):
            train_tiny(run, **all_options, resume=start > 0)
    rows = train_tiny(run, **all_options, resume=True)
    assert len(killed) == 3
    assert [row["stage"] for row in rows] == ["1"] + ["2"] * 3 + ["3"] * 2
    assert rows == history(staged_run)
    for name in ("best.keras", "last.keras", "averaged.keras"):
        for one, other in zip(weights(run, name), weights(staged_run, name), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_the_files_of_a_run_are_plain_models_that_predict(short_run):
    assert not list(short_run.glob(".*"))
    for name in ("best.keras", "last.keras", "averaged.keras"):
        model = keras.saving.load_model(short_run / name)
        assert type(model).__name__ == "Functional"
        assert all(layer.trainable for layer in model.layers)
    assert len(list((short_run / "kept").glob("*.keras"))) == 2
    assert inference.load_run(short_run).data.patch == (16, 16)
    assert json.loads((short_run / "decision.json").read_text())["thresholds"] == [0.5]


def test_a_training_says_what_it_trains_on_what(train_tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO, "maskzoo")
    rows = train_tiny(tmp_path / "run", epochs=1, steps=1, freeze_encoder_epochs=1, seed=3)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("maskzoo.")]
    assert lines[0].startswith("model")
    assert lines[0].endswith(", 281 parameters, receptive field 5 x 5")
    assert lines[1:] == [
        "data       4 images for training, 1 held out; binary: foreground",
        "windows    16 x 16 with 3 channels, 1 device",
        f"run        {tmp_path / 'run'}",
    ]
    # The encoder was frozen for the only epoch.
    keras.utils.set_random_seed(3)
    start = models.build_model("dropout_net", (None, None, 3), 1)
    end = keras.saving.load_model(tmp_path / "run" / "last.keras")
    for layer in (layer for layer in start.layers if layer.weights):
        same = all(np.array_equal(a, b) for a, b in zip(layer.weights, end.get_layer(layer.name).weights, strict=True))
        assert same == (layer.name not in ("decoder_conv", "mask")), layer.name
    assert {"epoch", "stage", "loss", "dice", "val_loss", "val_dice", "learning_rate"} <= rows[0].keys()
    assert "windows_per_second" not in rows[0]


@pytest.mark.parametrize(
    ("scales", "level", "said"),
    [
        ([[1, 0.5], [0.25]], logging.INFO, "scales     1, 0.5, 0.25 in training; 1 in validation, as in prediction"),
        ([[0.5], None], logging.WARNING, "scales     [0.5] in training, but validation and prediction show images at"),
        ([None, None], None, ""),
    ],
)
def test_scales_are_said_and_warned_of_where_prediction_has_others(scales, level, said, tmp_path, caplog):
    caplog.set_level(logging.INFO, "maskzoo")
    network = models.build_model("unet_padded", (None, None, 1), 1, filters=[2, 2])
    dataset = SimpleNamespace(train=[None], validation=[], channels=1, task="binary", class_names=("a",), regions={})
    session = SimpleNamespace(
        network=network,
        dataset=dataset,
        geometry=models.analysis.geometry(network),
        strategy=SimpleNamespace(num_replicas_in_sync=1),
    )
    describe(session, [Recipe(patch=(16, 16), scales=each) for each in scales], tmp_path)
    found = [
        (record.levelno, record.getMessage()) for record in caplog.records if record.getMessage().startswith("scales ")
    ]
    assert [each for each, _ in found] == [level] * bool(said)
    assert all(text.startswith(said) for _, text in found)


def test_several_outputs_train_together_and_the_mask_is_predicted(train_tiny, squares, tmp_path, caplog):
    run = tmp_path / "run"
    heads = {"auxiliary": {"aux1": "relu"}, "output_weights": {"aux1": 0.3}, "label_head": 0.2}
    train_tiny(run, epochs=1, **heads)
    model = keras.saving.load_model(run / "best.keras")
    assert set(model.output) == {"mask", "aux1", "label"}
    loaded = inference.load_run(run)
    dataset = data.load_data(data.read_spec(str(squares)), spatial_dims=2, seed=0)
    assert np.isfinite(evaluation.evaluate(loaded, dataset.validation).dice).all()

    again = tmp_path / "again"
    caplog.set_level(logging.INFO, "maskzoo")
    train_tiny(again, epochs=1, learning_rate=1e-9, init_from=str(run))
    assert "not used: aux1" in caplog.text
    other = keras.saving.load_model(again / "last.keras").get_layer("mask")
    np.testing.assert_allclose(other.weights[0], model.get_layer("mask").weights[0], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"stages": [{"patch": 16, "lerning_rate": 1}]}, "expected learning_rate .* in stage 1; received lerning_rate"),
        ({"stages": [{"model": "unet"}]}, "received model"),
        ({"stages": [{}, {"epochs": 0}]}, "at least 1 for epochs in stage 2; received 0"),
        ({"stages": []}, "at least one stage"),
        ({"ema": 1.5}, "^ema: expected a decay between 0 and 1; received 1.5"),
        ({"weight_decay": 0.1}, "^weight_decay: expected `optimizer` to be adamw"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"accumulate": 3}, "batch_size: expected a multiple of 1 device with 3 micro-batches each; received 4"),
        ({"devices": "cpu:2", "xla": True}, "^xla: expected a single device; received 2"),
        ({"auxiliary": {"aux1": "nowhere"}}, "received nowhere"),
        ({"auxiliary": 7}, "^auxiliary: expected at most 0 levels of .*; received 7"),
        (
            {"task": "multiclass", "classes": {"background": 0, "square": 255}, "class_weights": [1, 2, 3]},
            "^class_weights: expected one number per class, here 2; received 3",
        ),
        ({"model": "fine_grained_unet"}, "single input"),
        ({"model": "unet_plus_plus", "option": {"filters": [4, 8]}, "freeze_encoder_epochs": 1}, "name an encoder"),
        ({"loss": "bce", "loss_weights": {"dice": [[0, 1]]}}, "expected a term of the loss: one of bce"),
        ({"stages": [{}, {"loss": "dise"}]}, "dice"),
        ({"output_weights": {"mask": 0}}, "^output_weights: expected an output with a weight above 0, or `label_head`"),
        ({"output_weights": {"msk": 1}}, "^output_weights: expected mask .*; received msk"),
        ({"output_weights": {"label": 1}, "label_head": 1.0}, "^output_weights: expected `label_head`"),
        ({"track": ["wandb"]}, r"pip install \"maskzoo\[track\]\""),
    ],
)
def test_mistakes_are_reported_before_training(train_tiny, tmp_path, options, expected):
    with pytest.raises(ValueError, match=expected):
        train_tiny(tmp_path / "run", **options)
    assert not (tmp_path / "run" / "history.csv").exists()


@pytest.mark.slow
def test_a_run_goes_on_from_its_last_finite_checkpoint(train_tiny, tmp_path):
    run = tmp_path / "run"
    before = train_tiny(run, schedule="constant")
    best = weights(run, "best.keras")
    with pytest.raises(TrainingError, match="the checkpoint of epoch 2 is kept: go on from it with `resume`"):
        train_tiny(run, schedule="constant", epochs=4, learning_rate=1e38, resume=True)
    for one, other in zip(weights(run, "best.keras"), best, strict=True):
        np.testing.assert_array_equal(one, other)
    rows = train_tiny(run, schedule="constant", epochs=4, learning_rate=1e-3, resume=True)
    assert rows[:2] == before
    assert len(rows) == 4
    assert np.isfinite([float(row["val_loss"]) for row in rows]).all()


def test_a_run_whose_weights_are_not_finite_is_refused_by_all_that_read_it(
    short_run, train_tiny, short_options, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(short_run, run)
    for name in ("best.keras", "last.keras"):
        model, state = checkpoints.load_model(run / name), {"epochs": np.array(2), "stage": np.array(1)}
        model.get_layer("mask").kernel.assign(np.full_like(model.get_layer("mask").kernel, np.nan))
        checkpoints.save_model(model, run / name, state)
    for path in (run, f"{run}:last"):
        with pytest.raises(RunError, match=r"expected finite weights.*; received NaN in mask/kernel"):
            inference.load_run(path)
    with pytest.raises(RunError, match=r"last\.keras: expected finite weights to resume from.*received NaN"):
        train_tiny(run, **short_options, resume=True)
    with pytest.raises(WeightsError, match=r"best\.keras: expected finite weights; received NaN"):
        train_tiny(tmp_path / "other", init_from=str(run))


@pytest.mark.slow
def test_labels_are_learned_in_a_stage_before_masks(train_tiny, tmp_path):
    stages = [
        {"epochs": 1, "output_weights": {"mask": 0}, "label_head": 1},
        {"epochs": 1, "output_weights": {"mask": 1}},
    ]
    run = tmp_path / "run"
    start, end = {}, {}
    rows = train_tiny(run, stages=stages, average_best=1)
    assert all(row["val_label_accuracy"] for row in rows)
    for found, epochs in ((start, 1), (end, 2)):
        one = train_tiny(tmp_path / str(epochs), stages=stages[:epochs])
        assert one == rows[:epochs]
        model = keras.saving.load_model(tmp_path / str(epochs) / "last.keras")
        assert set(model.output) == {"mask", "label"}
        found.update({weight.path: np.asarray(weight) for weight in model.weights})
    changed = {path for path in start if not np.array_equal(start[path], end[path])}
    # The second stage leaves the labels as they are.
    assert "mask/kernel" in changed
    assert not any(path.startswith("label") for path in changed)
    # A mask that was not trained is not chosen, whatever its Dice.
    chosen = json.loads((run / "best.json").read_text())
    assert (chosen["stage"], chosen["carried"]) == (2, {"2": {"after": 1, "scores": {}}})
    assert chosen["measured_on"]["pixels"] == chosen["measured_on"]["windows"] * 16 * 16


@pytest.mark.slow
def test_the_best_of_a_stage_is_measured_again_on_the_windows_of_the_next(train_tiny, tmp_path):
    run = tmp_path / "run"
    stages = [{"epochs": 1, "patch": 16}, {"epochs": 1, "patch": 32, "learning_rate": 1e-12}]
    rows = train_tiny(run, stages=stages)
    chosen = json.loads((run / "best.json").read_text())
    again = chosen["carried"]["2"]["scores"]["1"]
    # The second stage changed nothing but its windows, and so measures what the first one measures on these.
    assert again == pytest.approx(float(rows[1]["val_dice"]), abs=0.02)
    assert again != float(rows[0]["val_dice"])
    assert chosen["measured_again"]["window"] == [32, 32]
    best = 1 if again >= float(rows[1]["val_dice"]) else 2
    assert chosen["epoch"] == best


def test_a_model_for_other_images_is_refused_before_these_are_read(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for name in "ab":
            (tmp_path / kind / f"{name}.nii.gz").touch()
    with pytest.raises(OptionError, match=r"^linknet: expected input_shape to have 2 spatial axes"):
        fit.open_data(Recipe(model="linknet", data=str(tmp_path)))


def test_without_held_out_images_the_last_epoch_is_kept(train_tiny, tmp_path):
    run = tmp_path / "run"
    rows = train_tiny(run, validation=0)
    assert len(rows) == 2
    assert "val_dice" not in rows[0]
    described = inference.read_run_data(run)
    assert (len(described.train), described.validation) == (5, ())
    best, last = (inference.read_run(f"{run}{which}").identity for which in (":best", ":last"))
    assert best == last
    assert (run / "curves.png").is_file()
    assert (run / "samples.png").is_file()
    for options in ({"patience": 1}, {"schedule": "plateau"}, {"average_best": 2}):
        (name,) = options
        with pytest.raises(ValueError, match=f"{name}: expected none that needs held-out images"):
            train_tiny(tmp_path / name, validation=0, **options)


def test_a_finished_run_that_is_resumed_keeps_its_decision(train_tiny, short_run, short_options, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(short_run, run)
    identity = inference.read_run(run).identity
    decided = inference.Decision((0.3,), minimum_area=(7,), models=(identity,), metric="dice")
    decided.write(run)
    train_tiny(run, resume=True, **short_options)
    assert inference.read_decision(run) == decided
    assert inference.read_run(run).decision == decided
    # With more epochs the model may become another one, for which it does not hold.
    train_tiny(run, resume=True, **short_options | {"epochs": 3})
    loaded = inference.read_run(run)
    assert (loaded.decision == decided) == (loaded.identity == identity)


def test_a_resumed_run_of_an_older_version_reads_volumes_as_they_are_stored(tmp_path):
    affine = np.diag([-1.0, -1, 1, 1])
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for number in range(2):
            voxels = rng.integers(0, 2 if kind == "masks" else 99, (6, 5, 4)).astype(np.uint8)
            nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / kind / f"{number}.nii")
    run = tmp_path / "run"
    run.mkdir()
    options = {"data": str(tmp_path), "model": "unet3d_padded", "run": str(run)}
    fresh = open_data(Recipe(**options))
    assert fresh.spec.orientation == "RAS"
    old = {**fresh.as_mapping(), "patch": [4, 4, 4]}
    del old["spec"]["orientation"]
    (run / "data.json").write_text(json.dumps(old))
    assert open_data(Recipe(**options)).spec.orientation == "RAS"
    resumed = open_data(Recipe(**options, resume=True))
    assert resumed.spec.orientation == "stored"
    assert {case.image.frame.orientation for case in resumed.train} == {"LPS"}
