"""Resized images: whole and in windows, linear between pixels, labels class by class, and back to the first grid."""

import numpy as np
import pytest
from concurrency import whole

from maskzoo.data import Window, open_source, resize
from maskzoo.data.images.resized_source import ResizedSource

SHAPES = [((20, 31), (45, 13)), ((20, 31), (20, 62)), ((17, 12, 9), (10, 24, 9))]


def noise(shape, dtype=np.float32):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize(("shape", "new"), SHAPES)
def test_pixels_are_those_of_an_array_that_is_resized_as_a_whole(shape, new):
    image = noise((*shape, 2))
    resized = ResizedSource(open_source(image, spatial_dims=len(shape)), new)
    np.testing.assert_allclose(whole(resized), resize(image, new), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("is_label", [False, True])
@pytest.mark.parametrize(("shape", "new"), SHAPES)
def test_a_window_has_the_pixels_of_the_whole_bit_for_bit(shape, new, is_label, monkeypatch):
    image = (noise(shape) // 70).astype(np.uint8) if is_label else noise(shape)
    resized = ResizedSource(open_source(image, spatial_dims=len(shape)), new, is_label=is_label)
    expected = whole(resized)
    monkeypatch.setattr("maskzoo.data.images.resized_source.KEPT_BYTES", 0)
    monkeypatch.setattr("maskzoo.data.images.resized_source.BLOCK", {2: 7, 3: 5})
    for offset in ((3, 2, 1), (0, 4, 2)):
        window = Window(offset[: len(shape)], tuple(min(8, length - 4) for length in new))
        np.testing.assert_array_equal(resized.read(window), expected[window.slices])


def test_a_straight_ramp_stays_straight_between_the_outermost_centres():
    ramp = np.arange(10, dtype=np.float32)[None].repeat(4, 0)
    wide = whole(ResizedSource(open_source(ramp, spatial_dims=2), (4, 20)))[0, :, 0]
    # New centres lie at (i + 0.5) / 2 - 0.5 old pixels.
    np.testing.assert_allclose(wide[1:-1], (np.arange(20) + 0.5)[1:-1] / 2 - 0.5, atol=1e-5)


def test_labels_take_the_value_with_the_largest_share():
    label = np.zeros((6, 6), np.uint8)
    label[:, 4:] = 9
    label[:, :1] = 5
    small = whole(ResizedSource(open_source(label, spatial_dims=2), (2, 2), is_label=True))[..., 0]
    assert small.tolist() == [[0, 9], [0, 9]]
    assert set(np.unique(whole(ResizedSource(open_source(label), (17, 19), is_label=True)))) == {0, 5, 9}


def test_an_axis_of_nearest_pixels_mixes_no_slices():
    volume = noise((6, 6, 4))
    thick = ResizedSource(open_source(volume, spatial_dims=3), (6, 6, 8), nearest=(False, False, True))
    np.testing.assert_array_equal(whole(thick)[..., 0], volume.repeat(2, axis=2))


def test_values_go_back_to_the_first_grid(monkeypatch):
    smooth = np.add.outer(np.arange(24.0), 2 * np.arange(18.0)).astype(np.float32)
    source = open_source(smooth, spatial_dims=2)
    for shape in ((48, 27), (12, 9)):
        resized = ResizedSource(source, shape)
        read_back = resized.taken_back(resized.read)
        inner = Window((4, 4), (16, 10))
        np.testing.assert_allclose(read_back(inner), smooth[inner.slices][..., None], atol=0.1)
        monkeypatch.setattr("maskzoo.data.images.resized_source.BLOCK", {2: 5})
        np.testing.assert_array_equal(read_back(inner), resized.taken_back(resized.read)(inner))


def test_whole_numbers_stay_in_their_range():
    image = np.zeros((8, 8), np.uint8)
    image[3:5] = 255
    assert whole(ResizedSource(open_source(image), (23, 5))).dtype == np.uint8
    assert ResizedSource(open_source(image), (16, 8)).frame.shape == (16, 8)
