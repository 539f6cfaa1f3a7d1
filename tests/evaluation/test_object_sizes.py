"""Holes and minimum areas are the best of all, tried one by one."""

import numpy as np
import pytest
from held_out_images import held_out, space_of
from scipy import ndimage

from maskzoo import metrics
from maskzoo.evaluation import SearchSpace
from maskzoo.evaluation.tuning import search


def speckled(number=3, seed=0, shape=(40, 44)):
    """Blobs with holes and specks in the prediction that are not in the truth."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(number):
        truth = ndimage.gaussian_filter(rng.normal(size=shape), 3) > 0.05
        guess = truth ^ (ndimage.gaussian_filter(rng.normal(size=shape), 0.7) > 0.75)
        images.append((f"{index}", truth, guess))
    return images


def brute_area_scores(images, metric, hole, area):
    space = space_of(metric=metric)
    counts = []
    for _, truth, guess in images:
        holes, _ = ndimage.label(ndimage.binary_fill_holes(guess) & ~guess)
        guess = guess | ((holes > 0) & (np.bincount(holes.ravel()) <= hole)[holes])
        objects, _ = ndimage.label(guess)
        guess = guess & (np.bincount(objects.ravel()) >= area)[objects]
        counts.append(metrics.confusion_counts(truth, guess))
    return space.score(np.stack(counts))[0]


@pytest.mark.parametrize("metric", ["mean_dice", "iou"])
@pytest.mark.parametrize("strip", [7, 10_000])
def test_holes_and_minimum_areas_are_the_best_of_all(metric, strip, monkeypatch):
    monkeypatch.setattr("maskzoo.postprocessing.strips.STRIP_PIXELS", strip * 44)
    images = speckled()
    space = SearchSpace("binary", ["cell"], metric=metric)
    parts = [held_out(name, truth[..., None], np.where(guess, 4.0, -4)[..., None]) for name, truth, guess in images]
    found = search(space, parts).decision
    assert found.thresholds == (0.5,)
    by_hole = [brute_area_scores(images, metric, hole, 0) for hole in range(60)]
    assert found.holes == (int(np.argmax(by_hole)),)
    by_area = [brute_area_scores(images, metric, found.holes[0], area) for area in range(200)]
    assert found.minimum_area == (int(np.argmax(by_area)),)
    assert found.holes[0] > 0
    assert found.minimum_area[0] > 1
    assert found.score == pytest.approx(max(by_area), abs=1e-12)


def test_areas_of_a_class_map():
    """Class 2 inside class 1 is no hole of it; a speck of class 1 is removed; the background is not scored."""
    truth = np.zeros((12, 12), np.uint8)
    truth[1:9, 1:9] = 1
    truth[3:5, 3:5] = 2
    guess = truth.copy()
    guess[6, 6] = 0
    guess[10:, 11] = 1
    images = [held_out("0", truth, 9.0 * (guess[..., None] == np.arange(3)))]
    found = search(SearchSpace("multiclass", ["background", "cell", "core"]), images)
    assert found.decision.holes == (0, 1, 0)
    assert found.decision.minimum_area == (0, 3, 0)
    np.testing.assert_array_equal(found.decided, [1, 1])


def test_a_hole_that_another_class_fills_is_not_filled():
    """Class 2 in the middle of class 1 is wrong, but filling holes puts nothing in its place."""
    truth = np.zeros((12, 12), np.uint8)
    truth[1:9, 1:9] = 1
    guess = truth.copy()
    guess[3:5, 3:5] = 2
    images = [held_out("0", truth, 9.0 * (guess[..., None] == np.arange(3)))]
    found = search(SearchSpace("multiclass", ["background", "cell", "core"]), images)
    assert found.decision.holes == (0, 0, 0)
