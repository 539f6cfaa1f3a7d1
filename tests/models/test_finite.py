"""Whether the weights of a network are numbers."""

import keras
import numpy as np
import pytest

from maskzoo import models


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_the_weight_that_is_not_finite_is_named(value, kind):
    inputs = keras.Input((None, None, 1))
    outputs = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(2, 3, name="conv")(inputs))
    network = keras.Model(inputs, outputs)
    assert models.broken_weights(network) is None
    # No weight that is trained, but one that predictions depend on.
    network.get_layer("norm").moving_variance.assign([1.0, value])
    assert models.broken_weights(network) == f"{kind} in norm/moving_variance"
