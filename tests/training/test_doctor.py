"""The doctor examines a recipe through the command line, and says what it would change."""

import json
import types

import pytest

from maskzoo import cli, data, training
from maskzoo.training import doctor, step_time, strategy
from maskzoo.training.equivalence import CheckResult

SMALL = {
    "model": "unet_padded",
    "option": {"filters": [2]},
    "patch": 8,
    "batch_size": 4,
    "steps": 2,
    "augment": "none",
}


@pytest.mark.parametrize("proofs", [pytest.param(len(doctor.PROOFS), marks=pytest.mark.slow), 1])
def test_the_doctor_finds_all_equal_and_says_what_it_would_change(grey_squares, capsys, monkeypatch, proofs):
    monkeypatch.setattr(doctor, "SECONDS", 0.2)
    monkeypatch.setattr(doctor, "PROOFS", doctor.PROOFS[:proofs])
    arguments = [f"--{name.replace('_', '-')}={json.dumps(value)}" for name, value in SMALL.items() if name != "option"]
    arguments = [argument.replace('"', "") for argument in arguments]
    options = ["--option", "filters=[2]", "--data", str(grey_squares), "--devices", "cpu:2", "--memory", "2GB"]
    # Where nothing is held out, the proofs are made on training images.
    held_out = [] if proofs > 1 else ["--validation", "0"]
    cli.main("doctor", [*arguments, *options, *held_out])
    lines = [line for line in capsys.readouterr().out.splitlines() if line[7:].split()[0] != "data"]
    states = {line[7:24].strip(): line[:6].strip() for line in lines if not line.startswith("!")}
    names = ["loss", "gradients", "clipping", "accumulation", "batch norm", "uneven batches"]
    assert states == dict.fromkeys([*names[:proofs], "oneDNN", "memory"], "ok")
    assert [line for line in lines if line.startswith("!")] == [
        "!      batch norm       each of 2 devices keeps its own statistics; --norm sync shares them"
    ]


def test_a_failed_proof_is_exit_code_1(grey_squares, capsys, monkeypatch):
    wrong = CheckResult("loss", "wrong", "it is not that on one")
    monkeypatch.setattr(doctor, "examine", lambda recipe, memory: iter([wrong]))
    with pytest.raises(SystemExit) as stop:
        cli.main("doctor", ["--data", str(grey_squares)])
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("WRONG  loss")
    assert printed.err.startswith("error: 1 check failed")


@pytest.mark.parametrize(("seconds", "status"), [(3.0, "advice"), (0.0, "ok")])
def test_slow_reading_is_reported(grey_squares, monkeypatch, seconds, status):
    """The clock goes on by a second for each batch that is trained on, and by some for each that is read."""
    now = [0.0]
    monkeypatch.setattr(doctor, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))
    original = data.WindowDataset.__getitem__

    def read(self, index):
        now[0] += seconds + 0.5
        return original(self, index)

    def trained(self, batch, logs=None):
        now[0] += 1
        self.ends.append(now[0])

    monkeypatch.setattr(data.WindowDataset, "__getitem__", read)
    monkeypatch.setattr(step_time.BatchTimes, "on_train_batch_end", trained)
    recipe = training.Recipe(**SMALL, data=str(grey_squares))
    one = strategy.open_strategy("cpu:1")
    result = doctor.check_reading(recipe, data.load_data(str(grey_squares), spatial_dims=2), one)
    assert result.status == status
    read_rate = 4 / (seconds + 0.5)
    assert result.message.startswith(f"{read_rate:.0f} windows are read per second, 4 trained on")
    assert ("the devices wait" in result.message) == (status == "advice")


@pytest.mark.parametrize(
    ("features", "chosen", "status", "words"),
    [
        ({"avx2"}, None, "ok", "on: this processor"),
        ({"avx2"}, "0", "advice", "off, by TF_ENABLE_ONEDNN_OPTS=0"),
        (set(), None, "ok", "left as TensorFlow has it"),
    ],
)
def test_the_doctor_says_whether_onednn_computes(monkeypatch, features, chosen, status, words):
    monkeypatch.setattr(doctor, "processor_features", lambda: features)
    monkeypatch.delenv(doctor.ONEDNN, raising=False)
    if chosen:
        monkeypatch.setenv(doctor.ONEDNN, chosen)
    result = doctor.check_onednn()
    assert result.status == status
    assert result.message.startswith(words)
