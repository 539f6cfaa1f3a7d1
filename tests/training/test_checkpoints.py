"""Checkpoints: a model and the state of its training in one file."""

import keras
import numpy as np
import pytest

from maskzoo.errors import RunError
from maskzoo.training import checkpoints


def small_model():
    image = keras.Input((4, 4, 1))
    return keras.Model(image, keras.layers.Conv2D(1, 1)(image))


def test_model_and_state_are_stored_together(tmp_path):
    assert checkpoints.load_last(tmp_path) is None
    model = small_model()
    checkpoints.save_model(model, tmp_path / "last.keras", {"epochs": np.array(3)})
    loaded, state = checkpoints.load_last(tmp_path)
    assert state == {"epochs": 3}
    np.testing.assert_array_equal(loaded.weights[0], model.weights[0])
    assert [path.name for path in tmp_path.iterdir()] == ["last.keras"]


def test_a_file_without_the_state_of_a_training_is_not_resumed(tmp_path):
    small_model().save(tmp_path / "last.keras")
    with pytest.raises(RunError, match="expected a model with the state of its training"):
        checkpoints.load_last(tmp_path)


def test_a_failed_save_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    checkpoints.save_model(small_model(), tmp_path / "last.keras", {"epochs": np.array(1)})
    monkeypatch.setattr(np, "savez", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoints.save_model(small_model(), tmp_path / "last.keras", {"epochs": np.array(2)})
    assert checkpoints.load_last(tmp_path)[1] == {"epochs": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.keras"]
