"""Pixel shuffle, and the kernels that start it without a checkerboard."""

import keras
import numpy as np

from maskzoo.models.unet_aspp_fpn import AlikeInFours, PixelShuffle


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_pixel_shuffle_spreads_groups_of_channels_over_2x2_pixels():
    x = np.arange(8, dtype="float32").reshape(1, 1, 1, 8)
    found = _numpy(PixelShuffle()(x))
    np.testing.assert_array_equal(found[0], [[[0, 1], [2, 3]], [[4, 5], [6, 7]]])
    start = keras.layers.Conv2D(8, 1, kernel_initializer=AlikeInFours())
    grown = _numpy(PixelShuffle()(start(_images(1, 3, 3, 4))))
    np.testing.assert_array_equal(grown, np.repeat(np.repeat(grown[:, ::2, ::2], 2, 1), 2, 2))
