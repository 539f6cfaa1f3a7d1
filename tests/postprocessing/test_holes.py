"""Holes filled strip by strip are those of the whole mask, by scipy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from random_masks import masks, whole
from scipy import ndimage

from maskzoo import postprocessing


@settings(max_examples=150)
@given(masks())
def test_holes_are_those_of_scipy(drawn):
    mask, _, height = drawn
    received = whole(postprocessing.fill_holes(postprocessing.array_strips(mask, height)))
    np.testing.assert_array_equal(received, ndimage.binary_fill_holes(mask))


@settings(max_examples=100)
@given(masks(), st.integers(0, 6))
def test_large_holes_stay(drawn, largest):
    mask, _, height = drawn
    received = whole(postprocessing.fill_holes(postprocessing.array_strips(mask, height), largest))
    holes, _ = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    areas = np.bincount(holes.ravel())
    np.testing.assert_array_equal(received, mask | ((holes > 0) & (areas <= largest)[holes]))
