"""The 2.5D U-Net: its slices, its attention maps, and the layer that fits slices."""

import keras
import numpy as np
import pytest
from small_models import images_for, small_model

from maskzoo import models
from maskzoo.models.unet25d import FitSlices


def test_attention_maps_of_the_25d_unet_follow_the_slices_of_their_level():
    model = models.build_model("unet25d", (512, 512, 5, 1), attention_maps=True)
    assert {name: output.shape[1:] for name, output in model.output.items()} == {
        "mask": (512, 512, 5, 1),
        "attention0": (512, 512, 5, 1),
        "attention1": (256, 256, 5, 1),
        "attention2": (128, 128, 6, 1),
        "attention3": (64, 64, 4, 1),
        "attention4": (32, 32, 2, 1),
    }
    assert [model.get_layer(f"encoder{level}_1_relu").output.shape[3] for level in range(4)] == [5, 5, 5, 3]
    assert model.get_layer("bottom_1_relu").output.shape[3] == 2


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 7])
def test_the_25d_unet_takes_any_number_of_slices(slices):
    outputs = small_model("unet25d")(images_for("unet25d", (16, 8, slices)))
    assert outputs["mask"].shape == (2, 16, 8, slices, 2)
    for level in range(4):
        weights = np.asarray(outputs[f"attention{level}"])
        assert weights.min() >= 0
        assert weights.max() <= 1


def test_in_plane_levels_of_the_25d_unet_do_not_mix_slices():
    model = small_model("unet25d")
    level = keras.Model(model.input, model.get_layer("encoder0_pool").output)
    images = images_for("unet25d", (16, 8, 5))
    other = images.copy()
    other[:, :, :, 2] += 1
    changed = np.abs(np.asarray(level(other)) - np.asarray(level(images))).max((0, 1, 2, 4))
    assert (changed > 0).tolist() == [False, False, True, False, False]


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("slices", [2, 3, 5])
def test_fit_slices_cuts_off_or_appends_zeros(slices):
    volumes, reference = _random(1, 2, 2, 3, 1), np.zeros((1, 2, 2, slices, 4), "float32")
    fitted = np.asarray(FitSlices()([volumes, reference]))
    assert fitted.shape == (1, 2, 2, slices, 1)
    np.testing.assert_array_equal(fitted[..., :3, :], volumes[..., :slices, :])
    assert not fitted[..., 3:, :].any()
