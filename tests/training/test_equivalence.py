"""Several devices are found equal to one, and each thing that is broken on purpose is found."""

from dataclasses import replace

import keras
import pytest

from maskzoo import data, training
from maskzoo.training import equivalence, network, step, strategy

SMALL = {
    "model": "unet_padded",
    "option": {"filters": [2]},
    "patch": 8,
    "batch_size": 4,
    "steps": 2,
    "augment": "none",
}


@pytest.fixture(scope="module")
def whole_bench(grey_squares):
    recipe = training.Recipe(**SMALL, data=str(grey_squares))
    several, one = equivalence.strategies("auto")
    return equivalence.make_bench(recipe, data.load_data(str(grey_squares), spatial_dims=2), one, several)


@pytest.fixture
def bench(whole_bench):
    """A copy, for which no steps are remembered."""
    return replace(whole_bench)


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
    """Each device clips its own gradients, before they are summed."""

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

    monkeypatch.setattr(equivalence, "with_norms", alone)


def broken_weights(monkeypatch):
    """Samples that fill up a batch count."""
    original = step.Trainer.test_step
    monkeypatch.setattr(step.Trainer, "test_step", lambda self, batch: original(self, batch[:2]))


BREAKS = {
    equivalence.losses_agree: broken_loss,
    equivalence.gradients_agree: broken_replicas,
    equivalence.clipping_agrees: broken_clipping,
    equivalence.accumulation_agrees: broken_accumulation,
    equivalence.statistics_agree: broken_statistics,
    equivalence.uneven_batches_agree: broken_weights,
}


FAST = (equivalence.losses_agree, equivalence.uneven_batches_agree)


@pytest.mark.parametrize(
    "check",
    [pytest.param(check, id=check.__name__, marks=[] if check in FAST else pytest.mark.slow) for check in BREAKS],
)
def test_what_is_broken_on_purpose_is_found(bench, check, monkeypatch):
    BREAKS[check](monkeypatch)
    result = check(bench)
    assert result.status == "wrong"
    assert "differs from that on one" in result.message


def test_every_proof_is_broken_once():
    assert set(BREAKS) == set(equivalence.PROOFS)
