"""A mask that is read in strips can be read in any cut."""

import numpy as np
import pytest
from random_masks import whole

from maskzoo import postprocessing
from maskzoo.errors import OptionError


@pytest.mark.parametrize("height", [1, 7, 50, 80])
def test_strips_cover_every_row_once(height):
    strips = postprocessing.array_strips(np.zeros((50, 3)), height)
    rows = [row for first, last in strips.borders for row in range(first, last)]
    assert rows == list(range(50))
    assert all(last - first <= height for first, last in strips.borders)


def test_rows_may_be_read_in_any_cut():
    mask = np.random.default_rng(0).random((50, 30)) < 0.5
    strips = postprocessing.remove_small(postprocessing.fill_holes(postprocessing.array_strips(mask, 7), 3), 5)
    everything = whole(strips)
    for first, last in ((0, 50), (3, 4), (6, 8), (13, 35), (49, 50)):
        np.testing.assert_array_equal(strips.read(first, last), everything[first:last])


def test_sizes_below_one_are_refused():
    with pytest.raises(OptionError, match="strips: expected sizes of at least 1"):
        postprocessing.Strips((4, 0), 2, lambda first, last: np.zeros((last - first, 0), bool))
