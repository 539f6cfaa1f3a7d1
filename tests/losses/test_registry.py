"""Losses by name."""

import pytest

from maskzoo import losses
from maskzoo.errors import OptionError
from maskzoo.losses import registry


def test_a_loss_of_ones_own_is_built_by_its_name(monkeypatch):
    monkeypatch.setattr(registry, "LOSSES", dict(registry.LOSSES))

    @losses.register_loss("binary")
    def mean_logit(target, *, factor=1.0):
        return factor * target.logits[:, 0, 0]

    assert registry.LOSSES["mean_logit"] == (mean_logit, ("binary",))
    assert registry.loss_options(mean_logit) == {"factor": 1.0}
    with pytest.raises(OptionError, match="expected a new name; received 'mean_logit' twice"):
        losses.register_loss()(mean_logit)
