"""How long an epoch takes is said before the first one, and measuring it changes nothing, to the last bit."""

import logging

import keras
import numpy as np
import pytest

from maskzoo.training import Recipe, fit, lockstep, recorder
from maskzoo.training.step import Trainer
from maskzoo.training.step_time import put_back


def weights(run):
    return [np.asarray(weight) for weight in keras.saving.load_model(run / "last.keras").weights]


def test_variables_are_put_back_also_after_an_error():
    variable = keras.Variable(np.array([1.0, 2.0]))

    def interrupted():
        with put_back([variable]):
            variable.assign([3.0, 4.0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    np.testing.assert_array_equal(variable.numpy(), [1.0, 2.0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"mixed_precision": "float16", "optimizer": "adamw", "ema": 0.9, "accumulate": 2},
        {"devices": "cpu:2", "optimizer": "sgd", "clip_norm": 1.0},
    ],
    ids=["float16", "devices"],
)
def test_a_training_is_the_same_as_without_the_measurement(train_tiny, tmp_path, monkeypatch, caplog, options):
    caplog.set_level(logging.INFO, "maskzoo")
    traced, measured = [], []
    train_step, begin, measure = Trainer.train_step, recorder.RunRecorder.on_epoch_begin, fit.step_seconds

    def counted(trainer, batch):
        traced.append(trainer)
        return train_step(trainer, batch)

    def begun(callback, epoch, logs=None):
        logging.getLogger("maskzoo.test").info("epoch begins")
        begin(callback, epoch, logs)

    monkeypatch.setattr(Trainer, "train_step", counted)
    monkeypatch.setattr(recorder.RunRecorder, "on_epoch_begin", begun)
    rows = train_tiny(tmp_path / "measured", **options)
    measured.append(len(traced))
    lines = [record.getMessage() for record in caplog.records]
    times = [number for number, line in enumerate(lines) if "per epoch, before validation" in line]
    assert len(times) == 1
    assert times[0] < lines.index("epoch begins")
    assert any(", 281 parameters" in line for line in lines[: times[0]])

    monkeypatch.setattr(fit, "step_seconds", lambda trainer, batch: 1.0)
    assert train_tiny(tmp_path / "not", **options) == rows
    for one, other in zip(weights(tmp_path / "measured"), weights(tmp_path / "not"), strict=True):
        np.testing.assert_array_equal(one, other)
    # The step is compiled once.
    assert len(traced) == 2 * measured[0]
    assert measure is not fit.step_seconds


@pytest.mark.slow
def test_a_fit_in_lockstep_needs_no_held_out_windows(squares, dropout_net, tmp_path, monkeypatch):
    """`validation: 0` on several hosts: their trainer, here on one."""
    from maskzoo import training
    from maskzoo.training import session

    monkeypatch.setattr(session, "Trainer", lockstep.LockstepTrainer)
    recipe = Recipe(
        data=str(squares),
        model=dropout_net,
        patch=16,
        steps=2,
        batch_size=2,
        epochs=2,
        validation=0,
        run=str(tmp_path / "run"),
        stages=[{"epochs": 1}, {"epochs": 1, "patch": 24}],
    )
    dataset = training.train(recipe, training.create_run(recipe))
    assert dataset.validation == []
    rows = training.read_history(tmp_path / "run")
    assert [row["stage"] for row in rows] == ["1", "2"]
    assert "val_dice" not in rows[0]
    assert (tmp_path / "run" / "best.keras").is_file()
