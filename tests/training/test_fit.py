"""Whole trainings, small ones: the same numbers for the same seed, after a kill too, and what ends up in the run."""

import csv
import sys
import types

import keras
import numpy as np
import pytest
from PIL import Image

from maskzoo import data, evaluation, inference, models, training
from maskzoo.training import callbacks, tracking


@pytest.fixture(scope="module", autouse=True)
def dropout_net():
    """A registered model with all that a resumed training could forget: dropout and batch norm."""

    def dropout_net(input_shape=(None, None, 3), num_classes=1, width=4):
        inputs = keras.Input(input_shape)
        x = keras.layers.Conv2D(width, 3, padding="same", name="encoder_conv")(inputs)
        x = keras.layers.BatchNormalization(name="encoder_norm", momentum=0.9)(x)
        x = keras.layers.Dropout(0.3, name="dropout")(keras.layers.ReLU(name="relu")(x))
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu", name="decoder_conv")(x)
        return keras.Model(inputs, keras.layers.Conv2D(num_classes, 1, dtype="float32", name="mask")(x))

    models.register_model(dropout_net)
    yield
    del models.registry.MODELS["dropout_net"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of RGB images with masks: bright squares on a dark textured ground."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for index in range(5):
        mask = np.zeros((48, 56), np.uint8)
        top, left = rng.integers(4, 25, 2)
        mask[top : top + 16, left : left + 20] = 255
        image = rng.integers(0, 90, (48, 56, 3)) + (mask > 0)[..., None] * 120
        for name, array in (("images", image.astype(np.uint8)), ("masks", mask)):
            (root / name).mkdir(exist_ok=True)
            Image.fromarray(array).save(root / name / f"{index}.png")
    return root


def trained(run, folder, **options):
    """Trains in a folder, or goes on there; returns the rows of its history without what the clock said."""
    small = {"model": "dropout_net", "patch": 16, "steps": 2, "batch_size": 4, "epochs": 2, "learning_rate": 0.01}
    recipe = training.Recipe(data=str(folder), run=str(run), **(small | options))
    training.train(recipe, training.create_run(recipe))
    return history(run)


def history(run):
    with (run / "history.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


STAGES = [
    {"epochs": 2, "patch": 16, "loss": "bce", "loss_weights": {"bce": [[0, 1], [2, 0.5]]}, "schedule": "one_cycle"},
    {
        "epochs": 4,
        "patch": 24,
        "freeze_encoder_epochs": 2,
        "schedule": "plateau",
        "plateau_patience": 1,
        "hard_example_fraction": 0.5,
    },
    {"epochs": 3, "patch": 32, "batch_size": 2, "optimizer": "sgd", "ema": None, "windows": "all", "patience": 2},
]
ALL_OPTIONS = {
    "stages": STAGES,
    "ema": 0.9,
    "optimizer": "adamw",
    "encoder_learning_rate": 1e-3,
    "clip_norm": 1.0,
    "average_best": 2,
    "accumulate": 2,
}


@pytest.fixture(scope="module")
def uninterrupted(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    trained(run, folder, **ALL_OPTIONS)
    return run


def test_a_run_resumed_in_the_middle_of_a_stage_has_the_history_of_one_that_was_not(
    uninterrupted, folder, tmp_path, monkeypatch
):
    """Killed after each file that epoch 4, the second of stage 2, writes, and in the middle of epoch 5."""
    run = tmp_path / "killed"
    save, write = callbacks.save_model, callbacks.write_history
    killed = []

    def kill_once(where):
        if where not in killed:
            killed.append(where)
            raise KeyboardInterrupt(where)

    def written(folder, rows):
        write(folder, rows)
        if len(rows) == 4:
            kill_once("after the history of epoch 4")

    def saved(network, path, state=None):
        if state and state["epochs"] == 4:
            kill_once("before the checkpoint of epoch 4")
        save(network, path, state)
        if state and state["epochs"] == 4:
            kill_once("after the checkpoint of epoch 4")

    monkeypatch.setattr(callbacks, "write_history", written)
    monkeypatch.setattr(callbacks, "save_model", saved)
    for start in range(3):
        with pytest.raises(KeyboardInterrupt):
            trained(run, folder, **ALL_OPTIONS, resume=start > 0)
    rows = trained(run, folder, **ALL_OPTIONS, resume=True)
    assert len(killed) == 3
    assert [row["stage"] for row in rows][:6] == ["1"] * 2 + ["2"] * 4
    assert rows == history(uninterrupted)
    for name in ("best.keras", "last.keras", "averaged.keras"):
        ours, theirs = (keras.saving.load_model(folder / name) for folder in (run, uninterrupted))
        for one, other in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_the_files_of_a_run_are_plain_models_that_predict(uninterrupted, folder):
    assert not list(uninterrupted.glob(".*"))
    for name in ("best.keras", "last.keras", "averaged.keras"):
        model = keras.saving.load_model(uninterrupted / name)
        assert type(model).__name__ == "Functional"
        assert all(layer.trainable for layer in model.layers)
    assert len(list((uninterrupted / "kept").glob("*.keras"))) == 2
    assert inference.load_run(uninterrupted).data.patch == (32, 32)


def test_the_average_of_the_best_epochs_is_their_mean(uninterrupted):
    rows = history(uninterrupted)
    best = sorted(sorted(int(row["epoch"]) for row in rows), key=lambda e: -float(rows[e - 1]["val_dice"]))[:2]
    kept = [keras.saving.load_model(uninterrupted / "kept" / f"epoch{epoch:04}.keras") for epoch in best]
    average = keras.saving.load_model(uninterrupted / "averaged.keras")
    for mean, *each in zip(average.weights, *(model.weights for model in kept), strict=True):
        np.testing.assert_allclose(mean, sum(np.asarray(w) for w in each) / 2, rtol=1e-6, atol=1e-7)


def test_frozen_encoders_stay_and_the_history_shows_what_each_stage_did(folder, tmp_path):
    rows = trained(tmp_path / "run", folder, epochs=1, freeze_encoder_epochs=1, seed=3)
    keras.utils.set_random_seed(3)
    start = models.build_model("dropout_net", (None, None, 3), 1)
    end = keras.saving.load_model(tmp_path / "run" / "last.keras")
    for layer in (layer for layer in start.layers if layer.weights):
        same = all(np.array_equal(a, b) for a, b in zip(layer.weights, end.get_layer(layer.name).weights, strict=True))
        assert same == (layer.name not in ("decoder_conv", "mask")), layer.name
    assert {"epoch", "stage", "loss", "dice", "val_loss", "val_dice", "learning_rate"} <= rows[0].keys()
    assert "windows_per_second" not in rows[0]


def test_the_same_seed_gives_the_same_history(folder, tmp_path):
    first, second = (trained(tmp_path / name, folder, seed=5, epochs=1) for name in ("first", "second"))
    assert first == second


def test_several_outputs_train_together_and_the_mask_is_predicted(folder, tmp_path, capsys):
    run = tmp_path / "run"
    heads = {"auxiliary": {"aux1": "relu"}, "output_weights": {"aux1": 0.3}, "label_head": 0.2}
    trained(run, folder, epochs=1, **heads)
    model = keras.saving.load_model(run / "best.keras")
    assert set(model.output) == {"mask", "aux1", "label"}
    loaded = inference.load_run(run)
    dataset = data.load_data(data.read_spec(str(folder)), spatial_dims=2, seed=0)
    assert np.isfinite(evaluation.evaluate(loaded, dataset.validation)["dice"]).all()

    again = tmp_path / "again"
    trained(again, folder, epochs=1, option={"width": 4}, learning_rate=1e-9, init_from=str(run))
    printed = capsys.readouterr().out
    assert "unused of it: aux1" in printed
    other = keras.saving.load_model(again / "last.keras").get_layer("mask")
    last = model.get_layer("mask")
    np.testing.assert_allclose(other.weights[0], last.weights[0], atol=1e-6)


def test_a_warm_start_says_what_did_not_fit(folder, tmp_path, capsys):
    narrow = models.build_model("dropout_net", (None, None, 3), 1, width=3)
    narrow.save(tmp_path / "narrow.keras")
    network_of_other_names().save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="same names and shapes"):
        trained(tmp_path / "run1", folder, init_from=str(tmp_path / "other.keras"))
    with pytest.raises(ValueError, match="same names and shapes"):
        trained(tmp_path / "run2", folder, init_from=str(tmp_path / "narrow.keras"))
    with pytest.raises(FileNotFoundError, match="init-from"):
        trained(tmp_path / "run3", folder, init_from=str(tmp_path / "none.keras"))
    wide = models.build_model("dropout_net", (None, None, 3), 2)
    wide.save(tmp_path / "wide.keras")
    trained(tmp_path / "run4", folder, epochs=1, steps=1, init_from=str(tmp_path / "wide.keras"))
    assert "new here: mask ((1, 1, 4, 2) there, (1, 1, 4, 1) here)" in capsys.readouterr().out


def network_of_other_names():
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.Conv2D(1, 1, name="output")(inputs))


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
        ({"accumulate": 3}, "multiple of the 1 devices with 3 micro-batches each; received 4"),
        ({"devices": "cpu:2", "xla": True}, "--xla: expected a single device; received 2"),
        ({"auxiliary": {"aux1": "nowhere"}}, "received nowhere"),
        ({"model": "fine_grained_unet"}, "single input"),
        ({"model": "unet_plus_plus", "option": {"filters": [4, 8]}, "freeze_encoder_epochs": 1}, "an encoder to train"),
        ({"loss": "bce", "loss_weights": {"dice": [[0, 1]]}}, "expected one of the terms bce"),
        ({"stages": [{}, {"loss": "dise"}]}, "dice"),
        ({"track": ["wandb"]}, r"pip install \"maskzoo\[track\]\""),
    ],
)
def test_mistakes_are_told_before_training(folder, tmp_path, options, expected):
    with pytest.raises(ValueError, match=expected):
        trained(tmp_path / "run", folder, **options)
    assert not (tmp_path / "run" / "history.csv").exists()


