"""Losses against published values, hand calculation, finite differences and the properties that a loss must have."""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from maskzoo import losses

# TensorFlow 2.21 reads its variables in a way that NumPy 2.4 warns of whenever a model is saved.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

HERE = Path(__file__).resolve().parents[1] / "contracts"
ROWS = json.loads((HERE / "losses.json").read_text())


def _cases():
    for name, task in itertools.product(losses.list_losses(), ("binary", "multilabel", "multiclass")):
        try:
            losses.build_loss(name, task=task)
        except ValueError:
            continue
        yield name, task


CASES = list(_cases())
BATCH_LOSSES = {"balanced_bce"}
BATCH_OPTION = {"dice", "jaccard", "tversky", "focal_tversky", "border_dice"}
each_loss = pytest.mark.parametrize(("name", "task"), CASES)

# Labels A and probabilities A of the published values: six pixels.
Y = np.array([1.0, 0, 0, 1, 0, 0]).reshape(1, 2, 3, 1)
P = np.array([0.85, 0.2, 0.35, 0.4, 0.1, 0.7]).reshape(1, 2, 3, 1)
EMPTY_Y = np.zeros_like(Y)
EMPTY_P = np.array([0.1, 0.2, 0.05, 0.3, 0.01, 0.4]).reshape(1, 2, 3, 1)


def logit(p):
    return np.log(p / (1 - p))


