"""Checkpoints: a model and the state of its training in one file."""

import errno
import json
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from maskzoo.errors import DiskFull, RunError
from maskzoo.training import Recipe, checkpoints, create_run, read_history, train

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "last.keras"
    checkpoints.save_model(small_model(), path, {"epochs": np.array(3)})
    whole = path.read_bytes()
    for content in (b"", whole[:200], whole[: len(whole) // 2], whole[:300] + bytes(400) + whole[700:]):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"last\.keras: expected a .*model"):
            checkpoints.load_last(tmp_path)


def test_a_full_disk_is_said_with_what_to_do(tmp_path):
    def write(error):
        with checkpoints.full_disk_explained(tmp_path):
            raise error

    with pytest.raises(DiskFull, match=r"no space left: .*; make room and start again"):
        write(OSError(errno.ENOSPC, "No space left on device"))
    (tmp_path / "last.keras").touch()
    with pytest.raises(DiskFull, match=r"make room and continue with `resume` after the last finished epoch"):
        write(OSError(errno.EDQUOT, "Disk quota exceeded"))
    with pytest.raises(PermissionError):
        write(PermissionError(errno.EACCES, "Permission denied"))


def test_a_failed_save_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    checkpoints.save_model(small_model(), tmp_path / "last.keras", {"epochs": np.array(1)})
    monkeypatch.setattr(np, "savez", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checkpoints.save_model(small_model(), tmp_path / "last.keras", {"epochs": np.array(2)})
    assert checkpoints.load_last(tmp_path)[1] == {"epochs": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.keras"]


# A training that is killed in the middle of an epoch, by the system: nothing is tidied up.
KILLED = """
import json, os, signal, sys
from maskzoo import training
from maskzoo.training import fit

class Killing(fit.Feedback):
    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (3, 1):
            os.kill(os.getpid(), signal.SIGKILL)

fit.Feedback = Killing
recipe = training.Recipe(**json.loads(sys.argv[1]))
training.train(recipe, training.create_run(recipe))
"""

# With all that a stopped training could forget: moments, averages, the scale of the loss, plateaus, models to average.
LASTING = {
    "model": "unet_padded",
    "option": {"filters": [4]},
    "batch_size": 2,
    "steps": 3,
    "ema": 0.9,
    "average_best": 2,
    "learning_rate": 0.01,
    "stages": [
        {"epochs": 2, "patch": 16},
        {"epochs": 4, "patch": 24, "schedule": "plateau", "plateau_patience": 1, "hard_example_fraction": 0.5},
    ],
}


def rows(run):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in read_history(run)]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_run_killed_within_an_epoch_has_the_history_of_one_that_was_not(grey_squares, tmp_path, precision):
    runs = {
        name: LASTING | {"data": str(grey_squares), "mixed_precision": precision, "run": str(tmp_path / name)}
        for name in ("whole", "killed")
    }
    child = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(runs["killed"])], cwd=ROOT, capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert len(rows(tmp_path / "killed")) == 3
    for name, options in runs.items():
        recipe = Recipe(**options, resume=name == "killed")
        train(recipe, create_run(recipe))
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert len(rows(tmp_path / "whole")) == 6
    for name in ("last.keras", "best.keras", "averaged.keras"):
        models = [keras.saving.load_model(tmp_path / run / name) for run in runs]
        for one, other in zip(*(model.weights for model in models), strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other), err_msg=name)
    (_, state), (_, other) = (checkpoints.load_last(tmp_path / run) for run in runs)
    assert state.keys() == other.keys()
    for name in state:
        np.testing.assert_array_equal(state[name], other[name], err_msg=name)
