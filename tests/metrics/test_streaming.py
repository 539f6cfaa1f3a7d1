"""Streaming metrics against the offline ones on all pixels at once."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from labelled_logits import mirrored

from maskzoo import losses, metrics
from maskzoo.errors import OptionError

# TensorFlow 2.21 reads its variables in a way that NumPy 2.4 warns of whenever a model is saved.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

FROM_COUNTS = {
    "Dice": metrics.dice_from_counts,
    "IoU": metrics.iou_from_counts,
    "Precision": metrics.precision_from_counts,
    "Recall": metrics.recall_from_counts,
}


def sample(task, count=11, shape=(6, 5), seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, *shape, 1 if task == "binary" else 4)).astype("float32")
    labels = rng.integers(0, 4, logits.shape[:-1]) if task == "multiclass" else rng.integers(0, 2, logits.shape)
    labels[rng.random(labels.shape) < 0.2] = 255
    return labels.astype("uint8"), logits


def offline(task, labels, logits, threshold=0.5):
    positive = 1 / (1 + np.exp(-logits.astype("float64"))) >= threshold
    guess = logits.argmax(-1) if task == "multiclass" else positive.astype(int)
    return metrics.confusion_counts(labels, guess, logits.shape[-1], 255, task=task)


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("task", ["binary", "multilabel", "multiclass"])
@pytest.mark.parametrize("name", FROM_COUNTS)
def test_batches_give_the_score_of_all_pixels_together(name, task, batch):
    labels, logits = sample(task)
    metric = getattr(metrics, name)(task=task, num_classes=logits.shape[-1], ignore_index=255, threshold=0.3)
    for start in range(0, len(labels), batch):
        metric.update_state(labels[start : start + batch], logits[start : start + batch])
    expected = FROM_COUNTS[name](offline(task, labels, logits, 0.3))
    np.testing.assert_allclose(metric.per_class(), expected, rtol=1e-6)
    assert float(metric.result()) == pytest.approx(expected[1 if task == "multiclass" else 0 :].mean())
    metric.reset_state()
    metric.update_state(labels[:2], logits[:2])
    np.testing.assert_allclose(metric.per_class(), FROM_COUNTS[name](offline(task, labels[:2], logits[:2], 0.3)))


def test_ignored_pixels_and_padded_samples_do_not_count():
    labels, logits = sample("binary")
    metric, other = metrics.Dice(ignore_index=255), metrics.Dice()
    changed = np.where(labels == 255, 5.0, logits)
    metric.update_state(labels, changed, sample_weight=[1, 0] * 5 + [1])
    other.update_state(np.where(labels == 255, 0, labels)[::2], np.where(labels == 255, -1.0, logits)[::2])
    assert float(metric.result()) == float(other.result())


def test_background_enters_the_mean_only_when_asked():
    labels, logits = sample("multiclass")
    arguments = {"task": "multiclass", "num_classes": 4, "ignore_index": 255}
    scores = metrics.dice_from_counts(offline("multiclass", labels, logits))
    for background, expected in ((False, scores[1:].mean()), (True, scores.mean())):
        metric = metrics.Dice(**arguments, include_background=background)
        metric.update_state(labels[..., None], logits)
        assert float(metric.result()) == pytest.approx(expected)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_classes_that_no_label_shows_enter_the_mean_only_when_asked(task):
    """Class 1 is half right, class 2 absent and never predicted, class 3 absent and predicted."""
    truth, guess = np.array([[1, 1, 0, 0, 0]]), np.array([[1, 0, 0, 0, 3]])
    logits = np.eye(4)[guess] * 8.0 - 4
    labels = truth if task == "multiclass" else np.eye(4)[truth] * [0, 1, 1, 1]
    arguments = {"task": task, "num_classes": 4}
    metric, all_classes = metrics.Dice(**arguments, only_present=True), metrics.Dice(**arguments)
    for each in (metric, all_classes):
        each.update_state(labels, logits)
    assert float(metric.result()) == pytest.approx(2 / 3)
    # The background is predicted, though no label of the multilabel task has it.
    expected = (2 / 3 + 1 + 0) / 3 if task == "multiclass" else (0 + 2 / 3 + 1 + 0) / 4
    assert float(all_classes.result()) == pytest.approx(expected)
    metric.reset_state()
    metric.update_state(labels * 0, np.zeros_like(logits) - 4 + np.array([8, 0, 0, 0]) * (task == "multiclass"))
    assert float(metric.result()) == 0
    assert metrics.Dice.from_config(metric.get_config()).only_present


@pytest.mark.parametrize(
    ("name", "truth", "guess", "expected"),
    [
        *((name, 0, 0, 1) for name in FROM_COUNTS),
        *((name, 1, 0, 0) for name in FROM_COUNTS),
        *((name, 0, 1, 0) for name in FROM_COUNTS),
        *((name, 1, 1, 1) for name in FROM_COUNTS),
    ],
)
def test_empty_on_empty_is_right_and_anything_else_is_wrong(name, truth, guess, expected):
    metric = getattr(metrics, name)()
    metric.update_state(np.full((1, 4, 1), truth), np.full((1, 4, 1), 2.0 * guess - 1))
    assert float(metric.result()) == expected
    counts = metrics.confusion_counts(np.full(4, truth), np.full(4, guess))
    assert FROM_COUNTS[name](counts)[0] == expected


def test_thresholds_may_differ_by_class():
    logits = np.log([[[0.2, 0.2], [0.7, 0.7]]]) - np.log1p([[[-0.2, -0.2], [-0.7, -0.7]]])
    metric = metrics.Recall(task="multilabel", num_classes=2, threshold=[0.1, 0.6])
    metric.update_state(np.ones((1, 2, 2)), logits)
    np.testing.assert_array_equal(metric.per_class(), [1, 0.5])


def test_counts_are_exact_beyond_what_float32_counts():
    metric = metrics.Dice()
    for _ in range(40):
        metric.update_state(np.ones((1, 2**20, 1)), np.ones((1, 2**20, 1)))
    metric.update_state(np.ones((1, 3, 1)), -np.ones((1, 3, 1)))
    for _ in range(5):
        metric.update_state(np.ones((1, 1, 1)), np.ones((1, 1, 1)))
    high, low = keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(metric.counts))
    assert (high.astype(int) * 2**20 + low.astype(int)).tolist() == [[40 * 2**20 + 5, 0, 3]]


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize("replicas", [1, 2])
def test_inside_a_compiled_model_over_replicas_and_after_loading(tmp_path, replicas):
    strategy = mirrored() if replicas == 2 else tf.distribute.get_strategy()
    labels, images = sample("multiclass", count=10)
    with strategy.scope():
        inputs = keras.Input((None, None, 4))
        model = keras.Model(inputs, keras.layers.Conv2D(4, 1, kernel_initializer="glorot_uniform")(inputs))
        arguments = {"task": "multiclass", "num_classes": 4, "ignore_index": 255}
        loss = losses.build_loss("cross_entropy", task="multiclass", ignore_index=255)
        model.compile("sgd", loss, weighted_metrics=[metrics.Dice(**arguments), metrics.IoU(**arguments)])
    counts = offline("multiclass", labels, model.predict(images, verbose=0, batch_size=2))
    weights = np.ones(len(labels))
    padded = np.concatenate([labels, labels[:2]]), np.concatenate([images, images[:2]]), np.append(weights, [0, 0])
    scores = model.evaluate(padded[1], padded[0], 4, sample_weight=padded[2], verbose=0, return_dict=True)
    assert scores["dice"] == pytest.approx(metrics.dice_from_counts(counts)[1:].mean())
    assert scores["iou"] == pytest.approx(metrics.iou_from_counts(counts)[1:].mean())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(images, labels, 3, verbose=0, return_dict=True)["dice"] == pytest.approx(scores["dice"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "multi"}, "task: expected binary, multilabel or multiclass; received 'multi'"),
        (
            {"threshold": 1.0},
            r"threshold: expected a number between 0 and 1; received 1\.0",
        ),
        ({"task": "multilabel", "num_classes": 3, "threshold": [0.1, 0.2]}, "1 or 3 numbers between 0 and 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        metrics.Dice(**arguments)


def test_labels_of_another_shape_are_refused():
    with pytest.raises(
        OptionError, match=r"dice: expected logits with 1 and labels with 1 as the last axis; received shapes \(2, 4"
    ):
        metrics.Dice().update_state(np.zeros((2, 4, 2)), np.zeros((2, 4, 2)))