def sample(task, shape, seed=0, classes=3):
    """Random labels and logits of a task; shape is `(batch, *spatial)`."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(*shape, 1 if task == "binary" else classes))
    labels = rng.integers(0, classes, shape) if task == "multiclass" else rng.integers(0, 2, logits.shape)
    return labels.astype("float64"), logits


def value_and_gradient(loss, labels, logits):
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(labels, logits)
    return float(value), tf.cast(tape.gradient(value, logits), "float64").numpy()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["loss"])
def test_values_of_reference_implementations(row):
    p = np.array(row["probability"])
    logits = np.log(p) if row["options"].get("task") == "multiclass" else logit(p)
    value = losses.build_loss(row["loss"], **row["options"])(np.array(row["y_true"]), logits)
    assert float(value) == pytest.approx(row["expected"], abs=row["tolerance"])


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
        ("balanced_bce", {"positive_share": 0.75}, EMPTY_Y, EMPTY_P, 0.05238951),
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


@each_loss
def test_gradient_equals_finite_differences(name, task):
    weights = None if task == "binary" else [1, 2, 0.5]
    loss = losses.build_loss(name, task=task, dtype="float64", ignore_index=255, class_weights=weights)
    labels, logits = sample(task, (2, 2, 3))
    labels[0, 0, :1] = 255
    _, gradient = value_and_gradient(loss, labels, logits)
    expected, step = np.zeros_like(logits), 1e-6
    for i in np.ndindex(logits.shape):
        for sign in (1, -1):
            moved = logits.copy()
            moved[i] += sign * step
            expected[i] += sign * float(loss(labels, moved)) / (2 * step)
    np.testing.assert_allclose(gradient, expected, atol=1e-8)


@pytest.mark.parametrize(
    "spec", ["focal(gamma=0.5)", "focal(gamma=0)", "focal_tversky(gamma=2)", "lovasz(symmetric=True)"]
)
def test_gradient_of_other_options(spec):
    loss = losses.build_loss(spec, dtype="float64")
    labels, logits = sample("binary", (1, 6))
    _, gradient = value_and_gradient(loss, labels, logits)
    steps = 1e-6 * np.eye(6).reshape(6, 1, 6, 1)
    expected = [float(loss(labels, logits + d) - loss(labels, logits - d)) / 2e-6 for d in steps]
    np.testing.assert_allclose(gradient.ravel(), expected, atol=1e-8)


@each_loss
def test_finite_at_any_logit_and_mask(name, task):
    loss = losses.build_loss(name, task=task)
    for fill, dtype in itertools.product((0, 1, None), ("float32", "float16", "bfloat16")):
        labels, logits = sample(task, (2, 4, 4))
        logits = np.sign(logits) * np.resize([0, 1, 40, 1e4, 6e4, np.inf], logits.shape)
        if fill is not None:
            labels = np.full_like(labels, fill)
        value, gradient = value_and_gradient(loss, labels, tf.cast(np.nan_to_num(logits, posinf=np.inf), dtype))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    labels, logits = sample(task, (1, 1, 1))
    value, gradient = value_and_gradient(loss, labels, logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@each_loss
def test_perfect_and_empty_predictions_reach_the_minimum(name, task):
    minimum = {"combo": -0.5}.get(name, 0)
    options = {"smooth": 0.0} if name in BATCH_OPTION else {}
    loss = losses.build_loss(name, task=task, **options)
    for labels in (sample(task, (2, 6, 6))[0], np.zeros_like(sample(task, (2, 6, 6))[0])):
        hot = np.eye(3)[labels.astype(int)] if task == "multiclass" else labels
        assert float(loss(labels, 2e4 * hot - 1e4)) == pytest.approx(minimum, abs=1e-5)


@each_loss
def test_training_on_one_image_reaches_the_minimum(name, task):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (1, 3, 3)) if task == "multiclass" else rng.integers(0, 2, (1, 3, 3, 3))
    labels = labels.repeat(4, 1).repeat(4, 2)
    image = np.eye(3)[labels] if task == "multiclass" else 2.0 * labels - 1
    if task == "binary":
        labels = labels[..., :1]
    keras.utils.set_random_seed(0)
    model = keras.layers.Conv2D(1 if task == "binary" else 3, 1)
    model.build(image.shape)
    if name == "border_dice":
        # A mask and its complement have the same border: from a start that knows the inside a little.
        model.kernel.assign(0.3 * np.eye(3)[None, None, :, : labels.shape[-1] if task == "binary" else 3])
    loss, optimizer = losses.build_loss(name, task=task), keras.optimizers.Adam(0.3)
    optimizer.build(model.trainable_variables)

    @tf.function
    def train():
        for _ in tf.range(300):
            with tf.GradientTape() as tape:
                value = loss(labels, model(image))
            optimizer.apply(tape.gradient(value, model.trainable_variables))
        return loss(labels, model(image))

    minimum = {"combo": -0.5}.get(name, 0)
    first, last = float(loss(labels, model(image))), float(train())
    assert last - minimum < 0.03 * (first - minimum) + 0.005


@each_loss
def test_ignored_pixels_are_as_if_they_were_not_there(name, task):
    loss = losses.build_loss(name, task=task, ignore_index=255, dtype="float64", class_weights=None)
    labels, logits = sample(task, (3, 4, 5))
    ignored = np.random.default_rng(9).random((3, 4, 5)) < 0.3
    labels[ignored] = 255
    changed = np.where(ignored[..., None], sample(task, (3, 4, 5), seed=7)[1], logits)
    value, gradient = value_and_gradient(loss, labels, logits)
    other_value, other_gradient = value_and_gradient(loss, labels, changed)
    assert value == other_value
    np.testing.assert_array_equal(gradient, other_gradient)
    assert not gradient[ignored].any()
    if name not in {"border_dice", *BATCH_LOSSES}:
        kept = [float(loss(y[None, ~i], x[None, ~i])) for y, x, i in zip(labels, logits, ignored, strict=True)]
        assert value == pytest.approx(np.mean(kept))
    labels[1] = 255
    value, gradient = value_and_gradient(loss, labels, logits)
    assert loss.call(labels, logits).shape == (3,)
    if name not in BATCH_LOSSES:
        assert float(loss.call(labels, logits)[1]) == 0
    assert not gradient[1].any()
    assert np.isfinite(gradient).all()


@each_loss
def test_splitting_a_batch_changes_nothing(name, task):
    labels, logits = sample(task, (8, 4, 4))
    labels[2] = 0
    specs = [(name, {}, name not in BATCH_LOSSES)]
    if name in BATCH_OPTION:
        specs.append((name, {"batch": True}, False))
    if name in BATCH_LOSSES:
        specs.append((name, {"batch": False}, True))
    for spec, options, per_sample in specs:
        loss = losses.build_loss(spec, task=task, dtype="float64", **options)
        whole, gradient = value_and_gradient(loss, labels, logits)
        same = []
        for parts in (2, 8):
            pairs = zip(np.split(labels, parts), np.split(logits, parts), strict=True)
            values, gradients = zip(*(value_and_gradient(loss, y, x) for y, x in pairs), strict=True)
            same.append(np.isclose(np.mean(values), whole, rtol=1e-9))
            same.append(np.allclose(np.concatenate(gradients) / parts, gradient, rtol=1e-9))
        assert all(same) if per_sample else not any(same)


def test_losses_over_the_batch_say_so():
    for name in BATCH_LOSSES | BATCH_OPTION:
        assert "whole batch" in losses.registry.find_loss(name, "binary").__doc__


@pytest.mark.parametrize("name", ["bce", "dice", "jaccard", "tversky", "focal", "lovasz", "hardness_dice"])
def test_a_volume_is_its_pixels(name):
    labels, logits = sample("multilabel", (2, 3, 4, 5))
    loss = losses.build_loss(name, task="multilabel")
    flat = loss(labels.reshape(2, 60, 3), logits.reshape(2, 60, 3))
    assert float(loss(labels, logits)) == pytest.approx(float(flat), rel=1e-6)


@pytest.mark.parametrize("width", [3, 5])
def test_border_in_three_dimensions(width):
    labels, logits = sample("binary", (1, 5, 6, 7))
    y, p = labels[0, ..., 0], 1 / (1 + np.exp(-logits[0, ..., 0]))

    def border(x):
        return ndimage.maximum_filter(x, width, mode="nearest") * ndimage.maximum_filter(1 - x, width, mode="nearest")

    b, c = border(y), border(p)
    expected = 1 - (2 * (b * c).sum() + 1) / ((b**2).sum() + (c**2).sum() + 1)
    assert float(losses.build_loss("border_dice", width=width)(labels, logits)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="width an odd number from 3; received 4"):
        losses.build_loss("border_dice", width=4)(labels, logits)


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


@each_loss
def test_nonempty_scores_only_samples_with_foreground(name, task):
    labels, logits = sample(task, (4, 3, 3))
    labels[1:3] = 0
    plain, filtered = losses.build_loss(name, task=task), losses.build_loss(f"nonempty(2*{name})", task=task)
    values = filtered.call(labels, logits).numpy()
    if name in BATCH_LOSSES:
        assert values[0] == pytest.approx(2 * float(plain(labels[[0, 3]], logits[[0, 3]])), rel=1e-5)
    else:
        expected = 2 * plain.call(labels, logits).numpy()
        np.testing.assert_allclose(values, expected * [1, 0, 0, 1], rtol=1e-6, atol=0)


def test_sums_weigh_their_terms():
    labels, logits = sample("binary", (2, 4, 4))
    bce, dice, focal = (float(losses.build_loss(s)(labels, logits)) for s in ("bce", "dice", "focal(gamma=3)"))
    for spec, expected in {
        "bce+dice": bce + dice,
        "0.5*bce + 0.25*dice": 0.5 * bce + 0.25 * dice,
        "focal(gamma=3)+bce+dice": focal + bce + dice,
        " 2*(bce+0.1*dice)": 2 * bce + 0.2 * dice,
    }.items():
        assert float(losses.build_loss(spec)(labels, logits)) == pytest.approx(expected, rel=1e-6)
    assert float(losses.build_loss("focal+bce+dice", gamma=3)(labels, logits)) == pytest.approx(focal + bce + dice)
    assert losses.build_loss("2*bce+nonempty(dice(smooth=0))").terms == ["bce", "nonempty(dice(smooth=0))"]


def test_samples_are_weighed():
    labels, logits = sample("binary", (4, 3, 3))
    loss = losses.build_loss("bce+dice")
    value = loss(labels, logits, sample_weight=np.array([1, 0, 2, 0]))
    expected = float(loss(labels[:1], logits[:1])) + 2 * float(loss(labels[2:3], logits[2:3]))
    assert float(value) == pytest.approx(expected / 4, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spec": "dicee"}, r"did you mean 'dice'\?"),
        ({"spec": "dicee"}, "tversky"),
        ({"spec": "bce+dice", "smoth": 1}, r"received option 'smoth' \(did you mean 'smooth'\?\)"),
        ({"spec": "dice(gamma=1)"}, "batch, smooth, squared; received option 'gamma'"),
        ({"spec": "dice", "smooth": "1e-5"}, "loss dice: expected smooth like 1.0; received '1e-5'"),
        ({"spec": "dice(squared=1)"}, "loss dice: expected squared like False; received 1"),
        ({"spec": "dice(smooth=True)"}, "loss dice: expected smooth like 1.0; received True"),
        ({"spec": "bce(1)"}, "expected names and weighted sums"),
        ({"spec": "bce-dice"}, "expected names and weighted sums"),
        ({"spec": "bce+"}, "expected names and weighted sums"),
        ({"spec": ""}, "expected names and weighted sums"),
        ({"spec": None}, "expected names and weighted sums"),
        ({"spec": "dice(smooth=x)"}, "expected names and weighted sums"),
        ({"spec": "bce+bce"}, "each term once"),
        ({"spec": "bce", "task": "multiclass"}, "loss bce: expected task binary or multilabel; received 'multiclass'"),
        ({"spec": "cross_entropy"}, "loss cross_entropy: expected task multiclass; received 'binary'"),
        ({"spec": "bce", "task": "multiclas"}, r"did you mean 'multiclass'\?"),
        ({"spec": "bce", "class_weights": [0, 0]}, "expected numbers >= 0, not all 0"),
        ({"spec": "bce", "class_weights": [-1, 2]}, "expected numbers >= 0, not all 0"),
    ],
)
def test_wrong_names_and_options_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        losses.build_loss(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "options", "labels", "logits", "message"),
    [
        ("bce", {}, (2, 4, 4, 1), (2, 4, 5, 1), r"expected shape \(2, 4, 5, 1\) for binary logits"),
        ("dice", {"task": "multiclass"}, (2, 4, 4, 3), (2, 4, 4, 3), r"labels: expected shape \(2, 4, 4, 1\)"),
        ("dice", {"class_weights": [1, 2]}, (2, 4, 1), (2, 4, 1), "class_weights: expected 1 values"),
        ("focal", {"task": "multiclass", "alpha": 0.2}, (2, 4), (2, 4, 3), "expected alpha None"),
        ("lovasz", {"task": "multiclass", "symmetric": True}, (2, 4), (2, 4, 3), "expected symmetric False"),
        ("lovasz", {"task": "multiclass", "classes": "some"}, (2, 4), (2, 4, 3), "'present' or 'all'"),
    ],
)
def test_labels_and_options_that_do_not_fit_are_refused(spec, options, labels, logits, message):
    with pytest.raises(ValueError, match=message):
        losses.build_loss(spec, **options)(np.zeros(labels), np.zeros(logits))


# Reduces without collectives, whose keys would collide with those of another strategy in the same process.
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())


def tiny_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 1))
    return keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))


def image_and_labels(batch=8):
    image = np.random.default_rng(0).normal(size=(batch, 8, 8, 1)).astype("float32")
    return image, (image > 0).astype("uint8")


@pytest.mark.parametrize("spec", ["0.5*bce+dice+lovasz", "nonempty(focal_tversky)"])
def test_replicas_and_micro_batches_take_the_step_of_the_whole_batch(spec):
    image, labels = image_and_labels()
    steps = []
    for strategy in (tf.distribute.get_strategy(), STRATEGY):
        with strategy.scope():
            model = tiny_model()
            model.compile(keras.optimizers.SGD(0.1), losses.build_loss(spec))
        history = model.fit(image, labels, batch_size=8, verbose=0, shuffle=False)
        steps.append((history.history["loss"][0], *model.get_weights()))
    for one, two in zip(*steps, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


def test_a_schedule_moves_the_weights_of_a_compiled_loss():
    points = {"bce": [[0, 1.0], [2, 1.0], [4, 0.0]], "nonempty(dice)": [[1, 0.0], [2, 1.0]]}
    expected = {"weight_bce": [1, 1, 1, 0.5, 0], "weight_nonempty(dice)": [0, 0, 1, 1, 1]}
    image, labels = image_and_labels()
    for strategy in (tf.distribute.get_strategy(), STRATEGY):
        with strategy.scope():
            model, loss = tiny_model(), losses.build_loss("bce+nonempty(dice)")
            model.compile(keras.optimizers.SGD(0.0), loss)
        logs = model.fit(
            image, labels, epochs=5, verbose=0, shuffle=False, callbacks=[losses.WeightSchedule(loss, points)]
        ).history
        assert {name: logs[name] for name in expected} == expected
        bce, dice = logs["loss"][0], logs["loss"][4]
        np.testing.assert_allclose(logs["loss"], [bce, bce, bce + dice, bce / 2 + dice, dice], rtol=1e-5)
    loss = losses.build_loss("bce+nonempty(dice)")
    resumed = losses.WeightSchedule(loss, points)
    resumed.on_epoch_begin(3)
    assert [float(weight) for weight in loss.weights] == [0.5, 1]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"bse": [[0, 1]]}, r"one of the terms bce, dice; received 'bse' \(did you mean 'bce'\?\)"),
        ({"bce": []}, "schedule of bce: expected ascending pairs"),
        ({"bce": [[1, 1], [1, 2]]}, "expected ascending pairs"),
        ({"bce": [0, 1]}, "expected ascending pairs"),
        ({"bce": [[0, "x"]]}, "expected ascending pairs"),
        ({"bce": [[0, float("nan")]]}, "expected ascending pairs"),
    ],
)
def test_bad_schedules_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        losses.WeightSchedule(losses.build_loss("bce+dice"), points)


def test_deep_supervision_weighs_each_output(tmp_path):
    inputs = keras.Input((8, 8, 1))
    heads = {name: keras.layers.Conv2D(1, 1, name=name)(inputs) for name in ("mask", "aux2")}
    label = keras.layers.GlobalMaxPooling2D(name="label")(heads["mask"])
    model = keras.Model(inputs, {**heads, "label": label})
    image, mask = image_and_labels(4)
    labels = {"mask": mask, "aux2": mask, "label": mask.max((1, 2))}
    parts = {"mask": losses.build_loss("bce+dice"), "aux2": losses.build_loss("bce"), "label": losses.build_loss("bce")}
    outputs = model(image)
    expected = sum(
        w * float(parts[k](labels[k], outputs[k])) for k, w in {"mask": 1, "aux2": 0.4, "label": 0.1}.items()
    )
    model.compile("sgd", parts, loss_weights={"mask": 1.0, "aux2": 0.4, "label": 0.1})
    assert model.evaluate(image, labels, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)
    specs = {"mask": "bce+dice", "aux2": "0.4*(bce)", "label": "0.1*bce"}
    model.compile("sgd", {name: losses.build_loss(spec) for name, spec in specs.items()})
    assert model.evaluate(image, labels, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(image, labels, verbose=0, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_loaded_model_has_the_same_loss(tmp_path):
    image, labels = image_and_labels(2)
    labels[:, 0] = 255
    model = tiny_model()
    model.compile("sgd", losses.build_loss("bce+2*dice", ignore_index=255, class_weights=[3], smooth=0.5, squared=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(image, labels, verbose=0) == pytest.approx(model.evaluate(image, labels, verbose=0))
    assert loaded.loss.get_config() == model.loss.get_config()


BACKENDS = ["tensorflow", *(name for name in ("jax", "torch") if importlib.util.find_spec(name))]


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_backends_give_the_same(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [sys.executable, HERE / "check_backend.py"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert backend in done.stdout
