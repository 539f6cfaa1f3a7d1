"""The fit of several hosts is that of Keras, where both can run; hosts must start with the same weights."""

import keras
import numpy as np
import pytest

from maskzoo import inference, training
from maskzoo.errors import TrainingError
from maskzoo.training import read_history, strategy, windows
from maskzoo.training.lockstep import LockstepTrainer

OPTIONS = {
    "model": "unet_padded",
    "option": {"filters": [4]},
    "norm": "sync",
    "patch": 16,
    "steps": 2,
    "batch_size": 4,
    "optimizer": "sgd",
    "schedule": "constant",
    "warm_up": 0,
    "learning_rate": 0.01,
    "clip_norm": 0.5,
}


def weights(path):
    model = keras.saving.load_model(path, compile=False)
    return {variable.path: np.array(variable) for variable in model.weights}


@pytest.mark.slow
def test_the_fit_in_lockstep_is_that_of_keras(grey_squares, tmp_path, monkeypatch):
    """On two devices of one host the weights and the history are those of Keras' own fit."""
    for name, kind in (("keras", None), ("step", LockstepTrainer)):
        if kind:
            monkeypatch.setattr("maskzoo.training.session.Trainer", kind)
        recipe = training.Recipe(
            **OPTIONS, data=str(grey_squares), epochs=1, run=str(tmp_path / name), devices="cpu:2", accumulate=2
        )
        training.train(recipe, training.create_run(recipe))
    for mine, theirs in zip(*(read_history(tmp_path / name) for name in ("keras", "step")), strict=True):
        for name in set(mine) - {"seconds"}:
            np.testing.assert_allclose(float(mine[name]), float(theirs[name]), rtol=1e-6, err_msg=name)
    expected, received = (weights(tmp_path / name / "last.keras") for name in ("keras", "step"))
    for name in expected:
        np.testing.assert_allclose(received[name], expected[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_hosts_that_start_with_different_weights_are_refused(grey_squares, tmp_path, monkeypatch):
    monkeypatch.setattr("maskzoo.training.session.Trainer", LockstepTrainer)
    monkeypatch.setattr(strategy, "summed_on_hosts", lambda numbers: 2 * numbers + [0, 0, 1e-3 * numbers[2]])
    recipe = training.Recipe(**OPTIONS, data=str(grey_squares), epochs=1, run=str(tmp_path / "run"), devices="cpu:2")
    with pytest.raises(TrainingError, match="hosts: expected the same weights on all of them"):
        training.train(recipe, training.create_run(recipe))


@pytest.mark.slow
def test_without_held_out_images_nothing_is_validated_in_any_stage(grey_squares, tmp_path, monkeypatch):
    monkeypatch.setattr("maskzoo.training.session.Trainer", LockstepTrainer)
    stages = [{"epochs": 1, "patch": 16}, {"epochs": 1, "patch": 24}]
    run = tmp_path / "run"
    recipe = training.Recipe(
        **OPTIONS, data=str(grey_squares), stages=stages, validation=0.0, run=str(run), devices="cpu:2"
    )
    training.train(recipe, training.create_run(recipe))
    rows = read_history(run)
    assert [row["stage"] for row in rows] == ["1", "2"]
    assert "val_dice" not in rows[0]
    assert inference.read_run(run).identity == inference.read_run(f"{run}:last").identity


def test_windows_of_one_device_that_are_not_finite_end_the_training_of_all(grey_squares, tmp_path, monkeypatch):
    monkeypatch.setattr("maskzoo.training.session.Trainer", LockstepTrainer)
    read = windows.TimedWindows.__getitem__

    def broken(dataset, index):
        images, *others = read(dataset, index)
        images[-1] = np.nan  # in the part of the last device
        return images, *others

    monkeypatch.setattr(windows.TimedWindows, "__getitem__", broken)
    recipe = training.Recipe(**OPTIONS, data=str(grey_squares), epochs=2, run=str(tmp_path / "run"), devices="cpu:2")
    with pytest.raises(TrainingError, match=r"received nan as loss in epoch 1; start again"):
        training.train(recipe, training.create_run(recipe))
    assert not (tmp_path / "run" / "last.keras").exists()
