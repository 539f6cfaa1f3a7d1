"""What is said within an epoch, by a clock that the tests turn; and a loss that is no number ends it."""

import logging

import pytest

from maskzoo.errors import TrainingError
from maskzoo.training import Recipe
from maskzoo.training.feedback import Feedback, FiniteLoss


def lines(caplog, piped):
    """What two epochs of ten steps of seven seconds say."""
    caplog.set_level(logging.INFO, "maskzoo")
    now = [0.0]
    callback = Feedback(2, 10, piped, clock=lambda: now[0])
    for epoch in range(2):
        callback.on_epoch_begin(epoch)
        for step in range(10):
            now[0] += 7
            callback.on_train_batch_end(step, {"loss": 0.5})
    return [record.getMessage() for record in caplog.records]


def test_a_line_every_half_minute_when_piped(caplog):
    found = lines(caplog, True)
    assert found[0] == "time       about 70 s per epoch, before validation"
    assert found[1] == "epoch      1/2, step 5/10: loss 0.5000, about 2 min left"
    assert found[2] == "epoch      1/2, step 10/10: loss 0.5000, about 70 s left"
    assert found[-1] == "epoch      2/2, step 10/10: loss 0.5000, about 0 s left"
    assert len(found) == 5


def test_on_a_terminal_a_bar_says_it(caplog):
    assert len(lines(caplog, False)) == 1


def test_a_loss_that_is_not_finite_ends_the_training_within_the_epoch(tmp_path):
    callback = FiniteLoss(Recipe(), seconds=0)
    callback.on_epoch_begin(2)
    callback.on_train_batch_end(0, {"loss": 0.5})
    with pytest.raises(TrainingError, match="received nan as loss in epoch 3; the checkpoint of epoch 2 is kept"):
        callback.on_train_batch_end(1, {"loss": float("nan")})
