"""Windows cover images exactly, grow and shrink by a halo, and mirror as numpy does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskzoo.data.windows import Window, crop, halo_pairs, mirrored, window_grid

shapes = st.one_of(
    st.lists(st.integers(1, longest), min_size=axes, max_size=axes).map(tuple)
    for axes, longest in ((1, 40), (2, 40), (3, 12))
)


@st.composite
def grids(draw, overlapping=False):
    shape = draw(shapes)
    size = tuple(draw(st.integers(1, 45)) for _ in shape)
    step = tuple(draw(st.integers(max(1, extent // 3), extent)) for extent in size) if overlapping else None
    return shape, size, step


@given(grids())
def test_a_grid_writes_every_pixel_once(grid):
    shape, size, _ = grid
    count = np.zeros(shape, int)
    for window in window_grid(shape, size):
        assert window.inside(shape)
        count[window.slices] += 1
    assert (count == 1).all()


@settings(max_examples=50)
@given(grids(overlapping=True))
def test_overlapping_windows_cover_every_pixel_and_keep_their_size(grid):
    shape, size, step = grid
    count = np.zeros(shape, int)
    windows = window_grid(shape, size, step)
    for window in windows:
        assert window.size == tuple(min(extent, length) for extent, length in zip(size, shape, strict=True))
        count[window.slices] += 1
    assert count.min() >= 1
    assert len(set(windows)) == len(windows)


@given(grids())
def test_a_grid_is_a_sequence_of_its_windows(grid):
    shape, size, _ = grid
    windows = window_grid(shape, size)
    listed = list(windows)
    assert len(windows) == len(listed) == np.prod([-(-a // b) for a, b in zip(shape, size, strict=True)])
    assert [windows[i] for i in range(len(windows))] == listed
    assert windows[-1] == listed[-1]
    assert windows[1:3] == listed[1:3]
    with pytest.raises(IndexError, match="expected an index below"):
        windows[len(windows)]


def test_a_grid_of_a_gigapixel_image_is_not_listed_in_memory():
    windows = window_grid((1_000_000, 1_000_000), 16)
    assert len(windows) == 62_500**2
    assert windows[62_500] == Window((16, 0), (16, 16))


@given(shapes, st.data())
def test_crop_undoes_padded(shape, data):
    halo = tuple((data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))) for _ in shape)
    image = np.random.default_rng(0).random((*shape, 2))
    padded = np.pad(image, [*halo, (0, 0)])
    np.testing.assert_array_equal(crop(padded, halo), image)
    window = Window((0,) * len(shape), shape)
    assert window.padded(halo).size == padded.shape[:-1]
    assert window.padded(halo).offset == tuple(-before for before, _ in halo)


def test_a_halo_is_a_number_or_numbers_or_pairs():
    window = Window((10, 20), (4, 6))
    assert window.padded(3) == Window((7, 17), (10, 12))
    assert window.padded((1, 2)) == Window((9, 18), (6, 10))
    assert window.padded(((1, 2), 0)) == Window((9, 20), (7, 6))
    assert halo_pairs([[1, 2], 3], 2) == ((1, 2), (3, 3))
    assert crop(np.zeros((10, 12, 3)), 3).shape == (4, 6, 3)
    assert crop(np.zeros((10, 12)), (3, 3)).shape == (4, 6)
    with pytest.raises(ValueError, match="expected 2 axes"):
        window.padded((1, 2, 3))


@given(st.integers(1, 30), st.integers(0, 100), st.integers(0, 100))
def test_mirrored_is_the_reflect_of_numpy_at_any_distance(length, before, after):
    expected = np.pad(np.arange(length), (before, after), mode="reflect")
    np.testing.assert_array_equal(mirrored(-before, before + length + after, length), expected)


@given(st.integers(1, 50), st.integers(-200, 200), st.integers(1, 60))
def test_a_mirrored_window_touches_no_more_pixels_than_it_has(length, start, size):
    indices = mirrored(start, size, length)
    assert np.ptp(indices) < max(size, 1)


def test_windows_refuse_what_has_no_pixels():
    with pytest.raises(ValueError, match="size of at least 1"):
        Window((0, 0), (4, 0))
    with pytest.raises(ValueError, match="one offset and one size"):
        Window((0,), (4, 4))
    with pytest.raises(ValueError, match="expected sizes of at least 1"):
        window_grid((0, 5), 2)
    with pytest.raises(ValueError, match="step between 1 and the window size"):
        window_grid((10, 10), 4, 5)
    with pytest.raises(ValueError, match="expected 2 numbers"):
        window_grid((10, 10), (4, 4, 4))
