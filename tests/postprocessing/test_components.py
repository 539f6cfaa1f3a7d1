"""Components found strip by strip are those of the whole mask, by scipy and scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_masks import masks, whole
from scipy import ndimage
from skimage import measure, morphology
from skimage.io import imread

from maskzoo import postprocessing
from maskzoo.errors import OptionError


def border_of(labels):
    """The labels of the pixels that are gone once one pixel is cut off every side."""
    outer = np.ones(labels.shape, bool)
    outer[(slice(1, -1),) * labels.ndim] = False
    return set(labels[outer].tolist())


@settings(max_examples=150)
@given(masks())
def test_components_are_those_of_the_whole_mask(drawn):
    mask, connectivity, height = drawn
    strips = postprocessing.array_strips(mask, height)
    values = np.arange(mask.size).reshape(mask.shape)
    found = postprocessing.find_components(strips, connectivity, [lambda first, last: values[first:last]])
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, connectivity))
    assert found.count == count
    np.testing.assert_array_equal(found.areas, np.bincount(labels.ravel(), minlength=count + 1))
    numbers = range(1, count + 1)
    np.testing.assert_array_equal(found.sums[0][1:], ndimage.sum_labels(values, labels, numbers))
    np.testing.assert_array_equal(found.inside[1:], [n not in border_of(labels) for n in numbers])
    numbered = [
        pieces[ndimage.label(strips.read(*rows), ndimage.generate_binary_structure(mask.ndim, connectivity))[0]]
        for pieces, rows in zip(found.pieces, strips.borders, strict=True)
    ]
    np.testing.assert_array_equal(np.concatenate(numbered), labels)


@settings(max_examples=150)
@given(masks(), st.integers(0, 30))
def test_small_objects_are_removed_as_scikit_image_does(drawn, minimum):
    mask, connectivity, height = drawn
    received = whole(postprocessing.remove_small(postprocessing.array_strips(mask, height), minimum, connectivity))
    labels = measure.label(mask, connectivity=connectivity)
    areas = np.bincount(labels.ravel())
    np.testing.assert_array_equal(received, mask & (areas >= minimum)[labels])


@settings(max_examples=100)
@given(masks())
def test_the_largest_object_is_kept(drawn):
    mask, connectivity, height = drawn
    received = whole(postprocessing.keep_largest(postprocessing.array_strips(mask, height), connectivity))
    labels = measure.label(mask, connectivity=connectivity)
    expected = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if mask.any() else mask
    np.testing.assert_array_equal(received, expected)


def test_pixels_touch_across_as_many_axes_as_the_mask_has():
    strips = postprocessing.array_strips(np.eye(5, dtype=bool))
    with pytest.raises(OptionError, match="connectivity: expected 1 to 2; received 3"):
        postprocessing.find_components(strips, 3)


def test_nuclei_across_seams(shared_data):
    """Nuclei side by side, cut into strips through their middles: as many as in one piece, of the same areas."""
    tiles = [imread(path) > 0 for path in sorted((shared_data / "nuclei" / "masks").iterdir())[:40]]
    tiles = [tile[:256, :256] for tile in tiles if min(tile.shape) >= 256][:36]
    mosaic = np.block([tiles[row * 6 : row * 6 + 6] for row in range(6)])
    labels = measure.label(mosaic, connectivity=1)
    for height in (64, 333):
        strips = postprocessing.array_strips(mosaic, height)
        found = postprocessing.find_components(strips)
        np.testing.assert_array_equal(found.areas, np.bincount(labels.ravel()))
        kept = morphology.remove_small_objects(mosaic, max_size=60)
        np.testing.assert_array_equal(whole(postprocessing.remove_small(strips, 61)), kept)
