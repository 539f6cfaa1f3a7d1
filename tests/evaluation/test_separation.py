"""How well numbers separate a class, measured where nothing was fitted."""

import numpy as np
import pytest

from maskzoo.evaluation.separation import (
    RANKED,
    fit_direction,
    fit_sum,
    halves,
    sampled_pixels,
    separation,
    values_at,
)


def test_separation_is_the_share_of_pairs_in_the_right_order():
    answers = np.array([3.0, 1, 2, 0] * 8)
    inside = np.array([True, True, False, False] * 8)
    # Of every pair of 3 or 1 inside and 2 or 0 outside all but 1 against 2 are right.
    assert separation(answers, inside) == pytest.approx(3 / 4)
    assert separation(-answers, inside) == pytest.approx(1 / 4)
    assert separation(np.zeros(32), inside) == pytest.approx(1 / 2)
    assert np.isnan(separation(answers[:12], inside[:12]))


def test_halves_consist_of_whole_blocks_with_as_much_of_a_class_each():
    inside = np.zeros((64, 48), bool)
    inside[:40, :30] = True
    first = halves(inside, (8, 8))
    blocks = first.reshape(8, 8, 6, 8)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert first.sum() == first.size / 2
    assert inside[first].sum() == pytest.approx(inside.sum() / 2, rel=0.1)
    np.testing.assert_array_equal(first, halves(inside, (8, 8)))
    assert (first != halves(inside, (8, 8), seed=1)).any()
    # Blocks hold at least an element of the coarsest level; what is too small for two has one.
    coarse = halves(inside, (32, 48))
    assert (coarse[:32] == coarse[0, 0]).all()
    assert (coarse[32:] != coarse[0, 0]).all()


def test_halves_of_a_volume_of_few_slices():
    inside = np.zeros((16, 16, 3), bool)
    inside[2:9, 2:9] = True
    first = halves(inside, (4, 4, 1))
    assert 0.3 < first.mean() < 0.7


def test_a_direction_is_the_difference_of_means():
    features = np.array([[3.0, 4], [0, 0]] * 8)
    inside = np.array([True, False] * 8)
    np.testing.assert_allclose(fit_direction(features, inside, ~inside), [0.6, 0.8])
    assert fit_direction(features[:14], inside[:14], ~inside[:14]) is None


def test_a_sum_weighs_what_tells_more():
    rng = np.random.default_rng(0)
    inside = np.arange(4000) % 2 == 0
    values = rng.normal(size=(4000, 2)) * [1, 2] + inside[:, None]
    weights = fit_sum(values, inside)
    # The difference of means, 1, over the variance, 1 and 4.
    assert weights[0] / weights[1] == pytest.approx(4, rel=0.2)
    assert fit_sum(values, np.zeros(4000, bool)) is None


def test_pixels_are_drawn_from_inside_and_outside_and_never_where_nothing_is_known():
    inside = np.zeros((400, 400), bool)
    inside[:3, :5] = True
    known = np.ones_like(inside)
    known[:, 4] = False
    pixels = sampled_pixels(inside, known)
    assert len(pixels) == 12 + RANKED
    assert inside[tuple(pixels.T)].sum() == 12
    assert known[tuple(pixels.T)].all()


def test_values_lie_in_the_middle_of_their_elements():
    field = np.array([[0.0, 4.0], [8.0, 12.0]])
    pixels = np.array([[1, 1], [1, 3], [3, 3], [0, 0], [1, 2]])
    # Elements of 2 x 2 pixels: the middle of the first lies between pixels 0 and 1.
    expected = [0.25 * 8 + 0.25 * 4, 0.25 * 8 + 4, 12, 0, 0.25 * 8 + 0.75 * 4]
    np.testing.assert_allclose(values_at(field, pixels, (2, 2), (0, 0)), expected)
    # A level that begins a pixel earlier.
    np.testing.assert_allclose(values_at(field, pixels[:1], (2, 2), (-1, -1)), [0.75 * 8 + 0.75 * 4])
