"""One training step: the same update from a whole batch, from micro-batches and on two devices; its arithmetic."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from maskzoo import losses
from maskzoo.metrics import Dice
from maskzoo.training import Recipe, optimisation
from maskzoo.training.step import Objective, Trainer, nearest_labels, presence
from maskzoo.training.strategy import open_strategy

rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(8, 6, 6, 2)).astype(np.float32)
MASKS = (rng.random((8, 6, 6, 1)) > 0.7).astype(np.float32)
KERNEL = rng.normal(size=(1, 1, 2, 1)).astype(np.float32)


class OneBatch(keras.utils.PyDataset):
    """A single batch. TensorFlow may write into arrays that it is given, so it is given copies."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return tuple(array.copy() for array in self.arrays)


def logistic_regression():
    """A convolution of one pixel: its gradients can be worked out by hand."""
    inputs = keras.Input((None, None, 2))
    return keras.Model(inputs, keras.layers.Conv2D(1, 1, dtype="float32", name="mask")(inputs))


def logistic_gradients():
    """Gradients of the mean binary cross-entropy of all pixels by kernel and bias."""
    errors = expit(IMAGES @ KERNEL[0, 0]) - MASKS
    return (IMAGES * errors).mean(axis=(0, 1, 2)).reshape(KERNEL.shape), errors.mean().reshape(1)


def fitted(devices="auto", steps=1, accumulate=1, clip_norm=None, factor=None, batch=(IMAGES, MASKS), **options):
    """The trainer after some steps on one batch, from a fixed kernel."""
    recipe = Recipe(**{"optimizer": "sgd", "learning_rate": 1.0, **options})
    with open_strategy(devices).scope():
        model = logistic_regression()
        model.get_layer("mask").set_weights([KERNEL, np.zeros(1)])
        objective = Objective(losses.build_loss("bce"))
        trainer = Trainer(model, objective, [Dice(name="dice")], accumulate=accumulate, clip_norm=clip_norm)
        trainer.compile(
            optimisation.make_optimizer(
                recipe, model.trainable_variables, factor, scale_loss=recipe.mixed_precision == "float16"
            ),
            jit_compile=recipe.xla,
            auto_scale_loss=False,
        )
    trainer.fit(OneBatch(*batch), epochs=steps, verbose=0, shuffle=False)
    return trainer


def weights(trainer):
    return [keras.ops.convert_to_numpy(variable) for variable in trainer.network.trainable_variables]


@pytest.mark.parametrize(
    ("devices", "accumulate", "precision"),
    [("auto", 1, "none"), ("auto", 4, "float16"), ("cpu:2", 1, "float16"), ("cpu:2", 4, "none")],
)
def test_a_clipped_step_equals_that_of_the_whole_batch(devices, accumulate, precision):
    gradients = logistic_gradients()
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    limit = norm / 2
    trainer = fitted(devices, accumulate=accumulate, clip_norm=limit, mixed_precision=precision)
    # Nesterov's first step is 1.9 times the gradient, whose norm is halved here.
    for weight, start, gradient in zip(weights(trainer), (KERNEL, 0), gradients, strict=True):
        np.testing.assert_allclose(weight, start - 1.9 * gradient / 2, rtol=1e-4, atol=1e-6)
    assert float(trainer.get_metrics_result()["loss"]) == pytest.approx(log_loss(), rel=1e-4)


def log_loss():
    scores = IMAGES @ KERNEL[0, 0]
    return float(np.mean(np.logaddexp(0, scores) - MASKS * scores))


@pytest.mark.parametrize(("devices", "clip_norm"), [("auto", 10.0), ("cpu:2", None)])
def test_a_short_gradient_is_not_clipped(devices, clip_norm):
    kernel, bias = weights(fitted(devices, clip_norm=clip_norm))
    np.testing.assert_allclose(kernel, KERNEL - 1.9 * logistic_gradients()[0], rtol=1e-4)
    np.testing.assert_allclose(bias, -1.9 * logistic_gradients()[1], rtol=1e-4)


@pytest.mark.parametrize("devices", ["auto", "cpu:2"])
def test_a_step_that_overflows_on_one_device_is_skipped_on_all(devices):
    images = IMAGES.copy()
    images[-1, 0, 0, 0] = np.inf
    trainer = fitted(devices, clip_norm=1.0, mixed_precision="float16", ema=0.9, batch=(images, MASKS))
    np.testing.assert_array_equal(weights(trainer)[0], KERNEL)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(trainer.optimizer.inner_optimizer.averages[0]), KERNEL)
    assert keras.ops.convert_to_numpy(trainer.optimizer.dynamic_scale) == 2.0**14


