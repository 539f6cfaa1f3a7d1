"""Labels, class weights and ignored pixels of any task."""

import keras
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
            {"class_weights": [1, 2], "task": "multilabel"},
            (2, 4, 3),
            (2, 4, 3),
            "expected one number per class, here 3; received 2",
        ),
        ("focal", {"task": "multiclass", "alpha": 0.2}, (2, 4), (2, 4, 3), "focal without alpha for task multiclass"),
        ("lovasz", {"task": "multiclass", "symmetric": True}, (2, 4), (2, 4, 3), "symmetric of lovasz to be False"),
        ("lovasz", {"task": "multiclass", "classes": "some"}, (2, 4), (2, 4, 3), "'present' or 'all'"),
    ],
)
def test_labels_and_options_that_do_not_fit_are_refused(spec, options, labels, logits, message):
    with pytest.raises(OptionError, match=message):
        losses.build_loss(spec, **options)(np.zeros(labels), np.zeros(logits))


@pytest.mark.parametrize(("task", "weights"), [("binary", [5]), ("binary", [1, 5]), ("multilabel", [2.0])])
def test_the_weight_of_a_single_class_is_refused(task, weights):
    with pytest.raises(
        OptionError, match=r"^class_weights: expected none .*weighted_bce\(positive_weight=0.9\).*received"
    ):
        losses.build_loss("bce+dice", task=task, class_weights=weights)


@pytest.mark.parametrize(
    ("task", "values", "ignore", "message"),
    [
        ("binary", [0, 255], None, "values from 0 to 1 for a binary task; received values from 0 to 255"),
        ("binary", [0, 2], 255, "values from 0 to 1 for a binary task, or 255 where a pixel does not count; received"),
        ("multilabel", [-1, 1], None, "received values from -1 to 1"),
        ("multiclass", [0, 3], 255, "class numbers from 0 to 2 for a multiclass task, or 255"),
        ("binary", [0, np.nan], None, "received values from nan to nan"),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, keras.ops.convert_to_tensor])
def test_labels_that_no_class_has_are_refused(task, values, ignore, message, kind):
    channels = 3 if task == "multiclass" else 1
    loss = losses.build_loss("dice", task=task, ignore_index=ignore)
    labels = np.array(values, np.float32).reshape(1, 1, 2, 1)
    with pytest.raises(OptionError, match=f"^labels: expected .*{message}"):
        loss(kind(labels), np.zeros((1, 1, 2, channels), np.float32))


def test_soft_and_ignored_labels_pass():
    labels = np.array([0, 0.25, 1, 255], np.float32).reshape(1, 1, 4, 1)
    assert np.isfinite(float(losses.build_loss("bce", ignore_index=255)(labels, np.zeros((1, 1, 4, 1), np.float32))))


def test_labels_in_a_graph_are_not_looked_at():
    loss = losses.build_loss("dice")
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Conv2D(1, 1)])
    model.compile("sgd", loss)
    assert np.isfinite(model.evaluate(np.zeros((1, 2, 2, 1)), np.full((1, 2, 2, 1), 255.0), verbose=0))
