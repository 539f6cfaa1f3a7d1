"""Losses that are means over pixels."""

import numpy as np
import pytest
from labelled_logits import logit, sample, value_and_gradient

from maskzoo import losses


def test_weights_of_positives_and_negatives_are_fixed_whatever_their_number():
    labels, p = np.zeros((1, 2, 3, 1)), np.array([0.1, 0.2, 0.05, 0.3, 0.01, 0.4]).reshape(1, 2, 3, 1)
    value = losses.build_loss("balanced_bce", positive_share=0.75)(labels, logit(p))
    assert float(value) == pytest.approx(0.05238951, abs=2e-5)
    labels[0, 0, :2] = 1
    expected = -0.75 * np.log(p[0, 0, :2]).mean() - 0.25 * np.log(1 - p[labels == 0]).mean()
    value = losses.build_loss("balanced_bce", positive_share=0.75)(labels, logit(p))
    assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("spec", ["focal(gamma=0.5)", "focal(gamma=0)"])
def test_gradient_of_other_options(spec):
    loss = losses.build_loss(spec, dtype="float64")
    labels, logits = sample("binary", (1, 6))
    _, gradient = value_and_gradient(loss, labels, logits)
    steps = 1e-6 * np.eye(6).reshape(6, 1, 6, 1)
    expected = [float(loss(labels, logits + d) - loss(labels, logits - d)) / 2e-6 for d in steps]
    np.testing.assert_allclose(gradient.ravel(), expected, atol=1e-8)
