"""Touching objects are cut between their centres, whatever the strips."""

import numpy as np
import pytest
from random_masks import discs, whole
from scipy import ndimage

from maskzoo import postprocessing
from maskzoo.errors import OptionError


@pytest.mark.parametrize("height", [1, 5, 13, 100])
def test_two_discs_that_touch_are_cut_between_their_centres(height):
    mask = discs((100, 60), [(30, 30), (48, 30), (80, 12)], 10)
    assert ndimage.label(mask)[1] == 2
    split = whole(postprocessing.split_touching(postprocessing.array_strips(mask, height), 6))
    labels, count = ndimage.label(split)
    assert count == 3
    assert len({labels[30, 30], labels[48, 30], labels[80, 12]}) == 3
    removed = mask & ~split
    # The discs meet in row 39, and the chord in which they do is 8 pixels long.
    assert 0 < removed.sum() <= 12
    assert set(np.nonzero(removed)[0]) <= {38, 39, 40}


@pytest.mark.parametrize("height", [1, 6, 19])
def test_splitting_does_not_depend_on_the_strips(height):
    field = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(90, 80)), 3)
    mask = field > 0.01
    expected = whole(postprocessing.split_touching(postprocessing.array_strips(mask, 90), 4, tallest=25))
    received = whole(postprocessing.split_touching(postprocessing.array_strips(mask, height), 4, tallest=25))
    np.testing.assert_array_equal(received, expected)
    assert ndimage.label(expected)[1] > ndimage.label(mask)[1]
    labels, _ = ndimage.label(mask)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box[0].stop - box[0].start > 25:
            assert (expected[box] | (labels[box] != label)).all(), "an object that is too tall was cut"


def test_a_distance_below_one_pixel_is_refused():
    with pytest.raises(OptionError, match="watershed: expected a distance of at least 1"):
        postprocessing.split_touching(postprocessing.array_strips(np.eye(5, dtype=bool)), 0.5)
