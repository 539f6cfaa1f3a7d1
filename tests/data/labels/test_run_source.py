"""Windows of run-length labels equal the mask, which is never held."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maskzoo.data import Window, encode_rle, window_grid
from maskzoo.data.labels.run_lengths import Dialect, parse_runs
from maskzoo.data.labels.run_source import RunSource

masks = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1))


@given(masks, st.booleans(), st.integers(1, 7), st.integers(1, 7))
def test_windows_of_runs_equal_the_whole(mask, column_major, height, width):
    runs = parse_runs(encode_rle(mask, column_major=column_major), mask.shape, Dialect())
    source = RunSource("mask", mask.shape, [runs], column_major)
    for window in window_grid(mask.shape, (height, width)):
        np.testing.assert_array_equal(source.read(window)[..., 0], mask[window.slices])
    padded = np.pad(mask, 9, mode="reflect" if min(mask.shape) > 1 else "edge")
    if min(mask.shape) > 1:
        np.testing.assert_array_equal(source.read(Window((-9, -9), padded.shape))[..., 0], padded)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8), st.booleans())
def test_overlapping_runs_of_several_objects_are_united(pairs, column_major):
    runs = np.array([sorted(pair) for pair in pairs], np.int64).reshape(-1, 2)
    expected = np.zeros(60, np.uint8)
    for start, stop in runs:
        expected[start:stop] = 1
    expected = expected.reshape((6, 10), order="F" if column_major else "C")
    source = RunSource("mask", (6, 10), [runs], column_major)
    for window in window_grid((6, 10), (4, 3)):
        np.testing.assert_array_equal(source.read(window)[..., 0], expected[window.slices])


def test_fifty_thousand_objects_on_ten_gigapixels():
    """One window costs what it shows: the mask itself would take 10 GB."""
    side = 100_000
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, side - 20, (2, 50_000))
    lines = columns[:, None] + np.arange(20)
    starts = (lines * side + rows[:, None]).ravel()
    source = RunSource("objects", (side, side), [np.stack([starts, starts + 20], axis=1)])
    window = Window((rows[0] - 100, columns[0] - 50), (512, 512))
    expected = np.zeros(window.size, np.uint8)
    for row, column in zip(rows - window.offset[0], columns - window.offset[1], strict=True):
        if -20 < row < 512 and -20 < column < 512:
            expected[max(row, 0) : max(row + 20, 0), max(column, 0) : max(column + 20, 0)] = 1
    np.testing.assert_array_equal(source.read(window)[..., 0], expected)
    assert expected.any()
