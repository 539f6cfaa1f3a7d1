"""Segments between membranes against scikit-image and scipy."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import entropy
from skimage.metrics import adapted_rand_error, contingency_table, variation_of_information
from skimage.segmentation import relabel_sequential

from maskzoo.metrics import membrane


def labels_pair(shape, seed, empty_share=0.0):
    rng = np.random.default_rng(seed)
    truth, guess = (rng.integers(0, 6, [-(-s // 3) for s in shape]) for _ in range(2))
    for axis in range(len(shape)):
        truth, guess = truth.repeat(3, axis), guess.repeat(2, axis)
    guess = np.resize(guess, shape) + 1
    guess[rng.random(shape) < empty_share] = 0
    return truth[tuple(map(slice, shape))], guess


@pytest.mark.parametrize(("shape", "empty_share"), [((20, 17), 0), ((20, 17), 0.2), ((6, 7, 8), 0), ((6, 7, 8), 0.5)])
def test_segment_scores_equal_scikit_image(shape, empty_share):
    truth, guess = labels_pair(shape, 0, empty_share)
    scores = membrane.segment_scores(truth, guess)
    # scikit-image has no elements without a segment: each gets one of its own.
    filled = guess.copy()
    filled[guess == 0] = np.arange(10, 10 + (guess == 0).sum())
    filled = relabel_sequential(filled)[0]
    pairs = contingency_table(truth, filled, ignore_labels=[0], normalize=True).toarray()
    squares = [(shares**2).sum() for shares in (pairs, pairs.sum(1), pairs.sum(0))]
    assert scores["rand_split"] == pytest.approx(squares[0] / squares[1])
    assert scores["rand_merge"] == pytest.approx(squares[0] / squares[2])
    assert scores["rand"] == pytest.approx(2 * squares[0] / (squares[1] + squares[2]))
    # That of scikit-image leaves out the pairs of an element with itself.
    own = 1 / (truth > 0).sum()
    expected = 2 * (squares[0] - own) / (squares[1] + squares[2] - 2 * own)
    assert adapted_rand_error(truth, filled, ignore_labels=[0])[0] == pytest.approx(1 - expected)
    inside = truth > 0
    split, merge = variation_of_information(truth[inside], filled[inside])
    true_entropy = entropy(pairs.sum(1), base=2)
    mutual = true_entropy - merge
    assert scores["information_merge"] == pytest.approx(mutual / true_entropy)
    assert scores["information_split"] == pytest.approx(mutual / (mutual + split))
    assert scores["information"] == pytest.approx(2 * mutual / (2 * mutual + split + merge))


def test_splits_and_merges_are_scored_separately():
    halves = np.repeat([1, 2], 50).reshape(10, 10)
    whole, quarters = np.ones_like(halves), np.repeat([1, 2, 3, 4], 25).reshape(10, 10)
    split, merged = membrane.segment_scores(halves, quarters), membrane.segment_scores(halves, whole)
    # Two true halves in four quarters: sum p^2 = 4/16, sum t^2 = 2/4; entropies log 4 and log 2.
    assert (split["rand_split"], split["rand_merge"]) == pytest.approx((0.5, 1))
    assert (split["information_split"], split["information_merge"]) == pytest.approx((0.5, 1))
    assert (merged["rand_split"], merged["rand_merge"]) == pytest.approx((1, 0.5))
    assert (merged["information_split"], merged["information_merge"]) == pytest.approx((1, 0))
    assert set(membrane.segment_scores(halves, halves).values()) == {1}
    assert set(membrane.segment_scores(0 * halves, quarters).values()) == {1}


def test_what_lies_on_true_membranes_does_not_count():
    truth, guess = labels_pair((20, 17), 1)
    changed = np.where(truth == 0, 77, guess)
    assert membrane.segment_scores(truth, guess) == membrane.segment_scores(truth, changed)


def test_segments_of_a_membrane():
    cross = np.zeros((11, 13), bool)
    cross[4:7] = cross[:, 6:8] = True
    np.testing.assert_array_equal(np.unique(membrane.segments_from_membrane(cross, thin=False)), [0, 1, 2, 3, 4])
    thin = membrane.segments_from_membrane(cross)
    assert set(np.unique(thin)) == {1, 2, 3, 4}
    np.testing.assert_array_equal(thin[~cross], membrane.segments_from_membrane(cross, thin=False)[~cross])
    # A thicker membrane at the same place is the same division.
    thick = ndimage.binary_dilation(cross)
    assert membrane.segment_scores(membrane.segments_from_membrane(thick, thin=False), thin)["rand"] == 1
    assert not membrane.segments_from_membrane(np.ones((3, 3))).any()
