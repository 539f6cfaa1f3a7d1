"""Weights of terms that follow the epoch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from labelled_logits import image_and_labels, mirrored, tiny_model

from maskzoo import losses
from maskzoo.errors import OptionError


@pytest.mark.usefixtures("two_devices")
def test_a_schedule_moves_the_weights_of_a_compiled_loss():
    points = {"bce": [[0, 1.0], [2, 1.0], [4, 0.0]], "nonempty(dice)": [[1, 0.0], [2, 1.0]]}
    expected = {"weight_bce": [1, 1, 1, 0.5, 0], "weight_nonempty(dice)": [0, 0, 1, 1, 1]}
    image, labels = image_and_labels()
    for strategy in (tf.distribute.get_strategy(), mirrored()):
        with strategy.scope():
            model, loss = tiny_model(), losses.build_loss("bce+nonempty(dice)")
            model.compile(keras.optimizers.SGD(0.0), loss)
        logs = model.fit(
            image, labels, epochs=5, verbose=0, shuffle=False, callbacks=[losses.WeightSchedule(loss, points)]
        ).history
        assert {name: logs[name] for name in expected} == expected
        bce, dice = logs["loss"][0], logs["loss"][4]
        np.testing.assert_allclose(logs["loss"], [bce, bce, bce + dice, bce / 2 + dice, dice], rtol=1e-5)
    loss = losses.build_loss("bce+nonempty(dice)")
    resumed = losses.WeightSchedule(loss, points)
    resumed.on_epoch_begin(3)
    assert [float(weight) for weight in loss.weights] == [0.5, 1]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"dicee": [[0, 1]]}, r"loss_weights: expected a term of the loss: dice \(of bce, dice\); received dicee"),
        ({"bce": []}, r"expected ascending pairs \[epoch, weight\] for bce; received \[\]"),
        ({"bce": [[1, 1], [1, 2]]}, "expected ascending pairs"),
        ({"bce": [0, 1]}, "expected ascending pairs"),
        ({"bce": [[0, "x"]]}, "expected ascending pairs"),
        ({"bce": [[0, float("nan")]]}, "expected ascending pairs"),
    ],
)
def test_bad_schedules_are_refused(points, message):
    with pytest.raises(OptionError, match=message):
        losses.WeightSchedule(losses.build_loss("bce+dice"), points)
