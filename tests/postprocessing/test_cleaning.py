"""Post-processing in strips of any height equals post-processing of the whole mask, by scipy and scikit-image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure, morphology
from skimage.io import imread

from maskzoo import postprocessing as postprocess

SHAPES = [(1, 1), (9, 1), (1, 9), (24, 31), (40, 17), (7, 8, 9), (12, 5, 1)]


@st.composite
def masks(draw):
    """A random mask, how its pixels are connected, and the height of the strips."""
    shape = draw(st.sampled_from(SHAPES))
    seed, share = draw(st.integers(0, 10_000)), draw(st.sampled_from([0, 0.2, 0.45, 0.55, 0.7, 1]))
    mask = np.random.default_rng(seed).random(shape) < share
    return mask, draw(st.integers(1, len(shape))), draw(st.integers(1, shape[0]))


def whole(strips):
    return np.concatenate([strips.read(first, last) for first, last in strips.borders])


def border_of(labels):
    """The labels of the pixels that are gone once one pixel is cut off every side."""
    outer = np.ones(labels.shape, bool)
    outer[(slice(1, -1),) * labels.ndim] = False
    return set(labels[outer].tolist())


@settings(max_examples=150)
@given(masks())
def test_components_are_those_of_the_whole_mask(drawn):
    mask, connectivity, height = drawn
    strips = postprocess.array_strips(mask, height)
    values = np.arange(mask.size).reshape(mask.shape)
    found = postprocess.find_components(strips, connectivity, [lambda first, last: values[first:last]])
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
    received = whole(postprocess.remove_small(postprocess.array_strips(mask, height), minimum, connectivity))
    labels = measure.label(mask, connectivity=connectivity)
    areas = np.bincount(labels.ravel())
    np.testing.assert_array_equal(received, mask & (areas >= minimum)[labels])


@settings(max_examples=150)
@given(masks())
def test_holes_are_those_of_scipy(drawn):
    mask, _, height = drawn
    received = whole(postprocess.fill_holes(postprocess.array_strips(mask, height)))
    np.testing.assert_array_equal(received, ndimage.binary_fill_holes(mask))


@settings(max_examples=100)
@given(masks(), st.integers(0, 6))
def test_large_holes_stay(drawn, largest):
    mask, _, height = drawn
    received = whole(postprocess.fill_holes(postprocess.array_strips(mask, height), largest))
    holes, _ = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    areas = np.bincount(holes.ravel())
    np.testing.assert_array_equal(received, mask | ((holes > 0) & (areas <= largest)[holes]))


@settings(max_examples=100)
@given(masks())
def test_the_largest_object_is_kept(drawn):
    mask, connectivity, height = drawn
    received = whole(postprocess.keep_largest(postprocess.array_strips(mask, height), connectivity))
    labels = measure.label(mask, connectivity=connectivity)
    expected = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if mask.any() else mask
    np.testing.assert_array_equal(received, expected)


def test_rows_may_be_read_in_any_cut():
    mask = np.random.default_rng(0).random((50, 30)) < 0.5
    strips = postprocess.clean(postprocess.array_strips(mask, 7), cleaning_of(holes=(3,), minimum_area=(5,)))
    everything = whole(strips)
    for first, last in ((0, 50), (3, 4), (6, 8), (13, 35), (49, 50)):
        np.testing.assert_array_equal(strips.read(first, last), everything[first:last])


def discs(shape, centres, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.any([(rows - r) ** 2 + (columns - c) ** 2 <= radius**2 for r, c in centres], axis=0)


@pytest.mark.parametrize("height", [1, 5, 13, 100])
def test_two_discs_that_touch_are_cut_between_their_centres(height):
    mask = discs((100, 60), [(30, 30), (48, 30), (80, 12)], 10)
    assert ndimage.label(mask)[1] == 2
    split = whole(postprocess.split_touching(postprocess.array_strips(mask, height), 6))
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
    expected = whole(postprocess.split_touching(postprocess.array_strips(mask, 90), 4, tallest=25))
    received = whole(postprocess.split_touching(postprocess.array_strips(mask, height), 4, tallest=25))
    np.testing.assert_array_equal(received, expected)
    assert ndimage.label(expected)[1] > ndimage.label(mask)[1]
    labels, _ = ndimage.label(mask)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box[0].stop - box[0].start > 25:
            assert (expected[box] | (labels[box] != label)).all(), "an object that is too tall was cut"


def test_the_order_is_holes_then_objects():
    """A thin ring is a large object once it is filled; filled last, it would have been removed."""
    ring = discs((20, 20), [(9, 9)], 5) & ~discs((20, 20), [(9, 9)], 4)
    strips = postprocess.array_strips(ring, 4)
    assert whole(postprocess.clean(strips, cleaning_of(minimum_area=(ring.sum() + 1,)))).sum() == 0
    filled = whole(postprocess.clean(strips, cleaning_of(holes=(100,), minimum_area=(ring.sum() + 1,))))
    np.testing.assert_array_equal(filled, discs((20, 20), [(9, 9)], 5))


def test_nothing_asked_for_changes_nothing():
    strips = postprocess.array_strips(np.eye(5, dtype=bool), 2)
    assert postprocess.clean(strips, cleaning_of()) is strips


def cleaning_of(**options):
    nothing = {"holes": (0, 0, 0), "watershed": 0, "minimum_area": (0, 0, 0)}
    return postprocess.Cleaning(**(nothing | options))


@pytest.mark.parametrize("height", [1, 4, 12])
def test_a_class_map_keeps_what_is_enclosed_and_not_empty(height):
    labels = np.zeros((12, 12), np.uint8)
    labels[1:9, 1:9] = 1
    labels[3:6, 3:6] = 2
    labels[4, 4] = 0
    labels[7, 7] = 0
    labels[10, 10:] = 2
    cleaning = cleaning_of(holes=(0, np.inf, 1), minimum_area=(0, 0, 3))
    read = postprocess.clean_labels(lambda a, b: labels[a:b], labels.shape, cleaning, "multiclass", height)
    expected = labels.copy()
    expected[7, 7] = 1  # a hole of class 1
    expected[4, 4] = 1  # one of class 1 and of class 2: the first class takes it
    expected[10, 10:] = 0
    np.testing.assert_array_equal(
        np.concatenate([read(a, min(a + height, 12)) for a in range(0, 12, height)]), expected
    )


def test_the_classes_of_a_multilabel_mask_are_cleaned_one_by_one():
    rng = np.random.default_rng(0)
    labels = (rng.random((30, 20, 3)) < 0.5).astype(np.uint8)
    cleaning = cleaning_of(minimum_area=(0, 4, 9))
    cleaned = postprocess.clean_labels(lambda a, b: labels[a:b], (30, 20), cleaning, "multilabel", 7)(0, 30)
    for band, least in enumerate((0, 4, 9)):
        expected = morphology.remove_small_objects(labels[..., band] > 0, max_size=max(least - 1, 0))
        np.testing.assert_array_equal(cleaned[..., band], expected)


def test_a_cleaning_says_what_it_does():
    assert not cleaning_of()
    assert str(cleaning_of(holes=(np.inf,), minimum_area=(9,))) == (
        "holes filled up to any number of pixels; objects kept from 9 pixels"
    )
    assert cleaning_of(largest=True)


def test_mistakes():
    strips = postprocess.array_strips(np.eye(5, dtype=bool))
    with pytest.raises(ValueError, match="connectivity: expected 1 to 2; received 3"):
        postprocess.find_components(strips, 3)
    with pytest.raises(ValueError, match="watershed: expected a distance of at least 1"):
        postprocess.split_touching(strips, 0.5)


def test_nuclei_across_seams(shared_data):
    """Nuclei side by side, cut into strips through their middles: as many as in one piece, of the same areas."""
    tiles = [imread(path) > 0 for path in sorted((shared_data / "nuclei" / "masks").iterdir())[:40]]
    tiles = [tile[:256, :256] for tile in tiles if min(tile.shape) >= 256][:36]
    mosaic = np.block([tiles[row * 6 : row * 6 + 6] for row in range(6)])
    labels = measure.label(mosaic, connectivity=1)
    for height in (64, 333):
        strips = postprocess.array_strips(mosaic, height)
        found = postprocess.find_components(strips)
        np.testing.assert_array_equal(found.areas, np.bincount(labels.ravel()))
        kept = morphology.remove_small_objects(mosaic, max_size=60)
        np.testing.assert_array_equal(whole(postprocess.remove_small(strips, 61)), kept)
