"""Arrays are images or volumes, with channels or without."""

import numpy as np
import pytest

from maskzoo.data import Window, open_source


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


def test_an_axis_of_one_pixel_repeats_it():
    source = open_source(np.arange(4).reshape(1, 4))
    assert source.read(Window((-2, 0), (5, 4)))[..., 0].tolist() == [[0, 1, 2, 3]] * 5


def test_arrays_have_the_asked_rank():
    assert open_source(np.zeros((20, 30))).channels == 1
    assert open_source(np.zeros((20, 30, 3))).shape == (20, 30)
    assert open_source(np.zeros((20, 30, 40))).shape == (20, 30, 40)
    assert open_source(np.zeros((20, 30, 3)), spatial_dims=3).shape == (20, 30, 3)
    assert open_source(np.zeros((20, 30, 40)), spatial_dims=2).channels == 40
    assert open_source(np.zeros((20, 30, 40, 2))).channels == 2
    with pytest.raises(ValueError, match=r"array: expected an array with 3 spatial axes.*received shape \(20, 30\)"):
        open_source(np.zeros((20, 30)), spatial_dims=3)
