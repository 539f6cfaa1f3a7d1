"""The grid covers every pixel of every image; its batches show each window once, in order."""

import collections

import numpy as np
import pytest
from labelled_cases import APART, batches, cases, first_values

from maskzoo.data.sampling.case_grid import CaseGrid, GridWindows, check_geometry, covering_windows
from maskzoo.errors import OptionError


def test_neighbours_overlap_by_the_asked_fraction():
    made = cases([(64, 64)])
    grid = CaseGrid(made, (16, 16), 0.25)
    assert sorted({window.offset[0] for _, window in grid}) == [0, 12, 24, 36, 48]
    shown = GridWindows(made, 16, 5, overlap=0.25)
    assert (len(shown.grid), shown.steps) == (25, 5)
    assert first_values(batches(shown)) == [case.image.read(window)[0, 0, 0] for case, window in shown.grid]
    assert grid[-1] == grid[24]
    assert grid[1:3] == [grid[1], grid[2]]
    with pytest.raises(IndexError):
        grid[25]
    with pytest.raises(OptionError, match="overlap: expected a fraction from 0 to below 1; received 1"):
        CaseGrid(made, (16, 16), 1)


def test_a_grid_shows_every_pixel_of_every_image_once_in_order():
    windows = GridWindows(cases([(16, 24), (8, 8), (24, 16)], channels=2), 8, 4)
    assert windows.steps == 4  # 6 + 1 + 6 windows
    shown, weights = [], []
    for images, labels, weight in batches(windows):
        assert images.shape == (4, 8, 8, 2)
        assert weight.shape == (4,)
        np.testing.assert_array_equal(labels[..., 0], images[..., 0] % 3 == 0)
        shown.append(images[weight > 0][..., 0].ravel())
        weights.append(weight)
    assert np.concatenate(weights).tolist() == [1.0] * 13 + [0.0] * 3
    expected = np.concatenate([np.arange(384), np.arange(64) + APART, np.arange(384) + 2 * APART])
    assert collections.Counter(np.concatenate(shown)) == collections.Counter(expected)


def test_a_limit_chooses_windows_with_weights_and_fills_up_with_weight_0():
    windows = GridWindows(cases([(32, 32)]), 8, 4, limit=6)
    every = first_values(batches(GridWindows(cases([(32, 32)]), 8, 16)))
    made = batches(windows)
    assert first_values(made)[:6] == [every[number] for number in windows.shown]
    weights = np.concatenate([weight for *_, weight in made])
    assert weights.tolist() == [*windows.weights, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(30, 21), (5, 40), (3, 3), (20, 9, 11)])
def test_covering_windows_have_one_size_and_cover_the_image(shape):
    patch = (8,) * len(shape)
    count = np.zeros([length + 40 for length in shape], int)
    for window in covering_windows(shape, patch):
        assert window.size == patch
        count[tuple(slice(start + 20, start + 28) for start in window.offset)] += 1
    assert count[tuple(slice(20, 20 + length) for length in shape)].min() >= 1


@pytest.mark.parametrize(("number", "patch", "halo", "message"), [
    (0, 8, 0, "data: expected at least one labelled image; received none"),
    (1, (8, 8, 8), 0, "patch: expected 2 numbers"),
    (1, 0, 0, "patch: expected positive sizes"),
    (1, 8, -1, "patch: expected positive sizes and a halo of 0 or more"),
])  # fmt: skip
def test_windows_that_cannot_be_are_refused(number, patch, halo, message):
    with pytest.raises(OptionError, match=message):
        check_geometry(cases([(20, 20)] * number), patch, halo)
