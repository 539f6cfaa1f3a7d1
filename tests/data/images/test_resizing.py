"""Resizing puts pixels where their centres are; averaging leaves none out."""

import numpy as np
import pytest
from scipy import ndimage

from maskzoo.data import resize


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [(6, 11), (24, 44), (12, 22), (5, 50)])
def test_without_averaging_pixels_lie_between_the_centres_of_others(size):
    image = noise(12, 22)
    places = [(np.arange(new) + 0.5) * old / new - 0.5 for old, new in zip((12, 22), size, strict=True)]
    expected = ndimage.map_coordinates(image, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")
    resized = resize(image[None, ..., None], size, first_axis=1, average=False)
    np.testing.assert_allclose(resized[0, ..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("size", [(24, 44), (12, 22), (13, 22)])
def test_enlarging_is_the_same_with_averaging_and_without(size):
    image = noise(12, 22, 3)
    np.testing.assert_allclose(resize(image, size), resize(image, size, average=False), atol=1e-6)


def test_halving_weighs_neighbours_by_their_distance():
    # The centre of a new pixel is half a pixel from two old ones and 1.5 from the next: weights 3, 3, 1, 1.
    line = np.float32([0, 0, 8, 0, 0, 0, 0, 0])[:, None]
    np.testing.assert_allclose(resize(line, (4,))[:, 0], [8 / 7, 3, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 7, 2), (9, 8, 7)])
def test_a_constant_volume_stays_constant(size):
    resized = resize(np.full((6, 7, 5, 2), 3, np.float32), size)
    assert resized.shape == (*size, 2)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, 3, rtol=1e-6)
