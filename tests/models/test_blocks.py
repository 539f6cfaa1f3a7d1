"""Blocks against numbers worked out elsewhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskzoo.models import blocks


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_linear_upsampling_of_a_ramp_is_the_ramp_with_clamped_ends():
    ramp = np.array([0.0, 4.0, 8.0], "float32").reshape(1, 3, 1, 1)
    result = blocks.LinearUpsampling((2, 1))(ramp)
    assert np.ravel(result).tolist() == [0, 1, 3, 5, 7, 8]


@pytest.mark.parametrize("size", [2, 4, (2, 1), (1, 4)])
def test_linear_upsampling_equals_bilinear_resizing(size):
    images = _random(2, 7, 5, 3)
    factors = (size, size) if isinstance(size, int) else size
    expected = tf.image.resize(images, (7 * factors[0], 5 * factors[1]), "bilinear")
    np.testing.assert_allclose(blocks.LinearUpsampling(size)(images), expected, rtol=0, atol=3e-7)


@pytest.mark.parametrize("factor", [3, 8])
def test_linear_upsampling_by_other_factors_equals_bilinear_resizing(factor):
    images = _random(2, 7, 5, 3)
    expected = tf.image.resize(images, (7 * factor, 5 * factor), "bilinear")
    np.testing.assert_allclose(blocks.LinearUpsampling(factor)(images), expected, rtol=0, atol=2e-6)


def test_linear_upsampling_of_volumes_is_trilinear():
    volumes = _random(2, 3, 4, 5, 2)
    planes = tf.image.resize(volumes.reshape(6, 4, 5, 2), (8, 10), "bilinear")
    columns = tf.image.resize(tf.reshape(planes, (2, 3, 80, 2)), (6, 80), "bilinear")
    result = blocks.LinearUpsampling(2)(volumes)
    np.testing.assert_allclose(result, tf.reshape(columns, (2, 6, 8, 10, 2)), rtol=0, atol=3e-7)


def test_linear_upsampling_of_one_element_repeats_it():
    assert np.ravel(blocks.LinearUpsampling(2)(np.full((1, 1, 1, 1), 5.0, "float32"))).tolist() == [5] * 4


def test_linear_upsampling_follows_the_precision_and_free_sizes_of_its_input():
    image = keras.Input((None, 6, 4))
    assert blocks.LinearUpsampling((2, 3))(image).shape == (None, None, 18, 4)
    assert blocks.LinearUpsampling(2, dtype="mixed_float16")(_random(1, 2, 2, 1)).dtype == "float16"


def test_linear_upsampling_refuses_factors_that_do_not_match_the_axes():
    with pytest.raises(ValueError, match=r"up: expected size to hold 3 factors of at least 1; received \(2, 2\)"):
        blocks.LinearUpsampling((2, 2), name="up")(_random(1, 2, 2, 2, 1))


def test_pad_channels_appends_zeros():
    padded = np.asarray(blocks.PadChannels(5)(_random(1, 2, 3, 2)))
    np.testing.assert_array_equal(padded[..., :2], _random(1, 2, 3, 2))
    assert padded.shape == (1, 2, 3, 5)
    assert not padded[..., 2:].any()
