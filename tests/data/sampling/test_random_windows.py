"""Batches of training windows: all windows once an epoch, hard ones by their weight, mixtures; the same for a seed."""

import collections

import numpy as np
import pytest
from labelled_cases import APART, assert_equal_batches, batches, cases, first_values, labelled

from maskzoo.data.sampling.options import WindowOptions
from maskzoo.data.sampling.random_windows import RandomWindows, cumulated_weights, shuffled
from maskzoo.errors import OptionError


@pytest.mark.parametrize(("shapes", "patch", "overlap"), [
    ([(32, 40), (24, 16)], 8, 0), ([(32, 40), (24, 16)], 8, 0.5), ([(16, 20, 12)] * 2, 8, 0.25),
])  # fmt: skip
def test_all_shows_every_window_once_an_epoch_in_another_order(shapes, patch, overlap):
    made = cases(shapes)
    windows = RandomWindows(made, patch, 1, WindowOptions(windows="all", overlap=overlap, seed=3))
    expected = [case.image.read(window).ravel()[0] for case, window in windows.grid]
    assert len(set(expected)) == windows.steps
    orders = [first_values(batches(windows, epoch)) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == sorted(expected)
    assert len(set(map(tuple, [*orders, expected]))) == 4
    other = RandomWindows(made, patch, 1, WindowOptions(windows="all", overlap=overlap, seed=4))
    assert first_values(batches(other)) != orders[0]


def test_the_last_batch_of_all_is_filled_up_with_windows_of_another_round():
    windows = RandomWindows(cases([(24, 24)]), 8, 4, WindowOptions(windows="all"))
    assert windows.steps == 3  # 9 windows
    counts = collections.Counter(first_values(batches(windows)))
    assert sorted(counts.values()) == [1] * 6 + [2] * 3


def test_hard_windows_are_drawn_by_their_weights():
    made = cases([(40, 40), (24, 40)])
    windows = RandomWindows(made, 8, 10, WindowOptions(steps=100, hard_example_fraction=0.5))
    assert len(windows.grid) == 40
    first = [case.image.read(window)[0, 0, 0] for case, window in windows.grid]
    weights = np.zeros(40)
    weights[[3, 30, 31]] = 4, 2, 2
    hardness = cumulated_weights(weights, 40)
    counts = collections.Counter(first_values(batches(windows, hardness=hardness)))
    # Half of 1000 by weight; of the others, drawn anywhere, only a few fall on the same places.
    for number, expected in ((3, 250), (30, 125), (31, 125)):
        assert counts[first[number]] == pytest.approx(expected, abs=4 * expected**0.5 + 20)
    every = RandomWindows(made, 8, 10, WindowOptions(steps=100, hard_example_fraction=1.0))
    counts = collections.Counter(first_values(batches(every)))
    assert set(counts) == set(first)
    assert min(counts.values()) > 5
    assert max(counts.values()) < 60
    assert set(first_values(batches(every, hardness=hardness))) == {first[n] for n in (3, 30, 31)}


@pytest.mark.parametrize(
    "weights", [np.ones(39), np.zeros(40), -np.ones(40), np.full(40, np.nan), np.ones((40, 1))], ids=str
)
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(OptionError, match="hardness: expected 40 weights of 0 or more, some above 0; received"):
        cumulated_weights(weights, 40)


def test_huge_weights_have_a_finite_sum():
    assert cumulated_weights([1e308, 1e308, 0], 3).tolist() == [0.5, 1, 1]


@pytest.mark.parametrize("shape", [(48, 48), (20, 20, 20)])
def test_cutmix_puts_a_box_of_another_sample_into_an_aligned_one(shape):
    options = WindowOptions(steps=12, mix_probabilities={"cutmix": 0.6})
    windows = RandomWindows(cases([shape] * 4), 12, 25, options, halo=((1, 2), *[(2, 0)] * (len(shape) - 1)))
    mixed, fractions = 0, []
    for images, labels in batches(windows):
        inner = images[(slice(None), slice(1, -2), *[slice(2, None)] * (len(shape) - 1))]
        np.testing.assert_array_equal(labels, inner % 3 == 0)
        for which in inner // APART:
            counts = np.unique(which, return_counts=True)[1]
            assert len(counts) <= 2
            mixed += len(counts) == 2
            fractions += [counts.min() / counts.sum()] if len(counts) == 2 else []
    # Of the mixed ones a quarter come from the same image, and a few boxes are empty or everything.
    assert mixed / 300 == pytest.approx(0.6 * 0.75, abs=0.1)
    assert min(fractions) < 0.1
    assert max(fractions) > 0.4


def test_mosaics_show_four_samples_that_meet_at_a_point():
    options = WindowOptions(steps=4, mix_probabilities={"mosaic": 1.0})
    several = 0
    for images, labels in batches(RandomWindows(cases([(48, 48)] * 6), 16, 25, options, halo=3)):
        inner = images[:, 3:-3, 3:-3]
        np.testing.assert_array_equal(labels, inner % 3 == 0)
        for which in (images // APART)[..., 0]:
            assert len({which[0, 0], which[0, -1], which[-1, 0], which[-1, -1]}) == len(np.unique(which))
            changes = (np.diff(which, axis=0) != 0).any(axis=1).sum(), (np.diff(which, axis=1) != 0).any(axis=0).sum()
            assert max(changes) <= 1
            several += len(np.unique(which)) >= 3
    assert several > 40


def test_the_same_seed_gives_the_same_batches_and_others_do_not():
    made = cases([(40, 40), (30, 50)])
    one, same, other = (
        RandomWindows(made, 16, 2, WindowOptions(steps=3, augment="flips", seed=seed)) for seed in (5, 5, 6)
    )
    expected = batches(one)
    for index in (2, 0, 1):  # asked for out of order
        assert_equal_batches(expected[index], same.batch(0, index))
    first = expected[0][0]
    for others in (other.batch(0, 0), one.batch(0, 1), one.batch(1, 0)):
        assert (first != others[0]).any()


def test_a_shard_is_a_part_of_the_batch():
    made = cases([(40, 40), (30, 50)])
    options = WindowOptions(steps=2, augment="flips", windows="all", mix_probabilities={"cutmix": 0.5})
    whole = RandomWindows(made, 8, 6, options)
    shards = [RandomWindows(made, 8, 6, options, shard=(index, 3)) for index in range(3)]
    for expected, *parts in zip(whole.batch(1, 1), *(shard.batch(1, 1) for shard in shards), strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_orders_are_permutations_that_follow_from_the_seed():
    assert sorted(shuffled(50, 1, 2, 3)) == list(range(50))
    assert shuffled(50, 1, 2, 3).tolist() != shuffled(50, 1, 2, 4).tolist()


def test_options_that_need_other_data_are_refused():
    with pytest.raises(OptionError, match="mix_probabilities: expected cutmix for volumes; received mosaic"):
        RandomWindows(cases([(20, 20, 20)]), 8, 2, WindowOptions(mix_probabilities={"mosaic": 0.1}))
    classes = [labelled(np.arange(400, dtype=np.uint8).reshape(20, 20) % 3)]
    with pytest.raises(OptionError, match=r"mask_sigma: expected 0 with multiclass masks; received 1\.0"):
        RandomWindows(classes, 8, 2, WindowOptions(mask_sigma=1.0))
