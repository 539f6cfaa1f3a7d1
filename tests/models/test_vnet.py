"""The V-Net in two dimensions."""

import keras
import numpy as np
import pytest

from maskzoo import models


@pytest.mark.parametrize("channels", [1, 3])
def test_a_vnet_stage_adds_a_single_channel_to_all_filters_and_pads_several(channels):
    model = models.build_model("vnet", (8, 8, channels), depth=2, start_filters=4)
    kernel = model.get_layer("encoder0_0_conv").kernel
    kernel.assign(np.zeros(kernel.shape))
    images = np.random.default_rng(0).normal(size=(1, 8, 8, channels)).astype("float32")
    stage = np.asarray(keras.Model(model.input, model.get_layer("encoder0_add").output)(images))
    expected = np.repeat(images, 4, -1) if channels == 1 else np.pad(images, [(0, 0)] * 3 + [(0, 1)])
    np.testing.assert_array_equal(stage, expected)


def test_a_vnet_has_a_slope_per_channel_or_per_element():
    shared = models.build_model("vnet", (16, 24, 1), depth=3, start_filters=4)
    own = models.build_model("vnet", (16, 24, 1), depth=3, start_filters=4, shared_prelu=False)
    assert shared.get_layer("encoder1_down_prelu").alpha.shape == (1, 1, 8)
    assert own.get_layer("encoder1_down_prelu").alpha.shape == (8, 12, 8)
    with pytest.raises(
        ValueError, match=r"vnet: expected fixed sizes with shared_prelu=False; received \(None, 32, 1\)"
    ):
        models.build_model("vnet", (None, 32, 1), shared_prelu=False)


def test_a_vnet_refuses_more_channels_than_its_first_stage_has_filters():
    with pytest.raises(ValueError, match="vnet: expected at most 16 channels in input_shape; received 17"):
        models.build_model("vnet", (None, None, 17))
