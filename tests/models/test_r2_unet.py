"""R2U-Net: the recurrent convolution."""

import keras
import numpy as np
from keras import ops

from maskzoo import models


def test_a_convolution_is_applied_again_to_the_sum_of_its_input_and_its_result():
    model = models.build_model("r2_unet", (8, 8, 2), filters=(3, 4), recurrences=3)
    layers = ("encoder0_shortcut", "encoder0_0_relu3")
    block = keras.Model(model.input, [model.get_layer(name).output for name in layers])
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 2)).astype("float32")
    x, found = block(image)
    convolve, normalise = model.get_layer("encoder0_0_conv"), model.get_layer("encoder0_0_bn")
    state = ops.relu(normalise(convolve(x)))
    for _ in range(3):
        state = ops.relu(normalise(convolve(x + state)))
    np.testing.assert_allclose(found, state, rtol=0, atol=1e-6)


def test_more_recurrences_take_no_more_weights():
    counts = {
        recurrences: models.build_model(
            "r2_unet", (None, None, 1), filters=(3, 4), recurrences=recurrences
        ).count_params()
        for recurrences in (1, 3)
    }
    assert counts[1] == counts[3]
