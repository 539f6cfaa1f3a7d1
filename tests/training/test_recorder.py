"""What is written after an epoch, in which order, and when a training ends."""

import types

import keras
import numpy as np
import pytest

from maskzoo.errors import TrainingError
from maskzoo.training import Recipe, recorder
from maskzoo.training.choice import Choice
from maskzoo.training.history import History, read_history


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
    callback = recorder.RunRecorder(History(tmp_path, []), Recipe(**options), 1, Choice(tmp_path), {"windows": 7})
    # The learning rate of a step that is over says nothing about the next one.
    variables = [keras.Variable(np.inf, name="learning_rate"), keras.Variable([0.0, 0.0], name="moments")]
    optimizer = types.SimpleNamespace(exchange_averages=lambda: None, variables=variables)
    network = types.SimpleNamespace(weights=[keras.Variable([0.0, 0.0], name="kernel")])
    callback.set_model(types.SimpleNamespace(network=network, optimizer=optimizer, stop_training=False))
    return callback


def epoch(callback, number, **logs):
    callback.on_epoch_begin(number)
    callback.on_epoch_end(number, {"loss": 1.0, **logs})


def test_the_table_is_written_before_the_checkpoint(tmp_path, written):
    callback = recorder_of(tmp_path, epochs=3)
    epoch(callback, 0, val_dice=0.5)
    epoch(callback, 1, val_dice=0.4)
    assert written == ["history.csv", "last.keras", "best.keras", "history.csv", "last.keras"]
    assert not callback.model.stop_training


def test_a_score_of_0_is_a_score(tmp_path, written):
    """Not none at all: the first epochs of a rare class have no other one."""
    callback = recorder_of(tmp_path, epochs=4, patience=2)
    for number, score in enumerate([0.0, 0.0, 0.3]):
        epoch(callback, number, val_dice=score)
        described = Choice.read(tmp_path).described
        assert (described["epoch"], described["val_dice"]) == (number + 1, score)
        assert described["why"].startswith("highest val_dice" if score else "the last epoch with a val_dice of 0")
    assert not callback.model.stop_training
    assert callback.history.stage_scores(1) == [0.0, 0.0, 0.3]
    # What is read again is what was written.
    assert History(tmp_path, read_history(tmp_path)).stage_scores(1) == [0.0, 0.0, 0.3]


def test_a_model_that_was_not_kept_before_the_process_was_killed_is_kept_when_it_resumes(tmp_path, written):
    callback = recorder_of(tmp_path, epochs=3)
    for number, score in enumerate([0.5, 0.6]):
        epoch(callback, number, val_dice=score)
        (tmp_path / "best.keras").touch()
    recipe, choice = Recipe(epochs=3), Choice.read(tmp_path)
    assert not recorder.lacks_kept(callback.history, choice, 1, recipe)
    # Killed after `last.keras` of the third epoch, the best one.
    callback.history.add({"epoch": 3, "stage": 1, "val_dice": 0.7})
    assert recorder.lacks_kept(callback.history, choice, 1, recipe)
    assert not recorder.lacks_kept(callback.history, Choice(tmp_path, {"epoch": 3}), 1, recipe)
    # An average that was no worse than it.
    averaged = Choice(tmp_path, {"epoch": None, "average_of": [3, 1]})
    assert not recorder.lacks_kept(callback.history, averaged, 1, recipe)
    assert recorder.lacks_kept(callback.history, averaged, 1, Recipe(epochs=3, average_best=2))
    (tmp_path / "best.keras").unlink()
    assert recorder.lacks_kept(callback.history, Choice(tmp_path, {"epoch": 3}), 1, recipe)


def test_the_best_is_chosen_from_its_minimum_number_of_epochs_on(tmp_path, written):
    callback = recorder_of(tmp_path, epochs=4, min_epochs=3)
    for number, score in enumerate([0.9, 0.8, 0.5, 0.6]):
        epoch(callback, number, val_dice=score)
    # The first for want of a better one; then the third, the first that counts, and the fourth.
    assert written.count("best.keras") == 3
    described = Choice.read(tmp_path).described
    assert (described["epoch"], described["val_dice"], described["measured_on"]) == (4, 0.6, {"windows": 7})
    assert described["why"] == "highest val_dice of 2 in stage 1, from epoch 3 of the stage on"


def test_a_training_without_progress_stops_early(tmp_path, written):
    callback = recorder_of(tmp_path, epochs=9, patience=1)
    epoch(callback, 0, val_dice=0.5)
    epoch(callback, 1, val_dice=0.5)
    assert callback.model.stop_training


@pytest.mark.parametrize("name", ["loss", "val_loss", "val_dice"])
def test_a_loss_that_is_not_finite_ends_the_training_with_advice_and_writes_nothing(tmp_path, written, name):
    with pytest.raises(TrainingError, match=f"received nan as {name} in epoch 1; start again with a smaller `learning"):
        epoch(recorder_of(tmp_path), 0, **({"val_dice": 0.0} | {name: float("nan")}))
    assert written == []


def test_weights_that_are_not_finite_end_the_training_and_the_last_finite_checkpoint_stays(tmp_path, written):
    callback = recorder_of(tmp_path, mixed_precision="float16")
    epoch(callback, 0, val_dice=0.5)
    written.clear()
    callback.model.network.weights[0].assign([np.nan, 1.0])
    expected = "received NaN in .* in epoch 2; the checkpoint of epoch 1 is kept: .*`resume` and a smaller .*bfloat16"
    with pytest.raises(TrainingError, match=expected):
        epoch(callback, 1, val_dice=0.9)
    assert written == []


def test_moments_that_are_not_finite_end_the_training(tmp_path, written):
    callback = recorder_of(tmp_path)
    callback.model.optimizer.variables[1].assign([0.0, np.inf])
    with pytest.raises(TrainingError, match="received no finite number in moments"):
        epoch(callback, 0, val_dice=0.5)
