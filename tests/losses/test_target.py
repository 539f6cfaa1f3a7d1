"""Labels, class weights and ignored pixels of any task."""

import numpy as np
import pytest
from labelled_logits import logit, sample

from maskzoo import losses
from maskzoo.errors import OptionError

# Labels and probabilities of the published values: six pixels.
Y = np.array([1.0, 0, 0, 1, 0, 0]).reshape(1, 2, 3, 1)
P = np.array([0.85, 0.2, 0.35, 0.4, 0.1, 0.7]).reshape(1, 2, 3, 1)


def test_labels_of_an_image_need_no_spatial_axes():
    x = np.array([[0.3, -1.0], [2.0, 0.1]])
    y = np.array([[1, 0], [1, 1]])
    expected = np.mean(np.log1p(np.exp(-x)) * y + np.log1p(np.exp(x)) * (1 - y))
    assert float(losses.build_loss("bce", task="multilabel")(y, x)) == pytest.approx(expected, rel=1e-6)
    expected = -np.mean(np.log([np.exp(0.3) / (np.exp(0.3) + np.exp(-1)), np.exp(0.1) / (np.exp(2.0) + np.exp(0.1))]))
    assert float(losses.build_loss("cross_entropy", task="multiclass")([0, 1], x)) == pytest.approx(expected, rel=1e-6)


def test_class_weights_average_classes_and_pixels():
    labels = np.stack([Y[..., 0], np.ones_like(Y[..., 0])], -1)
    p = np.stack([P[..., 0], np.array([0.9, 0.8, 0.95, 0.7, 0.99, 0.6]).reshape(1, 2, 3)], -1)
    options = {"task": "multilabel", "smooth": 0.0}
    # MONAI per channel: 0.45652075 and 0.09689205, averaged by 1 and 3.
    for weights in ([1, 3], [10, 30]):
        value = losses.build_loss("dice", class_weights=weights, **options)(labels, logit(p))
        assert float(value) == pytest.approx(0.18679922, abs=1e-5)
    only = losses.build_loss("bce", task="multilabel", class_weights=[1, 0])(labels, logit(p))
    assert float(only) == pytest.approx(0.50701157, abs=1e-6)
    # Two pixels of classes 0 and 2 whose true class has probability 1/2 and 1/4: (1 log 2 + 3 log 4) / (1 + 3).
    logits = np.log([[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]])
    value = losses.build_loss("cross_entropy", task="multiclass", class_weights=[1, 5, 3])([[0, 2]], logits)
    assert float(value) == pytest.approx((np.log(2) + 3 * np.log(4)) / 4, rel=1e-6)


def test_a_class_that_is_ignored_in_a_sample_does_not_enter_its_mean():
    labels, logits = sample("multilabel", (1, 4, 4), classes=2)
    labels[..., 1] = 255
    loss = losses.build_loss("dice", task="multilabel", ignore_index=255)
    alone = losses.build_loss("dice")(labels[..., :1], logits[..., :1])
    assert float(loss(labels, logits)) == pytest.approx(float(alone), rel=1e-6)


@pytest.mark.parametrize(
    ("spec", "options", "labels", "logits", "message"),
    [
        ("bce", {}, (2, 4, 4, 1), (2, 4, 5, 1), r"expected shape \(2, 4, 5, 1\) for binary logits"),
        ("dice", {"task": "multiclass"}, (2, 4, 4, 3), (2, 4, 4, 3), r"labels: expected shape \(2, 4, 4, 1\)"),
        (
            "dice",
            {"class_weights": [1, 2]},
            (2, 4, 1),
            (2, 4, 1),
            "expected one number per class, here 1; received 2",
        ),
        ("focal", {"task": "multiclass", "alpha": 0.2}, (2, 4), (2, 4, 3), "focal without alpha for task multiclass"),
        ("lovasz", {"task": "multiclass", "symmetric": True}, (2, 4), (2, 4, 3), "symmetric of lovasz to be False"),
        ("lovasz", {"task": "multiclass", "classes": "some"}, (2, 4), (2, 4, 3), "'present' or 'all'"),
    ],
)
def test_labels_and_options_that_do_not_fit_are_refused(spec, options, labels, logits, message):
    with pytest.raises(OptionError, match=message):
        losses.build_loss(spec, **options)(np.zeros(labels), np.zeros(logits))
