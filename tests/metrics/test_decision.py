"""Probabilities and labels of logits."""

import numpy as np
import pytest

from maskzoo import metrics


def test_probabilities_by_hand_and_without_overflow():
    np.testing.assert_allclose(metrics.probabilities([[0.0], [np.log(3)]], "binary"), [[0.5], [0.75]], rtol=1e-6)
    np.testing.assert_array_equal(metrics.probabilities([-1e4, 1e4], "multilabel"), [0, 1])
    logits = np.log([[0.2, 0.3, 0.5]])
    for shift in (0, 1e4):
        found = metrics.probabilities(logits + shift, "multiclass")
        np.testing.assert_allclose(found, [[0.2, 0.3, 0.5]], rtol=2e-3 if shift else 1e-6)


@pytest.mark.parametrize(("thresholds", "expected"), [(0.5, [1, 0]), (0.25, [1, 1]), ([0.9, 0.25], [0, 1])])
def test_a_class_is_present_from_its_threshold_on(thresholds, expected):
    logits = np.array([[0.0, np.log(1 / 3)]])
    labels = metrics.predicted_labels(logits, "multilabel", thresholds)
    assert labels.tolist() == [expected]
    assert labels.dtype == np.uint8


def test_the_likeliest_class_of_a_multiclass_task():
    labels = metrics.predicted_labels(np.array([[[1.0, 3.0, 2.0], [0.5, 0.0, -1.0]]]), "multiclass")
    assert labels.tolist() == [[1, 0]]
