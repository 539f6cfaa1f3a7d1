"""Cases are drawn in proportion to their weights."""

from dataclasses import replace

import numpy as np
import pytest
from labelled_cases import cases

from maskzoo.data.sampling.case_sampler import CaseSampler
from maskzoo.errors import OptionError


def weighted(*weights):
    made = cases([(4, 4)] * len(weights))
    return [replace(case, weight=weight) for case, weight in zip(made, weights, strict=True)]


def drawn(sampler, number):
    rng = np.random.default_rng(0)
    return [sampler.draw(rng) for _ in range(number)]


def test_cases_are_drawn_in_proportion_to_their_weights():
    counts = np.bincount(drawn(CaseSampler(weighted(6, 3, 0, 1)), 2000))
    # Five standard deviations of a binomial distribution.
    for count, expected in zip(counts, (1200, 600, 0, 200), strict=True):
        assert count == pytest.approx(expected, abs=5 * expected**0.5)


def test_equal_weights_are_as_none():
    assert drawn(CaseSampler(weighted(2, 2, 2)), 50) == drawn(CaseSampler(weighted(1, 1, 1)), 50)


@pytest.mark.parametrize("weights", [(1, -1), (0, 0), (1, float("inf"))])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(OptionError, match="weight: expected weights of 0 or more, some above 0; received"):
        CaseSampler(weighted(*weights))
