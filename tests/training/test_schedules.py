"""What changes from epoch to epoch: learning rates, frozen layers, hard examples; with stand-ins for the trainer."""

import types

import keras
import numpy as np

from maskzoo.training import Recipe
from maskzoo.training.schedules import FrozenLayers, HardExamples, LearningRate


def test_the_rate_of_every_step_counts_from_the_first_epoch_of_the_stage():
    scores = [0.5, 0.4, 0.3]
    recipe = Recipe(schedule="plateau", plateau_patience=1, learning_rate=1.0, warm_up=0, epochs=4)
    callback = LearningRate(recipe, first=3, steps=2, scores=lambda: scores)
    trainer = types.SimpleNamespace(optimizer=types.SimpleNamespace(learning_rate=None))
    callback.set_model(trainer)
    callback.on_epoch_begin(6)
    callback.on_train_batch_begin(1)
    # Two epochs without a better score.
    assert trainer.optimizer.learning_rate == 0.25
    logs = {}
    callback.on_epoch_end(6, logs)
    assert logs == {"learning_rate": 0.25}


def test_layers_are_frozen_for_the_first_epochs_and_the_optimizer_restarts_once():
    layer, restarts, functions = keras.layers.Dense(1), [], []
    optimizer = types.SimpleNamespace(restart=lambda: restarts.append(True))
    trainer = types.SimpleNamespace(optimizer=optimizer, make_train_function=lambda force: functions.append(force))
    callback = FrozenLayers([layer], first=4, epochs=2)
    callback.set_model(trainer)
    trainable = []
    for epoch in range(4, 8):
        callback.on_epoch_begin(epoch)
        trainable.append(layer.trainable)
        callback.on_epoch_end(epoch)
        assert layer.trainable
    assert trainable == [False, False, True, True]
    assert len(restarts) == 1
    assert functions == [True, False, True, False]


def test_windows_are_drawn_by_their_losses_from_the_second_epoch_on():
    given = []
    training = types.SimpleNamespace(grid_windows=range(3), set_hardness=given.append)
    # The last batch was filled up.
    trainer = types.SimpleNamespace(predict=lambda grid, verbose: np.array([0.5, 0.0, 2.0, 9.0]))
    callback = HardExamples(training, grid=[])
    callback.set_model(trainer)
    callback.on_epoch_begin(0)
    assert given == []
    callback.on_epoch_begin(1)
    np.testing.assert_array_equal(given[0], [0.5, 1e-6, 2.0])
