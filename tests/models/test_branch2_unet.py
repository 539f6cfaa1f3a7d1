"""The second branch beside a U-Net."""

import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.models.branch2_unet import LinearInterpolation, PlaceChannels


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_a_branch_of_one_channel_over_64_channels_at_stride_4_has_130_parameters():
    options = {"encoder": "resnet18"}
    trunk = models.build_model("backbone_unet", (None, None, 2), 4, **options)
    model = models.build_model("branch2_unet", (None, None, 2), 4, trunk_options=options, channels=[1])
    assert model.count_params() - trunk.count_params() == 130


@pytest.mark.parametrize("channels", [[1], [0, 3]])
def test_a_new_branch_leaves_the_trunk_as_it_is_and_a_trained_one_changes_its_channels_alone(channels):
    trunk = models.build_model("unet_padded", (None, None, 2), 4, filters=(4, 6, 8))
    model = models.build_model("branch2_unet", (None, None, 2), 4, trunk=trunk, level=2, channels=channels)
    images = _images(1, 16, 24, 2)
    before = _numpy(trunk(images))
    np.testing.assert_array_equal(_numpy(model(images)), before)
    model.get_layer("branch_conv").bias.assign([1.0] * len(channels))
    change = _numpy(model(images)) - before
    assert set(np.flatnonzero(np.abs(change).max((0, 1, 2)) > 0.1)) == set(channels)


def test_a_branch_interpolates_linearly_at_first():
    for size in ((5, 7), (3, 4, 5)):
        kind = {2: keras.layers.Conv2DTranspose, 3: keras.layers.Conv3DTranspose}[len(size)]
        layer = kind(2, 8, strides=4, padding="same", kernel_initializer=LinearInterpolation())
        x = _images(1, *size, 2)
        inner = (slice(None), *[slice(4, -4)] * len(size))
        np.testing.assert_allclose(_numpy(layer(x))[inner], _enlarged(x)[inner], atol=1e-5)


def _enlarged(x):
    for axis in range(1, x.ndim - 1):
        length = x.shape[axis]
        position = np.clip((np.arange(4 * length) + 0.5) / 4 - 0.5, 0, length - 1)
        below = np.minimum(position.astype(int), length - 2)
        share = (position - below).reshape([-1 if each == axis else 1 for each in range(x.ndim)])
        x = np.take(x, below, axis) * (1 - share) + np.take(x, below + 1, axis) * share
    return x


def test_channels_are_placed_among_zeros():
    found = PlaceChannels((2, 0), 4)(np.array([[5.0, 7.0]], "float32"))
    np.testing.assert_array_equal(_numpy(found), [[7, 0, 5, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [4]}, "channels: expected different ones from 0 to 3; received"),
        ({"channels": [1, 1]}, "channels: expected different ones"),
        ({"level": 3}, "level: expected one of the strides 1, 2, 4 of unet_padded; received 3"),
        ({"level": "nowhere"}, "level: expected a stride, or the name of a layer of unet_padded; received nowhere"),
    ],
)
def test_branches_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model(
            "branch2_unet", (None, None, 2), 4, trunk="unet_padded", trunk_options={"filters": (4, 6, 8)}, **options
        )
