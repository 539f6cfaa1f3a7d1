"""Offline metrics against brute force, hand calculation, scipy and scikit-image."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.stats import entropy
from skimage.metrics import adapted_rand_error, contingency_table, hausdorff_distance, variation_of_information
from skimage.segmentation import relabel_sequential

from maskzoo import metrics
from maskzoo.metrics import calibration, membrane, objects, presence, surface


def test_importing_metrics_loads_neither_keras_nor_scipy():
    code = "import sys, json; from maskzoo import metrics; print(json.dumps(list(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not {"keras", "tensorflow", "scipy", "skimage"} & set(loaded)
    assert metrics.surface is surface
    with pytest.raises(AttributeError, match="nothing"):
        _ = metrics.nothing


def test_counts_by_hand():
    truth = np.array([[0, 1, 1], [2, 2, 255]])
    guess = np.array([[0, 1, 2], [2, 0, 1]])
    counts = metrics.confusion_counts(truth, guess, 3, 255, task="multiclass")
    np.testing.assert_array_equal(counts, [[1, 1, 0], [1, 0, 1], [1, 1, 1]])
    np.testing.assert_allclose(metrics.dice_from_counts(counts), [2 / 3, 2 / 3, 1 / 2])
    np.testing.assert_allclose(metrics.iou_from_counts(counts), [1 / 2, 1 / 2, 1 / 3])
    np.testing.assert_allclose(metrics.precision_from_counts(counts), [1 / 2, 1, 1 / 2])
    np.testing.assert_allclose(metrics.recall_from_counts(counts), [1, 1 / 2, 1 / 2])
    changed = np.where(truth == 255, 0, guess)
    np.testing.assert_array_equal(metrics.confusion_counts(truth, changed, 3, 255, task="multiclass"), counts)


def test_counts_of_windows_add_up_to_those_of_the_image():
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 2, (2, 8, 9, 3)).astype("uint8")
    parts = [metrics.confusion_counts(truth[i], guess[i], 3, task="multilabel") for i in range(8)]
    whole = metrics.confusion_counts(truth, guess, 3, task="multilabel")
    np.testing.assert_array_equal(np.sum(parts, 0), whole)
    for c in range(3):
        np.testing.assert_array_equal(metrics.confusion_counts(truth[..., c], guess[..., c])[0], whole[c])


def test_competition_dice_counts_empty_on_empty_as_one():
    # Three images of one class: half found, rightly empty, wrongly filled.
    counts = [[[1, 1, 1]], [[0, 0, 0]], [[0, 5, 0]]]
    assert metrics.competition_dice(counts) == pytest.approx((0.5 + 1 + 0) / 3)
    assert metrics.dice_from_counts(np.sum(counts, 0))[0] == pytest.approx(2 / 9)


@pytest.mark.parametrize(
    ("truth", "guess", "arguments", "message"),
    [
        (np.zeros(3), np.zeros(4), {}, r"prediction: expected the shape of the truth, \(3,\); received \(4,\)"),
        (np.full(3, 255), np.zeros(3), {}, "truth: expected whole numbers from 0 to 1; received values from 255"),
        (np.zeros(3), np.full(3, 0.5), {}, "prediction: expected whole numbers from 0 to 1"),
        (np.zeros(3), np.full(3, np.nan), {}, "prediction: expected whole numbers"),
        (np.zeros((2, 3)), np.zeros((2, 3)), {"num_classes": 3}, "task: expected multilabel or multiclass"),
        (np.zeros(3), np.zeros(3), {"task": "some"}, "task: expected binary, multilabel or multiclass"),
        (np.zeros(3), np.zeros(3), {"task": "multilabel", "num_classes": 2}, "last axis of 2 classes"),
    ],
)
def test_labels_that_cannot_be_counted_are_refused(truth, guess, arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_counts(truth, guess, **arguments)


def test_presence_equals_counting_pairs():
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 3, 40), rng.integers(0, 9, 40)
    pairs = [(s > t) + 0.5 * (s == t) for s in score[truth > 0] for t in score[truth == 0]]
    scores = presence.presence_scores(truth, score, minimum=4)
    assert scores["auc"] == pytest.approx(np.mean(pairs))
    assert scores["precision"] == pytest.approx(np.mean(truth[score >= 4] > 0))
    assert scores["recall"] == pytest.approx(np.mean(score[truth > 0] >= 4))


def test_presence_when_all_images_are_of_one_kind():
    assert np.isnan(presence.presence_scores([0, 0], [0, 3])["auc"])
    assert presence.presence_scores([0, 0], [0, 0])["precision"] == 1
    assert presence.presence_scores([0, 0], [0, 3])["recall"] == 0
    assert presence.presence_scores([5, 5], [0, 0])["precision"] == 0
    with pytest.raises(ValueError, match="a finite sum per image"):
        presence.presence_scores([], [])


def masks(shape, seed):
    rng = np.random.default_rng(seed)
    return [ndimage.gaussian_filter(rng.normal(size=shape), 1.5) > 0.05 for _ in range(2)]


def border_points(mask, spacing):
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis, shift in itertools.product(range(mask.ndim), (1, -1)):
        inside &= np.roll(padded, shift, axis)[(slice(1, -1),) * mask.ndim]
    return np.argwhere(mask & ~inside) * spacing


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
    with pytest.raises(ValueError, match=r"prediction: expected the shape of the truth, \(2, 2\); received \(2, 3\)"):
        surface.surface_distances(np.zeros((2, 2)), np.zeros((2, 3)))
    for spacing in ((1, 2, 3), 0, (1, -1)):
        with pytest.raises(ValueError, match="spacing: expected 2 numbers above 0, or one"):
            surface.surface_distances(np.ones((2, 2)), np.ones((2, 2)), spacing)


def labels_pair(shape, seed, empty_share=0.0):
    rng = np.random.default_rng(seed)
    truth, guess = (rng.integers(0, 6, [-(-s // 3) for s in shape]) for _ in range(2))
    for axis in range(len(shape)):
        truth, guess = truth.repeat(3, axis), guess.repeat(2, axis)
    guess = np.resize(guess, shape) + 1
    guess[rng.random(shape) < empty_share] = 0
    return truth[tuple(map(slice, shape))], guess


@pytest.mark.parametrize(("shape", "empty_share"), [((20, 17), 0), ((20, 17), 0.2), ((6, 7, 8), 0), ((6, 7, 8), 0.5)])
def test_segment_scores_equal_scikit_image(shape, empty_share):
    truth, guess = labels_pair(shape, 0, empty_share)
    scores = membrane.segment_scores(truth, guess)
    # scikit-image has no elements without a segment: each gets one of its own.
    filled = guess.copy()
    filled[guess == 0] = np.arange(10, 10 + (guess == 0).sum())
    filled = relabel_sequential(filled)[0]
    pairs = contingency_table(truth, filled, ignore_labels=[0], normalize=True).toarray()
    squares = [(shares**2).sum() for shares in (pairs, pairs.sum(1), pairs.sum(0))]
    assert scores["rand_split"] == pytest.approx(squares[0] / squares[1])
    assert scores["rand_merge"] == pytest.approx(squares[0] / squares[2])
    assert scores["rand"] == pytest.approx(2 * squares[0] / (squares[1] + squares[2]))
    # That of scikit-image leaves out the pairs of an element with itself.
    own = 1 / (truth > 0).sum()
    expected = 2 * (squares[0] - own) / (squares[1] + squares[2] - 2 * own)
    assert adapted_rand_error(truth, filled, ignore_labels=[0])[0] == pytest.approx(1 - expected)
    inside = truth > 0
    split, merge = variation_of_information(truth[inside], filled[inside])
    true_entropy = entropy(pairs.sum(1), base=2)
    mutual = true_entropy - merge
    assert scores["information_merge"] == pytest.approx(mutual / true_entropy)
    assert scores["information_split"] == pytest.approx(mutual / (mutual + split))
    assert scores["information"] == pytest.approx(2 * mutual / (2 * mutual + split + merge))


def test_splits_and_merges_are_told_apart():
    halves = np.repeat([1, 2], 50).reshape(10, 10)
    whole, quarters = np.ones_like(halves), np.repeat([1, 2, 3, 4], 25).reshape(10, 10)
    split, merged = membrane.segment_scores(halves, quarters), membrane.segment_scores(halves, whole)
    # Two true halves in four quarters: sum p^2 = 4/16, sum t^2 = 2/4; entropies log 4 and log 2.
    assert (split["rand_split"], split["rand_merge"]) == pytest.approx((0.5, 1))
    assert (split["information_split"], split["information_merge"]) == pytest.approx((0.5, 1))
    assert (merged["rand_split"], merged["rand_merge"]) == pytest.approx((1, 0.5))
    assert (merged["information_split"], merged["information_merge"]) == pytest.approx((1, 0))
    assert set(membrane.segment_scores(halves, halves).values()) == {1}
    assert set(membrane.segment_scores(0 * halves, quarters).values()) == {1}


def test_what_lies_on_true_membranes_does_not_count():
    truth, guess = labels_pair((20, 17), 1)
    changed = np.where(truth == 0, 77, guess)
    assert membrane.segment_scores(truth, guess) == membrane.segment_scores(truth, changed)


def test_segments_of_a_membrane():
    cross = np.zeros((11, 13), bool)
    cross[4:7] = cross[:, 6:8] = True
    np.testing.assert_array_equal(np.unique(membrane.segments_from_membrane(cross, thin=False)), [0, 1, 2, 3, 4])
    thin = membrane.segments_from_membrane(cross)
    assert set(np.unique(thin)) == {1, 2, 3, 4}
    np.testing.assert_array_equal(thin[~cross], membrane.segments_from_membrane(cross, thin=False)[~cross])
    # A thicker membrane at the same place is the same division.
    thick = ndimage.binary_dilation(cross)
    assert membrane.segment_scores(membrane.segments_from_membrane(thick, thin=False), thin)["rand"] == 1
    assert not membrane.segments_from_membrane(np.ones((3, 3))).any()


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
    with pytest.raises(ValueError, match=r"prediction: expected the shape of the truth"):
        function(np.zeros(2, int), np.zeros(3, int))
    with pytest.raises(ValueError, match=r"truth: expected whole numbers from 0 as labels; received float64 from 0"):
        function(np.zeros(2), np.zeros(2, int))
    with pytest.raises(
        ValueError, match=r"prediction: expected whole numbers from 0 as labels; received int64 from -1"
    ):
        function(np.zeros(2, int), np.full(2, -1))
    with pytest.raises(ValueError, match=r"thresholds: expected numbers from 0\.5 to below 1; received"):
        objects.object_counts(np.zeros(2, int), np.zeros(2, int), 0.4)


def test_calibration_by_hand():
    # Bins (0, 0.5] and (0.5, 1]: 3 pixels of mean 0.3 with one event; 2 of mean 0.8 with one event.
    p, y = np.array([0.1, 0.3, 0.5, 0.7, 0.9]), np.array([0, 0, 1, 1, 0])
    counts = calibration.calibration_counts(y, p, bins=2)
    np.testing.assert_allclose(counts, [[3, 0.9, 1], [2, 1.6, 1]])
    assert calibration.expected_calibration_error(counts) == pytest.approx((0.1 + 0.6) / 5)
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.1, 0.7], [0.9, 0.05, 0.05]])
    counts = calibration.calibration_counts([0, 1, 255], p, "multiclass", 255, bins=1)
    np.testing.assert_allclose(counts, [[2, 1.3, 1]])
    assert calibration.expected_calibration_error(counts) == pytest.approx(0.15)


def test_calibration_equals_a_loop_over_bins_and_adds_up():
    rng = np.random.default_rng(0)
    p = rng.random((9, 10, 2))
    y = (rng.random(p.shape) < p**1.5).astype(int)
    expected = 0
    for low in np.arange(15) / 15:
        chosen = (p > low) & (p <= low + 1 / 15)
        if chosen.any():
            expected += chosen.mean() * abs(p[chosen].mean() - y[chosen].mean())
    parts = [calibration.calibration_counts(*pair, "multilabel") for pair in zip(y, p, strict=True)]
    assert calibration.expected_calibration_error(np.sum(parts, 0)) == pytest.approx(expected)
    assert calibration.expected_calibration_error(np.zeros((15, 3))) == 0
    y[0] = 255
    ignored = calibration.calibration_counts(y, p, "multilabel", 255)
    np.testing.assert_allclose(ignored, np.sum(parts[1:], 0))


def test_calibration_refuses_what_are_no_probabilities():
    with pytest.raises(ValueError, match="probabilities: expected numbers from 0 to 1"):
        calibration.calibration_counts([0], [1.2])
    with pytest.raises(
        ValueError, match=r"truth: expected shape \(4,\) for multiclass probabilities; received \(4, 3\)"
    ):
        calibration.calibration_counts(np.zeros((4, 3)), np.zeros((4, 3)), "multiclass")