@pytest.mark.parametrize("devices", ["auto", "cpu:2"])
def test_adamw_with_a_rate_per_variable_and_averages_by_hand(devices):
    """Three steps of AdamW in NumPy: decay of the kernel only, the bias at a tenth of the rate, averages of both."""
    options = {"optimizer": "adamw", "learning_rate": 0.1, "weight_decay": 0.2, "ema": 0.15}
    trainer = fitted(devices, steps=3, factor=lambda variable: 0.1 if variable.name == "bias" else 1.0, **options)
    values = [KERNEL.astype(float), np.zeros(1)]
    means, squares, averages = ([np.zeros_like(v) for v in values] for _ in range(3))
    averages = [v.copy() for v in values]
    for step in range(3):
        errors = expit(IMAGES @ values[0][0, 0] + values[1]) - MASKS
        gradients = (IMAGES * errors).mean(axis=(0, 1, 2)).reshape(KERNEL.shape), errors.mean().reshape(1)
        for i, (gradient, rate) in enumerate(zip(gradients, (0.1, 0.01), strict=True)):
            means[i] = 0.9 * means[i] + 0.1 * gradient
            squares[i] = 0.999 * squares[i] + 0.001 * gradient**2
            values[i] = values[i] * (1 - rate * 0.2) if i == 0 else values[i]
            mean, square = means[i] / (1 - 0.9 ** (step + 1)), squares[i] / (1 - 0.999 ** (step + 1))
            values[i] = values[i] - rate * mean / (np.sqrt(square) + 1e-7)
            keep = min(0.15, (1 + step) / (10 + step))
            averages[i] = keep * averages[i] + (1 - keep) * values[i]
    for weight, average, value, expected in zip(
        weights(trainer), trainer.optimizer.averages, values, averages, strict=True
    ):
        np.testing.assert_allclose(weight, value, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(average), expected, rtol=1e-4, atol=1e-6)


def test_samples_of_weight_0_do_not_count_in_the_validation():
    trainer = fitted(learning_rate=1e-9)
    padded = [np.concatenate([array, 5 + array[:2]]) for array in (IMAGES, MASKS)]
    scores = trainer.evaluate(OneBatch(*padded, np.array([1.0] * 8 + [0, 0], np.float32)), verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(log_loss(), rel=1e-4)


def test_a_compiled_step_is_the_same():
    np.testing.assert_allclose(weights(fitted(xla=True, accumulate=2))[0], weights(fitted())[0], rtol=1e-5)


def test_labels_are_resized_to_a_coarser_output_by_their_nearest_pixel():
    labels = np.arange(48, dtype=np.float32).reshape(1, 6, 8, 1)
    # The centre of a pixel three wide is its middle one; of two neighbours the later is taken.
    np.testing.assert_array_equal(
        nearest_labels(labels, np.zeros((1, 2, 4, 1), np.float32))[0, ..., 0],
        labels[0, [1, 4]][:, [1, 3, 5, 7], 0],
    )
    assert nearest_labels(labels, np.zeros((1, 6, 8, 3), np.float32)) is labels


def test_presence_of_classes_in_a_window():
    masks = np.zeros((3, 2, 2, 2), np.float32)
    masks[0, 0, 1, 1], masks[1, 1, 1, 0], masks[2] = 1, 255, 255
    np.testing.assert_array_equal(presence(masks, "multilabel", 2, 255), [[0, 1], [0, 0], [0, 0]])
    classes = np.array([[[0, 2]], [[0, 0]], [[255, 1]]], np.uint8)
    np.testing.assert_array_equal(presence(classes, "multiclass", 3, 255), [[0, 1, 0], [0, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(presence(classes[..., None], "multiclass", 3), [[0, 1, 0], [0, 0, 0], [1, 0, 0]])


def test_the_objective_weighs_every_output():
    """Logits of 0 cost log 2 each, whatever the labels."""
    outputs = {
        "mask": np.zeros((2, 6, 6, 1), np.float32),
        "aux1": np.zeros((2, 3, 3, 1), np.float32),
        "aux2": np.zeros((2, 2, 2, 1), np.float32),
        "label": np.zeros((2, 1), np.float32),
    }
    objective = Objective(losses.build_loss("bce"), {"mask": 2.0, "aux2": 0.25}, label_weight=3.0)
    values = objective(MASKS[:2], outputs)
    np.testing.assert_allclose(values, [(2 + 0.5 + 0.25 + 3) * math.log(2)] * 2, rtol=1e-5)


def test_gradients_of_micro_batches_are_computed_one_after_the_other():
    """Each forward pass but the first depends on the gradients before it, so that one is in memory at a time."""
    trainer = fitted(accumulate=3, batch=(IMAGES[:6], MASKS[:6]))
    graph = tf.function(trainer.train_step).get_concrete_function((IMAGES[:6], MASKS[:6])).graph
    waiting = [op for op in graph.get_operations() if op.type == "Identity" and op.control_inputs]
    assert len(waiting) >= 2 * 2
