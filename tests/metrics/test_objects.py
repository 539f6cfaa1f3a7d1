"""Matched objects against comparing every pair."""

import numpy as np
import pytest
from scipy import ndimage

from maskzoo import metrics
from maskzoo.errors import OptionError
from maskzoo.metrics import membrane, objects


def naive_panoptic(truth, guess, threshold=0.5):
    matched, used = [], set()
    for t in set(truth.ravel()) - {0}:
        for g in set(guess.ravel()) - {0}:
            a, b = truth == t, guess == g
            iou = (a & b).sum() / (a | b).sum()
            if iou > threshold:
                matched.append(iou)
                used.add((t, g))
    true_count, guess_count = len(set(truth.ravel()) - {0}), len(set(guess.ravel()) - {0})
    return matched, guess_count - len(matched), true_count - len(matched)


def objects_pair(shape, seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 1.2)
    moved = field + 0.06 * rng.normal(size=shape)
    return ndimage.label(field > 0.1)[0], ndimage.label(moved > 0.1)[0] * 7


@pytest.mark.parametrize(("shape", "seed"), [((40, 40), 0), ((40, 40), 1), ((12, 14, 13), 2)])
def test_objects_equal_comparing_every_pair(shape, seed):
    truth, guess = objects_pair(shape, seed)
    counts = objects.object_counts(truth, guess)
    for threshold, row in zip(objects.THRESHOLDS, counts, strict=True):
        matched, fp, fn = naive_panoptic(truth, guess, threshold)
        assert row.tolist() == [len(matched), fp, fn]
    matched, fp, fn = naive_panoptic(truth, guess)
    assert 0 < len(matched) < truth.max()
    quality = objects.panoptic_quality(objects.panoptic_counts(truth, guess))
    assert quality["segmentation_quality"] == pytest.approx(np.mean(matched))
    assert quality["recognition_quality"] == pytest.approx(len(matched) / (len(matched) + fp / 2 + fn / 2))
    assert quality["panoptic_quality"] == pytest.approx(sum(matched) / (len(matched) + fp / 2 + fn / 2))
    f1 = metrics.dice_from_counts(counts)
    assert f1[0] == pytest.approx(quality["recognition_quality"])
    pooled = objects.panoptic_counts(truth, guess) + objects.panoptic_counts(truth, truth)
    assert pooled[1:].tolist() == [len(matched) + truth.max(), fp, fn]


def test_objects_by_hand():
    truth = np.array([1, 1, 1, 1, 0, 2, 2, 0, 3, 3])
    guess = np.array([5, 5, 5, 0, 0, 6, 8, 9, 0, 0])
    # 1 with 5: 3/4; 2 with 6 and with 8: 1/2 each, which is not above 0.5; 3 missed; 9 invented.
    assert objects.object_counts(truth, guess, [0.5, 0.75, 0.7]).tolist() == [[1, 3, 2], [0, 4, 3], [1, 3, 2]]
    quality = objects.panoptic_quality(objects.panoptic_counts(truth, guess))
    assert quality["panoptic_quality"] == pytest.approx(0.75 / (1 + 3 / 2 + 2 / 2))


def test_objects_on_empty_and_ignored_ground():
    empty, one = np.zeros((4, 4), int), np.eye(4, dtype=int)
    assert set(objects.panoptic_quality(objects.panoptic_counts(empty, empty)).values()) == {1}
    assert set(objects.panoptic_quality(objects.panoptic_counts(empty, one)).values()) == {0}
    assert set(objects.panoptic_quality(objects.panoptic_counts(one, empty)).values()) == {0}
    truth = np.array([[1, 1, 0, 255], [0, 0, 0, 255]])
    for there in (0, 3):
        guess = np.array([[2, 2, 0, there], [0, 0, 0, there]])
        assert objects.panoptic_counts(truth, guess, 255).tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("function", [objects.match_objects, membrane.segment_scores])
def test_labels_of_objects_must_be_whole_numbers(function):
    with pytest.raises(OptionError, match=r"prediction: expected the shape of the truth"):
        function(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(OptionError, match=r"truth: expected whole numbers from 0 as labels; received float64 from 0"):
        function(np.zeros(2), np.zeros(2, int))
    with pytest.raises(
        OptionError, match=r"prediction: expected whole numbers from 0 as labels; received int64 from -1"
    ):
        function(np.zeros(2, int), np.full(2, -1))
    with pytest.raises(OptionError, match=r"thresholds: expected numbers from 0\.5 to below 1; received"):
        objects.object_counts(np.zeros(2, int), np.zeros(2, int), 0.4)
