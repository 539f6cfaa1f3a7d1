"""The U-Nets in two dimensions."""

import keras
import numpy as np

from maskzoo import models


def test_feature_maps_of_the_unet_have_the_sizes_of_the_figure():
    model = models.build_model("unet", (572, 572, 1), 2)
    blocks = [f"encoder{level}_1_relu" for level in range(5)] + [f"decoder{level}_1_relu" for level in (3, 2, 1, 0)]
    sizes = [model.get_layer(block).output.shape[1:] for block in blocks]
    assert [size[0] for size in sizes] == [568, 280, 136, 64, 28, 52, 100, 196, 388]
    assert [size[-1] for size in sizes] == [64, 128, 256, 512, 1024, 512, 256, 128, 64]


def test_residual_blocks_add_their_input():
    model = models.build_model("unet_padded", (16, 16, 1), filters=(4, 6), residual=True)
    block = keras.Model(model.input, model.get_layer("encoder0_add").output)
    for index in range(2):
        model.get_layer(f"encoder0_{index}_conv").kernel.assign(
            np.zeros_like(model.get_layer(f"encoder0_{index}_conv").kernel)
        )
    shortcut = keras.Model(model.input, model.get_layer("encoder0_shortcut").output)
    images = np.random.default_rng(0).normal(size=(1, 16, 16, 1)).astype("float32")
    np.testing.assert_array_equal(block(images), shortcut(images))
