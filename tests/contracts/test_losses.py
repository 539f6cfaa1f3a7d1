"""What every registered loss must do, for every task that it is for."""

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from labelled_logits import sample, value_and_gradient

from maskzoo import losses
from maskzoo.losses import registry

HERE = Path(__file__).parent
CASES = [(name, task) for name in losses.list_losses() for task in registry.LOSSES[name].tasks]
each_loss = pytest.mark.parametrize(("name", "task"), CASES)

BATCH_LOSSES = {"balanced_bce"}
BATCH_OPTION = {"dice", "jaccard", "tversky", "focal_tversky", "border_dice"}
BACKENDS = ["tensorflow", *(name for name in ("jax", "torch") if importlib.util.find_spec(name))]


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


@pytest.mark.parametrize("name", [name for name, task in CASES if task == "multilabel"])
def test_a_class_that_is_unknown_in_an_image_has_no_gradient_there(name):
    """Its labels are 255 everywhere; the other classes count as if it were not there."""
    loss = losses.build_loss(name, task="multilabel", ignore_index=255, dtype="float64", class_weights=None)
    labels, logits = sample("multilabel", (2, 4, 5))
    labels[0, ..., 1] = 255
    changed = logits.copy()
    changed[0, ..., 1] = 7
    value, gradient = value_and_gradient(loss, labels, logits)
    assert value == value_and_gradient(loss, labels, changed)[0]
    assert not gradient[0, ..., 1].any()
    assert gradient[0, ..., 0].any()


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
        assert "whole batch" in registry.LOSSES[name].function.__doc__


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


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_other_backends_give_the_same(backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        [sys.executable, HERE / "check_backend.py"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert backend in done.stdout
