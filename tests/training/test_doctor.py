"""The doctor finds several devices equal to one, and each thing wrong that is broken on purpose."""

import json

import cv2
import keras
import numpy as np
import pytest

from maskzoo import cli, data, training
from maskzoo.training import doctor, network, step, strategy

SMALL = {
    "model": "unet_padded",
    "option": {"filters": [2]},
    "patch": 8,
    "batch_size": 4,
    "steps": 2,
    "augment": "none",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bright squares on a dark ground."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for name in range(5):
        mask = np.zeros((24, 24), np.uint8)
        top, left = rng.integers(2, 10, 2)
        mask[top : top + 9, left : left + 9] = 255
        image = (rng.integers(0, 90, mask.shape) + (mask > 0) * 120).astype(np.uint8)
        for kind, pixels in (("images", image), ("masks", mask)):
            (root / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(root / kind / f"{name}.png"), pixels)
    return root


@pytest.fixture
def bench(folder):
    recipe = training.Recipe(**SMALL, data=str(folder))
    several, one = doctor.strategies("auto")
    return doctor.make_bench(recipe, data.load_data(str(folder), spatial_dims=2), one, several)


def broken_replicas(monkeypatch):
    """Each device takes its part of the batch for the whole."""
    monkeypatch.setattr(strategy, "replicas", lambda: 1)


def broken_loss(monkeypatch):
    """Each device reports its loss divided by the number of devices."""
    original = step.Objective.__call__

    def divided(self, labels, outputs):
        return original(self, labels, outputs) / strategy.replicas()

    monkeypatch.setattr(step.Objective, "__call__", divided)


def broken_clipping(monkeypatch):
    """Each device clips its own gradients, before they are added up."""

    def clipped_alone(self, gradients):
        return step.clipped(gradients, self.clip_norm) if self.clip_norm else gradients

    monkeypatch.setattr(step.Trainer, "shared", clipped_alone)


def broken_accumulation(monkeypatch):
    """The first micro-batch comes twice."""
    original = step.micro_batches

    def repeated(batch, number):
        parts = list(original(batch, number))
        yield from [parts[0]] * number

    monkeypatch.setattr(step, "micro_batches", repeated)


def broken_statistics(monkeypatch):
    """Batch norms keep statistics of each device."""
    original = network.with_norms

    def alone(model, norm):
        copy = original(model, norm)
        for layer in copy.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = False
        return copy

    monkeypatch.setattr(doctor, "with_norms", alone)


def broken_weights(monkeypatch):
    """Samples that fill up a batch count."""
    original = step.Trainer.test_step
    monkeypatch.setattr(step.Trainer, "test_step", lambda self, batch: original(self, batch[:2]))


BREAKS = {
    doctor.losses_agree: broken_loss,
    doctor.gradients_agree: broken_replicas,
    doctor.clipping_agrees: broken_clipping,
    doctor.accumulation_agrees: broken_accumulation,
    doctor.statistics_agree: broken_statistics,
    doctor.uneven_batches_agree: broken_weights,
}


@pytest.mark.parametrize("check", doctor.PROOFS, ids=lambda check: check.__name__)
def test_what_is_broken_on_purpose_is_found(bench, check, monkeypatch):
    BREAKS[check](monkeypatch)
    finding = check(bench)
    assert finding.state == "wrong"
    assert "is not that on one" in finding.text


def test_the_doctor_finds_all_equal_and_says_what_it_would_change(folder, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.2)
    arguments = [f"--{name.replace('_', '-')}={json.dumps(value)}" for name, value in SMALL.items() if name != "option"]
    arguments = [argument.replace('"', "") for argument in arguments]
    options = ["--option", "filters=[2]", "--data", str(folder), "--devices", "cpu:2", "--memory", "2GB"]
    cli.main("doctor", [*arguments, *options])
    lines = [line for line in capsys.readouterr().out.splitlines() if line[7:].split()[0] != "data"]
    states = {line[7:24].strip(): line[:6].strip() for line in lines if not line.startswith("!")}
    assert states == dict.fromkeys(
        ["loss", "gradients", "clipping", "accumulation", "batch norm", "uneven batches", "memory"], "ok"
    )
    assert [line for line in lines if line.startswith("!")] == [
        "!      batch norm       each of 2 devices keeps statistics of its own: --norm sync"
    ]


def test_a_failed_proof_is_exit_code_1(folder, capsys, monkeypatch):
    wrong = doctor.Finding("loss", "wrong", "it is not that on one")
    monkeypatch.setattr(doctor, "examine", lambda recipe, memory: iter([wrong]))
    with pytest.raises(SystemExit) as stop:
        cli.main("doctor", ["--data", str(folder)])
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("WRONG  loss")
    assert printed.err.startswith("error: 1 of the checks went wrong")


def dense(width):
    """A convolution over 3 channels: its activations and weights can be counted by hand."""
    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.Conv2D(width, 1, use_bias=False)(image))


def test_the_memory_of_a_step_is_counted(folder):
    model, recipe = dense(5), training.Recipe(**SMALL, data=str(folder))
    # 3 channels in and 5 out, 4 bytes each; weights, gradients and Adam's two moments.
    activations, weights = 16 * 16 * (3 + 5) * 4, 4 * 4 * 15
    for windows in (1, 7):
        expected = doctor.BASE_MEMORY + windows * activations + weights
        assert doctor.step_bytes(model, recipe, (16, 16), windows) == expected


def test_the_largest_batch_and_window_that_fit(folder):
    model = dense(5)
    recipe = training.Recipe(**SMALL | {"patch": 64, "batch_size": 8}, data=str(folder))
    window = 64 * 64 * (3 + 5) * 4
    room = doctor.BASE_MEMORY + 4 * 4 * 15
    enough = doctor.fitting(recipe, model, 2, room + 12 * window)
    assert enough.state == "ok"
    # 12 windows on each of two devices; 4 on each leave three times the area, which is 1.73 times the side.
    assert "the largest batch of these windows is 24" in enough.text
    assert "the largest windows in this batch are 104 x 104" in enough.text
    short = doctor.fitting(recipe, model, 2, room + 2 * window)
    assert short.state == "advice"
    for change in ("--batch-size 4", "--accumulate 2"):
        assert change in short.text
    assert doctor.fitting(recipe, model, 2, 0).state == "advice"


def test_the_largest_number_is_found():
    for limit in (0, 1, 2, 3, 7, 8, 9, 100):
        assert doctor.largest(lambda number, limit=limit: number <= limit) == limit
    assert doctor.largest(lambda number: True, most=50) == 50
    assert doctor.largest(lambda number: True, most=64) == 64


def test_slow_reading_is_told(bench, folder, monkeypatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.1)
    recipe = training.Recipe(**SMALL, data=str(folder))
    original = data.WindowDataset.__getitem__

    def slow(self, index):
        doctor.time.sleep(3)
        return original(self, index)

    monkeypatch.setattr(data.WindowDataset, "__getitem__", slow)
    finding = doctor.reading(recipe, data.load_data(str(folder), spatial_dims=2), bench.one)
    assert finding.state == "advice"
    assert "the devices wait" in finding.text
