"""The vision transformer's table of positions, and the places of its maps."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import OURS, arrays

from maskzoo import models
from maskzoo.models.encoders import feature_strides
from maskzoo.models.encoders.vit import PositionTable, TokenMap


@pytest.mark.parametrize("size", [(5, 5), (9, 7), (3, 2), (12, 1)])
def test_the_table_is_resized_bicubically_with_antialiasing(size):
    table = PositionTable(5)
    image, token = np.zeros((2, *size, 3), "float32"), np.zeros((2, 1, 1, 3), "float32")
    table([image, token])
    values = np.random.default_rng(0).normal(size=(1, 26, 3)).astype("float32")
    table.set_weights([values])
    found = keras.ops.convert_to_numpy(table([image, token]))
    expected = tf.image.resize(values[0, 1:].reshape(5, 5, 3), size, "bicubic", antialias=True).numpy()
    np.testing.assert_allclose(found[0, 0, 1:].reshape(*size, 3), expected, atol=1e-5)
    np.testing.assert_array_equal(found[0, 0, 0], values[0, 0])


def test_tokens_are_laid_out_row_by_row_beside_the_class_token():
    tokens = np.arange(7, dtype="float32").reshape(1, 1, 7, 1)
    found = keras.ops.convert_to_numpy(TokenMap(True)([tokens, np.zeros((1, 2, 3, 1), "float32")]))
    np.testing.assert_array_equal(found[0, ..., 0], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(found[0, ..., 1], np.zeros((2, 3)))


def test_the_maps_of_the_pyramid_are_those_of_the_transformer_resized():
    pyramid = OURS["vit"]((64, 96, 3))
    plain = OURS["vit"]((64, 96, 3), pyramid=False)
    plain.set_weights(pyramid.get_weights())
    assert feature_strides(plain) == [16, 16, 16, 16]
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype("float32")
    for one, other, factor in zip(arrays(pyramid(image)), arrays(plain(image)), (4, 2, 1), strict=False):
        expected = tf.image.resize(other, [factor * side for side in (4, 6)]).numpy()
        np.testing.assert_allclose(one, expected, atol=1e-5)


def test_dpt_reads_the_class_token_and_the_maps_of_stride_16():
    model = models.build_model("dpt", (64, 64, 3), 1, encoder="vit_tiny_16", level_filters=[2] * 4, decoder_filters=2)
    assert [model.get_layer(f"level{level}_readout").input.shape for level in range(4)] == [(None, 4, 4, 384)] * 4
    assert [model.get_layer(f"level{level}_project").output.shape[1] for level in range(4)] == [16, 8, 4, 2]
