"""Operations of a graph with free sizes against numpy and prediction."""

import numpy as np
import pytest
import tensorflow as tf

from maskzoo import data
from maskzoo.deployment import tensors


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 3), (9, 5)])
def test_borders_are_mirrored_as_often_as_it_takes(size, noise):
    image = noise(size)
    pairs = ((13, 8), (3, 17))
    before, whole = [b for b, _ in pairs], [b + n + a for (b, a), n in zip(pairs, size, strict=True)]
    expected = np.pad(image, (*pairs, (0, 0)), mode="reflect")

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)])
    def free(images):
        return tensors.mirrored(images, before, whole)

    np.testing.assert_array_equal(free(image[None])[0], expected)
    np.testing.assert_array_equal(tensors.mirrored(tf.constant(image[None]), before, whole)[0], expected)


@pytest.mark.parametrize("size", [(1, 7), (4, 3), (13, 20)])
def test_resizing_is_that_of_prediction(size, noise):
    image = noise((8, 5), dtype=np.float32)[None]
    expected = data.resize(image, size, first_axis=1, average=False)
    np.testing.assert_allclose(tensors.resized(tf.constant(image), size), expected, rtol=1e-5, atol=1e-4)


def test_sizes_of_a_graph_are_those_of_numbers():
    @tf.function(input_signature=[tf.TensorSpec((), tf.int32)])
    def free(size):
        rounded, scaled = tensors.round_up(size, 8, 3), tensors.scale_size(size, 0.75)
        picked = tensors.choose(tensors.product([size, size]) <= 50, 1, 2)
        return rounded, scaled, picked, tensors.largest([size, 4]), tensors.smaller(size, 4)

    for size in range(1, 20):
        rounded, scaled = tensors.round_up(size, 8, 3), tensors.scale_size(size, 0.75)
        assert rounded % 8 == 3
        assert size <= rounded < size + 8
        picked = tensors.choose(tensors.product([size, size]) <= 50, 1, 2)
        expected = (rounded, scaled, picked, tensors.largest([size, 4]), tensors.smaller(size, 4))
        assert tuple(int(value) for value in free(size)) == expected
