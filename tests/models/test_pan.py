"""The pooling of the pyramid attention network."""

import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.pan import HalvingMaxPool


@pytest.mark.parametrize(
    ("rows", "halves"),
    [
        ([3, 1, 2, 7], [3, 7]),
        ([3, 1, 2, 7, 9], [3, 7]),  # PyTorch leaves an odd one out
        ([5], [5]),
    ],
)
def test_halving_pools_pairs_and_leaves_an_odd_end_out_unless_nothing_else_is_there(rows, halves):
    image = np.tile(np.reshape(rows, (1, -1, 1, 1)).astype("float32"), (1, 1, 2, 1))
    pool = HalvingMaxPool()
    found = keras.ops.convert_to_numpy(pool(image))
    np.testing.assert_array_equal(found[0, :, :, 0], np.reshape(halves, (-1, 1)))
    assert pool.compute_output_spec(keras.KerasTensor(image.shape)).shape == found.shape


def test_halving_has_the_geometry_of_a_pooling_of_two():
    image = keras.Input((None, None, 1))
    geometry = analysis.geometry(keras.Model(image, HalvingMaxPool()(image)))
    assert (geometry.stride, geometry.receptive_field) == ((2, 2), (2, 2))


def test_maps_smaller_than_the_pyramid_is_deep_are_taken():
    model = models.build_model("pan", (None, None, 3), 2, encoder="resnet18", output_stride=32, decoder_filters=4)
    assert model(np.zeros((1, 32, 96, 3), "float32")).shape == (1, 32, 96, 2)
    assert analysis.geometry(model).global_layers
