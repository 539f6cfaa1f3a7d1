"""How one level answers to one class."""

import keras
import numpy as np
import pytest

from maskzoo.evaluation.level_answers import Grid, Sample, response_to, shares_of
from maskzoo.evaluation.separation import halves, sampled_pixels
from maskzoo.models import analysis


def plain_grid(shape, stride=1):
    """Elements of some pixels each, from the first one on."""
    image = keras.Input((None,) * len(shape) + (1,))
    x = keras.layers.AveragePooling2D(stride)(image)
    (place,) = analysis.places(keras.Model(image, x), [x])
    return Grid(place, (0,) * len(shape), tuple(n // stride for n in shape))


def respond(features, inside, stride=1, known=None, odds=None):
    known = np.ones(inside.shape, bool) if known is None else known
    pixels = sampled_pixels(inside, known)
    half = halves(inside & known, (stride,) * inside.ndim)
    own = None if odds is None else odds[tuple(pixels.T)]
    sample = Sample(pixels, inside[tuple(pixels.T)], half, own)
    return response_to(features, plain_grid(inside.shape, stride), sample, inside, known)


@pytest.fixture
def square():
    inside = np.zeros((64, 64), bool)
    inside[10:40, 14:50] = True
    return inside


def test_features_that_hold_the_class_separate_it_perfectly_and_noise_does_not(square):
    noise = np.random.default_rng(0).normal(size=(64, 64, 1))
    (inside, outside, held_out, fitted, together, elements), answers = respond(np.dstack([5.0 * square, noise]), square)
    assert (held_out, fitted, elements) == (1.0, 1.0, 30 * 36)
    assert np.isnan(together)
    assert inside > 1 > 0 > outside
    assert answers.mean() == pytest.approx(0, abs=1e-9)
    assert answers.std() == pytest.approx(1)
    # The sign of features says nothing: what is dark inside answers as strongly.
    assert respond(-5 * square[..., None] + 0.01 * noise, square)[0][2] == 1


def test_what_was_fitted_by_chance_is_not_taken_for_an_answer(square):
    features = np.random.default_rng(0).normal(size=(64, 64, 800))
    _, _, held_out, fitted, _, _ = respond(features, square)[0]
    assert fitted > 0.75
    assert held_out == pytest.approx(0.5, abs=0.04)


def test_a_level_adds_to_the_mask_what_the_mask_does_not_know(square):
    rng = np.random.default_rng(0)
    left = np.arange(64) < 32
    noise = rng.normal(size=(64, 64))
    knows_left = square * left + 0.1 * noise
    knows_right = (square * ~left + 0.1 * rng.normal(size=(64, 64)))[..., None]
    together = respond(knows_right, square, odds=knows_left)[0][4]
    alone = respond(knows_left[..., None], square, odds=knows_left)[0]
    assert together > alone[2] + 0.1
    assert alone[4] == pytest.approx(alone[2], abs=0.01)


def test_pixels_that_do_not_count_are_neither_inside_nor_outside(square):
    known = np.ones_like(square)
    known[:, 45:] = False
    features = (1.0 * square)[..., None].copy()
    features[~known] = -5
    assert respond(features, square, known=known)[0][2] == 1
    assert respond(features, square)[0][2] < 1


def test_small_objects_have_elements_on_coarse_levels():
    inside = np.zeros((64, 64), bool)
    for row in range(4, 64, 16):
        for column in range(4, 64, 16):
            inside[row : row + 2, column : column + 2] = True  # a sixteenth of an element of 8 x 8
    coarse = inside.reshape(8, 8, 8, 8).mean((1, 3))[..., None]
    numbers = respond(coarse, inside, stride=8)[0]
    assert numbers[5] == 16
    assert numbers[2] > 0.9


@pytest.mark.parametrize("inside", [np.zeros((16, 16), bool), np.ones((16, 16), bool), np.eye(4, dtype=bool)], ids=str)
def test_a_class_that_fills_or_misses_the_image_has_no_response(inside):
    numbers, answers = respond(np.ones((*inside.shape, 2)), inside)
    assert np.isnan(numbers[:3]).all()
    assert np.isfinite(answers).all()


def test_elements_hold_their_share_of_the_class():
    image = keras.Input((None, None, 1))
    x = keras.layers.AveragePooling2D(2)(keras.layers.Conv2D(1, 3)(image))
    (place,) = analysis.places(keras.Model(image, x), [x])
    truth = np.zeros((4, 6), bool)  # begins at pixel 2 of the input
    truth[0, 0] = truth[1, 4:] = True
    shares = shares_of(truth, Grid(place, (2, 2), (3, 4)))
    # Elements begin at pixels 1, 3, 5 and 7: the first shows pixel 2 alone.
    np.testing.assert_allclose(shares, [[1, 0, 0.0, 0], [0, 0, 0.25, 0.5], [0, 0, 0, 0]])
