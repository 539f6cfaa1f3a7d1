"""What is written after an epoch, in which order, and when a training ends."""

import types

import pytest

from maskzoo.errors import TrainingError
from maskzoo.training import Recipe, recorder
from maskzoo.training.history import History


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The names of files in the order in which they are written."""
    names = []
    write = History.write
    monkeypatch.setattr(History, "write", lambda self: (names.append("history.csv"), write(self)))
    monkeypatch.setattr(recorder, "save_model", lambda network, path, state=None: names.append(path.name))
    monkeypatch.setattr(recorder, "training_state", lambda trainer, epochs, stage: {})
    return names


def recorder_of(tmp_path, **options):
    callback = recorder.RunRecorder(History(tmp_path, []), Recipe(**options), stage=1)
    optimizer = types.SimpleNamespace(exchange_averages=lambda: None)
    callback.set_model(types.SimpleNamespace(network=None, optimizer=optimizer, stop_training=False))
    return callback


def epoch(callback, number, **logs):
    callback.on_epoch_begin(number)
    callback.on_epoch_end(number, {"loss": 1.0, **logs})


def test_the_table_is_written_before_the_checkpoint(tmp_path, written):
    callback = recorder_of(tmp_path, epochs=3)
    epoch(callback, 0, val_dice=0.5)
    epoch(callback, 1, val_dice=0.4)
    assert written == ["history.csv", "best.keras", "last.keras", "history.csv", "last.keras"]
    assert not callback.model.stop_training


def test_a_training_without_progress_stops_early(tmp_path, written):
    callback = recorder_of(tmp_path, epochs=9, patience=1)
    epoch(callback, 0, val_dice=0.5)
    epoch(callback, 1, val_dice=0.5)
    assert callback.model.stop_training


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(tmp_path, written):
    with pytest.raises(TrainingError, match="received nan in epoch 1: try a smaller `learning_rate`"):
        epoch(recorder_of(tmp_path), 0, loss=float("nan"), val_dice=0.0)
