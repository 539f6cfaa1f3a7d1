"""Counts of pixels against hand calculation."""

import numpy as np
import pytest

from maskzoo import metrics
from maskzoo.errors import OptionError


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
    with pytest.raises(OptionError, match=message):
        metrics.confusion_counts(truth, guess, **arguments)
