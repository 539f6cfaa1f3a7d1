"""Surface distances against brute force, scipy and scikit-image."""

import numpy as np
import pytest
from brute_force import border_points
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.metrics import hausdorff_distance

from maskzoo.errors import OptionError
from maskzoo.metrics import surface


def masks(shape, seed):
    rng = np.random.default_rng(seed)
    return [ndimage.gaussian_filter(rng.normal(size=shape), 1.5) > 0.05 for _ in range(2)]


@pytest.mark.parametrize(
    ("shape", "spacing"), [((40, 31), (1.0, 1.0)), ((25, 30), (0.3, 2.0)), ((9, 14, 12), (3, 0.7, 0.7))]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_surface_distances_equal_brute_force(shape, spacing, seed):
    truth, guess = masks(shape, seed)
    points = [border_points(mask, spacing) for mask in (truth, guess)]
    there, back = (cKDTree(points[1 - i]).query(points[i])[0] for i in (0, 1))
    both = np.concatenate([there, back])
    expected = {
        "hausdorff95": np.percentile(both, 95),
        "average_surface_distance": both.mean(),
        "surface_dice": ((there <= 1.5).sum() + (back <= 1.5).sum()) / both.size,
    }
    assert surface.surface_scores(truth, guess, 1.5, spacing) == pytest.approx(expected)
    assert surface.hausdorff_distance(truth, guess, spacing, 100) == pytest.approx(both.max())
    assert surface.hausdorff_distance(truth, guess, spacing) == pytest.approx(expected["hausdorff95"])
    assert surface.average_surface_distance(truth, guess, spacing) == pytest.approx(
        expected["average_surface_distance"]
    )
    assert surface.surface_dice(truth, guess, 1.5, spacing) == pytest.approx(expected["surface_dice"])


def test_hausdorff_distance_equals_that_of_scikit_image():
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in masks((40, 40), 3)]
    # The border of a border one element wide is itself.
    expected = hausdorff_distance(*borders)
    assert surface.hausdorff_distance(*borders, percentile=100) == pytest.approx(expected)


def test_surface_scores_of_shifted_boxes_and_empty_masks():
    box = np.zeros((20, 20), bool)
    box[5:10, 5:10] = True
    shifted = np.roll(box, 2, 0)
    # Rows shift by 2 units of 0.5: the horizontal edges (2 x 5) are 1 away, of the sides all but 2 x 2 overlap.
    assert surface.hausdorff_distance(box, shifted, (0.5, 1), 100) == pytest.approx(1)
    assert surface.surface_scores(box, box, 0) == {
        "hausdorff95": 0,
        "average_surface_distance": 0,
        "surface_dice": 1,
    }
    empty = np.zeros_like(box)
    assert surface.surface_scores(empty, empty, 1) == surface.surface_scores(box, box, 0)
    for pair in ((box, empty), (empty, box)):
        expected = {"hausdorff95": np.inf, "average_surface_distance": np.inf, "surface_dice": 0}
        assert surface.surface_scores(*pair, 1) == expected


def test_surface_refuses_what_does_not_fit():
    with pytest.raises(OptionError, match=r"prediction: expected the shape of the truth, \(2, 2\); received \(2, 3\)"):
        surface.surface_distances(np.zeros((2, 2)), np.zeros((2, 3)))
    for spacing in ((1, 2, 3), 0, (1, -1)):
        with pytest.raises(OptionError, match="spacing: expected 2 numbers above 0, or one"):
            surface.surface_distances(np.ones((2, 2)), np.ones((2, 2)), spacing)
