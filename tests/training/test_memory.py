"""The memory of a step, counted by hand, and the largest batch and windows that fit."""

import keras

from maskzoo import training
from maskzoo.training import memory


def dense(width):
    """A convolution over 3 channels: its activations and weights can be counted by hand."""
    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.Conv2D(width, 1, use_bias=False)(image))


def test_the_memory_of_a_step_is_counted():
    model, recipe = dense(5), training.Recipe(patch=8)
    # 3 channels in and 5 out, 4 bytes each; weights, gradients and Adam's two moments.
    activations, weights = 16 * 16 * (3 + 5) * 4, 4 * 4 * 15
    for windows in (1, 7):
        expected = memory.BASE_MEMORY + windows * activations + weights
        assert memory.step_bytes(model, recipe, (16, 16), windows) == expected


def test_the_largest_batch_and_window_that_fit():
    model = dense(5)
    recipe = training.Recipe(patch=64, batch_size=8)
    window = 64 * 64 * (3 + 5) * 4
    room = memory.BASE_MEMORY + 4 * 4 * 15
    enough = memory.check_memory(recipe, model, 2, room + 12 * window)
    assert enough.status == "ok"
    # 12 windows on each of two devices; 4 on each leave three times the area, which is 1.73 times the side.
    assert "the largest batch of these windows is 24" in enough.message
    assert "the largest windows in this batch are 104 x 104" in enough.message
    short = memory.check_memory(recipe, model, 2, room + 2 * window)
    assert short.status == "advice"
    for change in ("`batch_size` 4", "`accumulate` 2"):
        assert change in short.message
    assert memory.check_memory(recipe, model, 2, 0).status == "advice"


def test_the_largest_number_is_found():
    for limit in (0, 1, 2, 3, 7, 8, 9, 100):
        assert memory.largest(lambda number, limit=limit: number <= limit) == limit
    assert memory.largest(lambda number: True, most=50) == 50
    assert memory.largest(lambda number: True, most=64) == 64
