"""Which level answers to which class."""

import json

import keras
import numpy as np
import pytest

from maskzoo import data, inference
from maskzoo.evaluation.level_response import level_responses, response_to, shares_of
from maskzoo.models import analysis


def test_features_that_hold_the_class_separate_it_perfectly_and_noise_does_not():
    rng = np.random.default_rng(0)
    shares = np.zeros((20, 20))
    shares[5:12, 5:12] = 1
    noise = rng.normal(size=(20, 20, 1))
    answers, inside, outside, separation, elements = response_to(np.dstack([5 * shares, noise]), shares)
    assert (separation, elements) == (1.0, 49)
    assert inside > 1 > 0 > outside
    assert answers.mean() == pytest.approx(0, abs=1e-9)
    assert answers.std() == pytest.approx(1)
    assert response_to(noise, shares)[3] < 0.65
    # The sign of features says nothing: what is dark inside answers as strongly.
    assert response_to(-5 * shares[..., None] + 0.01 * noise, shares)[3] == 1


def test_a_class_that_fills_or_misses_the_image_has_no_response():
    for shares in (np.zeros((4, 4)), np.ones((4, 4)), np.eye(4)):
        assert np.isnan(response_to(np.ones((4, 4, 2)), shares)[1:4]).all()


def test_elements_hold_their_share_of_the_class():
    image = keras.Input((None, None, 1))
    x = keras.layers.AveragePooling2D(2)(keras.layers.Conv2D(1, 3)(image))
    (place,) = analysis.places(keras.Model(image, x), [x])
    truth = np.zeros((4, 6), bool)  # begins at pixel 2 of the input
    truth[0, 0] = truth[1, 4:] = True
    shares = shares_of(truth, place, (2, 2), (3, 4))
    # Elements begin at pixels 1, 3, 5 and 7: the first shows pixel 2 alone.
    expected = [[1, 0, 0.0, 0], [0, 0, 0.25, 0.25 * 2 / 1], [0, 0, 0, 0]]
    expected[1][2], expected[1][3] = 0.25, 0.5
    np.testing.assert_allclose(shares, expected)


def test_the_levels_of_a_run_are_measured_by_its_labels_or_its_prediction(trained_run, squares):
    run = inference.read_run(trained_run)
    with data.open_source(squares / "images" / "0.tif") as source:
        by_label = level_responses(run, source, data.open_source(squares / "masks" / "0.tif"), size=64)
        alone = level_responses(run, source, size=64)
    assert by_label.window.size == (64, 64)
    assert by_label.window.offset == (16, 24)
    with data.open_source(squares / "masks" / "0.tif") as source:
        np.testing.assert_array_equal(by_label.truth[..., 0], source.read(by_label.window)[..., 0] == 255)
    assert [response.stride for response in by_label.responses] == sorted(by_label.levels.values())
    for response in by_label.responses:
        # A bright rectangle on dark noise: every level sees it.
        assert response.separation > 0.8
        assert by_label.maps[response.level].shape[:2] == (64 // response.stride,) * 2
    json.dumps([response.as_mapping() for response in alone.responses], allow_nan=False)