def test_a_stage_reads_numbers_that_yaml_takes_for_text():
    stage = training.Recipe(stages=[{"learning_rate": "1e-4", "freeze_encoder": True, "epochs": 3}]).each_stage()[0]
    assert (stage.learning_rate, stage.freeze_encoder_epochs) == (1e-4, 3)


def test_a_file_without_the_state_of_a_training_is_not_resumed(folder, tmp_path):
    run = tmp_path / "run"
    trained(run, folder, epochs=1, steps=1)
    models.build_model("dropout_net", (None, None, 3), 1).save(run / "last.keras")
    with pytest.raises(ValueError, match="expected the state of a training"):
        trained(run, folder, epochs=2, steps=1, resume=True)


def test_wandb_gets_the_log_of_every_epoch(folder, tmp_path, monkeypatch):
    """A stand-in writes down what it is told."""
    told = []
    session = types.SimpleNamespace(log=lambda log, step: told.append((step, log)), finish=lambda: told.append("done"))
    wandb = types.SimpleNamespace(init=lambda **options: told.append(options) or session, __spec__=object())
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    trained(tmp_path / "run", folder, epochs=1, steps=1, track=["wandb"])
    start, (step, log), end = told
    assert (start["name"], start["config"]["epochs"], step, end) == ("run", 1, 1, "done")
    assert log["val_dice"] == float(history(tmp_path / "run")[0]["val_dice"])
    assert log["windows_per_second"] > 0
    assert 0 <= log["input_wait"] <= 1


def test_a_resumed_run_goes_on_with_its_curves_in_mlflow(tmp_path, monkeypatch):
    told = []
    started = types.SimpleNamespace(info=types.SimpleNamespace(run_id="a1"))
    names = ("set_experiment", "log_params", "log_metrics", "end_run")
    mlflow = types.SimpleNamespace(
        start_run=lambda **options: told.append(options) or started, **{name: lambda *_, **__: None for name in names}
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for _ in range(2):
        (callback,) = tracking.open_trackers(["mlflow"], tmp_path, training.Recipe())
        callback.on_epoch_end(0, {"loss": 1.0})
        callback.close()
    assert told == [{"run_name": tmp_path.name}, {"run_id": "a1"}]
