"""Holes, touching objects and small objects are handled in order, class by class."""

import numpy as np
import pytest
from random_masks import discs, whole
from skimage import morphology

from maskzoo import postprocessing


def cleaning_of(**options):
    nothing = {"holes": (0, 0, 0), "watershed": 0, "minimum_area": (0, 0, 0)}
    return postprocessing.Cleaning(**(nothing | options))


def test_the_order_is_holes_then_objects():
    """A thin ring is a large object once it is filled; filled last, it would have been removed."""
    ring = discs((20, 20), [(9, 9)], 5) & ~discs((20, 20), [(9, 9)], 4)
    strips = postprocessing.array_strips(ring, 4)
    assert whole(postprocessing.clean(strips, cleaning_of(minimum_area=(ring.sum() + 1,)))).sum() == 0
    filled = whole(postprocessing.clean(strips, cleaning_of(holes=(100,), minimum_area=(ring.sum() + 1,))))
    np.testing.assert_array_equal(filled, discs((20, 20), [(9, 9)], 5))


def test_nothing_asked_for_changes_nothing():
    strips = postprocessing.array_strips(np.eye(5, dtype=bool), 2)
    assert postprocessing.clean(strips, cleaning_of()) is strips


@pytest.mark.parametrize("height", [1, 4, 12])
def test_a_class_map_keeps_what_is_enclosed_and_not_empty(height):
    labels = np.zeros((12, 12), np.uint8)
    labels[1:9, 1:9] = 1
    labels[3:6, 3:6] = 2
    labels[4, 4] = 0
    labels[7, 7] = 0
    labels[10, 10:] = 2
    cleaning = cleaning_of(holes=(0, np.inf, 1), minimum_area=(0, 0, 3))
    read = postprocessing.clean_labels(lambda a, b: labels[a:b], labels.shape, cleaning, "multiclass", height)
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
    cleaned = postprocessing.clean_labels(lambda a, b: labels[a:b], (30, 20), cleaning, "multilabel", 7)(0, 30)
    for band, least in enumerate((0, 4, 9)):
        expected = morphology.remove_small_objects(labels[..., band] > 0, max_size=max(least - 1, 0))
        np.testing.assert_array_equal(cleaned[..., band], expected)


def test_a_cleaning_says_what_it_does():
    assert not cleaning_of()
    assert str(cleaning_of(holes=(np.inf,), minimum_area=(9,))) == (
        "holes filled up to any number of pixels; objects kept from 9 pixels"
    )
    assert cleaning_of(largest=True)


def test_one_size_stands_for_all_classes():
    assert postprocessing.cleaning_of(3, holes=4, minimum_area=(0, 1, 2)) == postprocessing.Cleaning(
        (4, 4, 4), 0, (0, 1, 2)
    )
    assert not postprocessing.cleaning_of(2)
