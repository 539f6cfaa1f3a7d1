"""Regions are chosen so that every class is in both parts, if it can be."""

import numpy as np
import pytest

from maskzoo.data import LabelScheme, open_source
from maskzoo.data.sets.pairs import Pair
from maskzoo.data.sets.region_choice import regions_for_folds, regions_for_validation
from maskzoo.data.sets.regions import boxes_around, guard_band

CLASSES = LabelScheme("multilabel", ("a", "b"), ((1,), (2,)))


def pair_of(mask):
    image = np.zeros((*mask.shape, 1), np.uint8)
    return Pair("scene", open_source(image, spatial_dims=mask.ndim), open_source(mask, spatial_dims=mask.ndim))


def shown(mask, region):
    """The classes in a region, and those in what is left beside it and the widest guard band."""
    guard = guard_band(region.box, mask.shape, None)
    left = boxes_around(mask.shape, [region.box.padded(guard)])
    return set(np.unique(mask[region.box.slices])) - {0}, {v for box in left for v in np.unique(mask[box.slices])} - {0}


def both_ends(shape, axis):
    """Class 1 at one end of an axis and class 2 at the other: strips across it have only one of them."""
    mask = np.zeros(shape, np.uint8)
    ends = np.moveaxis(mask, axis, 0)
    ends[:6], ends[-6:] = 1, 2
    return mask


def beginning(shape, axis):
    """Both classes in the first quarter of an axis."""
    mask = np.zeros(shape, np.uint8)
    ends = np.moveaxis(mask, axis, 0)
    ends[: len(ends) // 8], ends[len(ends) // 8 : len(ends) // 4] = 1, 2
    return mask


@pytest.mark.parametrize("made", [both_ends, beginning])
@pytest.mark.parametrize("shape", [(128, 192), (48, 40, 56)])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_class_is_in_both_parts(made, shape, axis, seed):
    mask = made(shape, axis)
    (region,) = regions_for_validation(pair_of(mask), CLASSES, 0.2, seed).values()
    assert shown(mask, region) == ({1, 2}, {1, 2})
    assert 0.1 < np.prod(region.size) / mask.size < 0.35
    regions = regions_for_folds(pair_of(mask), CLASSES, 3, seed)
    assert list(regions) == ["scene-region1", "scene-region2", "scene-region3"]
    for region in regions.values():
        assert shown(mask, region) == ({1, 2}, {1, 2})


def test_a_rare_class_is_divided():
    """Strips of equal width would leave two of three folds without the class."""
    mask = np.zeros((120, 240), np.uint8)
    mask[:, 100:150] = 1
    mask[:, 200:] = 2
    for region in regions_for_folds(pair_of(mask), CLASSES, 3, 0).values():
        assert shown(mask, region)[0] == {1, 2}


def test_four_folds_of_a_square_are_blocks():
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 3, (128, 128)).astype(np.uint8)
    regions = regions_for_folds(pair_of(mask), CLASSES, 4, 0)
    counts = np.zeros((128, 128), int)
    for region in regions.values():
        counts[region.box.slices] += 1
        assert max(region.size) < 128
    assert (counts == 1).all()


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
def test_the_region_is_as_large_as_asked_for(fraction):
    mask = np.random.default_rng(0).integers(0, 3, (128, 192)).astype(np.uint8)
    (region,) = regions_for_validation(pair_of(mask), CLASSES, fraction, 0).values()
    assert abs(np.prod(region.size) / mask.size - fraction) < 0.05


def test_a_class_that_cannot_be_in_both_parts_is_said(caplog):
    mask = np.zeros((128, 128), np.uint8)
    mask[60:62, 60:62] = 1
    mask[::8, ::8] = 2
    regions_for_validation(pair_of(mask), CLASSES, 0.2, 0)
    assert "every class both held out and left to train on" in caplog.text
