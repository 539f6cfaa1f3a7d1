"""Calibration by hand and by a loop over bins."""

import numpy as np
import pytest

from maskzoo.errors import OptionError
from maskzoo.metrics import calibration


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


def test_calibration_refuses_what_is_not_a_probability():
    with pytest.raises(OptionError, match=r"probabilities: expected numbers from 0 to 1; received 1\.2"):
        calibration.calibration_counts([0], [1.2])
    with pytest.raises(
        OptionError, match=r"truth: expected shape \(4,\) for multiclass probabilities; received \(4, 3\)"
    ):
        calibration.calibration_counts(np.zeros((4, 3)), np.zeros((4, 3)), "multiclass")
