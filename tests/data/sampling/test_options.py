"""Options of windows are checked when they are made; their messages name the argument."""

import pytest

from maskzoo.data.sampling.options import LoadingOptions, SamplingOptions, WindowOptions, shrink_factors
from maskzoo.errors import OptionError


@pytest.mark.parametrize("kind", [SamplingOptions, WindowOptions])
@pytest.mark.parametrize(("options", "message"), [
    ({"augment": "flip"}, "augment: expected flips (of none, flips, light, pathology, xray, volume); received flip"),
    ({"windows": "al"}, "windows: expected all (of random, all, tissue, positive); received al"),
    ({"balance": {"foreground": 3}}, "balance: expected a fraction between 0 and 1 for foreground; received 3"),
    ({"windows": "all", "balance": {"foreground": 0.5}},
     "windows: expected random, which `balance` needs; received all"),
    ({"overlap": 1}, "overlap: expected a fraction from 0 to below 1; received 1"),
    ({"hard_example_fraction": -0.1}, "hard_example_fraction: expected a fraction between 0 and 1; received -0.1"),
    ({"scales": [0.75]}, "scales: expected 1 divided by whole numbers, such as 1, 0.5, 0.25; received [0.75]"),
    ({"scales": []}, "scales: expected at least one, such as 1, 0.5, 0.25; received none"),
    ({"mix_probabilities": {"cutmix": 1.5}},
     "mix_probabilities: expected a probability between 0 and 1 for cutmix; received 1.5"),
    ({"mask_sigma": -1}, "mask_sigma: expected 0 or more pixels; received -1"),
    ({"mask_sigma": float("nan")}, "mask_sigma: expected 0 or more pixels; received nan"),
])  # fmt: skip
def test_wrong_options_are_refused(kind, options, message):
    with pytest.raises(OptionError) as caught:
        kind(**options)
    assert str(caught.value) == message


def test_windows_stay_as_they_are_unless_a_change_is_asked_for():
    assert (WindowOptions().augment, SamplingOptions().augment) == ("none", "flips")


@pytest.mark.parametrize(("scales", "factors"), [(None, [1]), ([1], [1]), ([1, 0.5, 0.33, 0.25], [1, 2, 3, 4])])
def test_scales_are_one_divided_by_their_factors(scales, factors):
    assert shrink_factors(scales) == factors


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0)])
def test_shards_that_do_not_exist_are_refused(shard):
    with pytest.raises(OptionError, match="shard: expected an index from 0 to below the number of shards; received"):
        LoadingOptions(shard=shard)
