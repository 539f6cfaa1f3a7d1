"""Losses of regions against published values, reference implementations and hand calculation."""

import numpy as np
import pytest
from labelled_logits import logit, sample, value_and_gradient

from maskzoo import losses

# Labels and probabilities of the published values: six pixels.
Y = np.array([1.0, 0, 0, 1, 0, 0]).reshape(1, 2, 3, 1)
P = np.array([0.85, 0.2, 0.35, 0.4, 0.1, 0.7]).reshape(1, 2, 3, 1)
EMPTY_Y = np.zeros_like(Y)
EMPTY_P = np.array([0.1, 0.2, 0.05, 0.3, 0.01, 0.4]).reshape(1, 2, 3, 1)


@pytest.mark.parametrize(
    ("spec", "options", "labels", "p", "expected"),
    [
        # Taghanaki 2019, by its equation, and not the widely copied snippet with weights (alpha, alpha * (1 - alpha)).
        ("combo", {"alpha": 0.5, "beta": 0.5}, Y, P, -0.18574711),
        ("combo", {"alpha": 0.5, "beta": 0.8}, Y, P, -0.20785836),
        ("combo", {"alpha": 0.5, "beta": 0.8}, EMPTY_Y, EMPTY_P, -0.22176264),
        # MONAI 1.6.1 with squared_pred=True.
        ("dice", {"smooth": 0, "squared": True}, Y, P, 0.29478055),
        # VS_Seg with lambda 0: plain Dice of foreground and background.
        ("hardness_dice", {"hardness": 0.0}, Y, P, 0.37015207),
        ("hardness_dice", {"hardness": 0.0}, EMPTY_Y, EMPTY_P, 0.54844131),
        ("tversky", {"alpha": 0.7, "beta": 0.3, "smooth": 0}, Y, P, 0.48347107),
        # segmentation_models_pytorch zeroes its Dice where the target is empty.
        ("nonempty(dice)", {"smooth": 0}, Y, P, 0.45652174),
        ("nonempty(dice)", {"smooth": 0}, EMPTY_Y, EMPTY_P, 0.0),
    ],
)
def test_values_of_papers(spec, options, labels, p, expected):
    assert float(losses.build_loss(spec, **options)(labels, logit(p))) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("classes", "labels", "p", "expected"),
    [
        ("present", Y, P, 0.44958333),
        ("all", Y, P, 0.44958333),
        ("present", EMPTY_Y, EMPTY_P, 0.17666667),
        ("all", EMPTY_Y, EMPTY_P, 0.28833333),
    ],
)
def test_lovasz_softmax_of_the_authors(classes, labels, p, expected):
    loss = losses.build_loss("lovasz", task="multiclass", classes=classes)
    assert float(loss(labels, np.log(np.concatenate([1 - p, p], -1)))) == pytest.approx(expected, abs=1e-6)


def test_lovasz_is_the_lovasz_extension_of_the_jaccard_distance():
    labels, logits = sample("binary", (3, 5, 7), seed=4)
    expected = []
    for y, x in zip(labels.reshape(3, -1), logits.reshape(3, -1), strict=True):
        errors = np.maximum(1 - x * (2 * y - 1), 0)
        wrong, before, total = np.zeros(y.size, bool), 0.0, 0.0
        for i in np.argsort(-errors):
            wrong[i] = True
            prediction = (y > 0) ^ wrong
            after = 1 - (prediction & (y > 0)).sum() / (prediction | (y > 0)).sum()
            total += errors[i] * (after - before)
            before = after
        expected.append(total)
    np.testing.assert_allclose(losses.build_loss("lovasz").call(labels, logits), expected, rtol=1e-6)


@pytest.mark.parametrize("spec", ["focal_tversky(gamma=2)", "lovasz(symmetric=True)"])
def test_gradient_of_other_options(spec):
    loss = losses.build_loss(spec, dtype="float64")
    labels, logits = sample("binary", (1, 6))
    _, gradient = value_and_gradient(loss, labels, logits)
    steps = 1e-6 * np.eye(6).reshape(6, 1, 6, 1)
    expected = [float(loss(labels, logits + d) - loss(labels, logits - d)) / 2e-6 for d in steps]
    np.testing.assert_allclose(gradient.ravel(), expected, atol=1e-8)


@pytest.mark.parametrize("name", ["bce", "dice", "jaccard", "tversky", "focal", "lovasz", "hardness_dice"])
def test_a_volume_is_its_pixels(name):
    labels, logits = sample("multilabel", (2, 3, 4, 5))
    loss = losses.build_loss(name, task="multilabel")
    flat = loss(labels.reshape(2, 60, 3), logits.reshape(2, 60, 3))
    assert float(loss(labels, logits)) == pytest.approx(float(flat), rel=1e-6)
