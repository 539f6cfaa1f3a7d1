"""Learning rates by step, plateaus and early stopping: numbers worked out by hand."""

import keras
import numpy as np
import pytest

from maskzoo.training import OptimizerOptions, Recipe, optimisation


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("cosine", 0, 0.1),
        ("cosine", 5, 0.55),
        ("cosine", 10, 1.0),
        ("cosine", 55, 0.5),
        ("cosine", 100, 0.0),
        ("constant", 99, 1.0),
        ("plateau", 99, 0.25),
        ("one_cycle", 0, 0.04),
        ("one_cycle", 5, 0.52),
        ("one_cycle", 10, 1.0),
        ("one_cycle", 100, 1e-4),
    ],
)
def test_the_learning_rate_by_step(schedule, step, expected):
    options = OptimizerOptions(schedule=schedule, learning_rate=1.0, warm_up=10)
    assert optimisation.learning_rate(options, step, 100, plateaus=2) == pytest.approx(expected, abs=1e-9)


def test_a_training_of_one_step_has_a_rate():
    for schedule in ("cosine", "constant", "plateau", "one_cycle"):
        assert optimisation.learning_rate(Recipe(schedule=schedule, learning_rate=1.0), 0, 1) > 0


@pytest.mark.parametrize(
    ("scores", "expected"), [([], 0), ([1, 2, 3], 0), ([3, 2, 2], 1), ([3, 2, 2, 2, 2], 2), ([1, 1, 2, 1, 1, 5], 1)]
)
def test_a_plateau_is_counted_each_time_that_patience_ends(scores, expected):
    assert optimisation.count_plateaus(scores, 2) == expected


@pytest.mark.parametrize(
    ("scores", "minimum", "expected"),
    [
        ([3, 2, 1], 0, True),
        ([3, 2, 1], 4, False),
        ([3, 2], 0, False),
        ([3, 2, 4], 0, False),
        ([1] * 9, 20, True),
        ([9, 1, 2, 1], 3, False),
        ([9, 1, 2, 1, 1], 3, True),
    ],
)
def test_a_training_stops_early_only_after_its_minimum_number_of_epochs(scores, minimum, expected):
    assert optimisation.is_over(scores, 9, patience=2, min_epochs=minimum) is expected


def test_only_kernels_decay_and_only_by_default_with_adamw():
    assert Recipe(optimizer="adamw").weight_decay is None
    kernel, bias = keras.Variable([2.0], name="kernel"), keras.Variable([2.0], name="bias")
    for kind, expected in {"adam": 2.0, "adamw": 2.0 * (1 - 0.1 * 0.01)}.items():
        kernel.assign([2.0])
        bias.assign([2.0])
        optimizer = optimisation.make_optimizer(OptimizerOptions(optimizer=kind, learning_rate=0.1), [kernel, bias])
        optimizer.apply([keras.ops.zeros(1), keras.ops.zeros(1)])
        np.testing.assert_allclose([kernel.numpy()[0], bias.numpy()[0]], [expected, 2.0], rtol=1e-6)
