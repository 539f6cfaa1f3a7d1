"""Folds are complete, balanced, never split a group, and are the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskzoo.data import DataSpec
from maskzoo.data.sets.folds import (
    foreground_fractions,
    foreground_shares,
    groups_by_pattern,
    held_out_names,
    make_folds,
    read_folds,
    write_folds,
)
from maskzoo.errors import DataError, OptionError, UnreadableFile

NAMES = [f"case{number:03}" for number in range(53)]


@pytest.mark.parametrize("split", ["random", "block"])
@pytest.mark.parametrize("folds", [2, 5, 53])
def test_folds_are_complete_and_balanced(split, folds):
    result = make_folds(NAMES, folds, split=split)
    assert list(result) == NAMES
    sizes = np.bincount(list(result.values()), minlength=folds)
    assert len(sizes) == folds
    assert np.ptp(sizes) <= 1
    if split == "block":
        assert list(result.values()) == sorted(result.values())


def test_blocks_are_cut_between_groups():
    sizes = {"a": 10, "b": 1, "c": 1, "d": 1}
    groups = {f"{group}{index}": group for group, size in sizes.items() for index in range(size)}
    # The middle of the first group lies in the first half of the 13 images, those of the others in the second half.
    assert make_folds(groups, 2, split="block", groups=groups) == {name: int(name[0] > "a") for name in groups}
    # In quarters no middle lies in the first or the third: then every fold gets as many groups, whatever their sizes.
    assert make_folds(groups, 4, split="block", groups=groups) == {name: "abcd".index(name[0]) for name in groups}


@given(st.lists(st.integers(0, 12), min_size=20, max_size=60), st.sampled_from(["random", "block"]), st.booleans())
def test_groups_stay_together(numbers, split, stratified):
    names = [f"{number:02}-{index}" for index, number in enumerate(numbers)]
    groups = groups_by_pattern(names, r"^(\d+)-")
    strata = {name: len(name) + index for index, name in enumerate(names)} if stratified else None
    folds = min(4, len(set(groups.values())))
    if folds < 2:
        return
    result = make_folds(names, folds, split=split, groups=groups, strata=strata)
    assert set(result) == set(names)
    assert set(result.values()) == set(range(folds))
    assert len({(groups[name], fold) for name, fold in result.items()}) == len(set(groups.values()))
    held_out = held_out_names(names, 0.3, split=split, groups=groups)
    assert 0 < len(held_out) < len(names)
    assert not {groups[name] for name in held_out} & {groups[name] for name in set(names) - held_out}


def test_strata_are_spread_evenly():
    strata = {name: number / 53 for number, name in enumerate(NAMES)}
    result = make_folds(NAMES, 5, strata=strata)
    means = [np.mean([strata[name] for name in NAMES if result[name] == fold]) for fold in range(5)]
    assert np.ptp(means) < 0.08  # plain folds of this data differ by about 0.3
    rare = {name: float(number < 5) for number, name in enumerate(NAMES)}
    result = make_folds(NAMES, 5, strata=rare, seed=3)
    assert sorted(result[name] for name in NAMES[:5]) == [0, 1, 2, 3, 4]


@given(st.lists(st.integers(1, 30), min_size=4, max_size=25), st.integers(2, 4), st.integers(0, 99), st.booleans())
def test_sizes_differ_by_at_most_the_largest_group(sizes, folds, seed, stratified):
    groups = {f"{number:02}-{index}": number for number, size in enumerate(sizes) for index in range(size)}
    strata = {name: number % 3 for name, number in groups.items()} if stratified else None
    result = make_folds(groups, folds, groups=groups, strata=strata, seed=seed)
    assert np.ptp(np.bincount(list(result.values()), minlength=folds)) <= max(sizes)


@pytest.mark.parametrize("seed", range(8))
def test_the_largest_group_of_a_round_joins_the_smallest_fold(seed):
    # Groups are dealt by falling strata: first the 6 and the 1, then the 5 and the 2. The 5 joins the 1.
    groups = {
        f"{group}{index}": group for group, size in (("a", 6), ("b", 1), ("c", 2), ("d", 5)) for index in range(size)
    }
    strata = {name: {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}[group] for name, group in groups.items()}
    result = make_folds(groups, 2, groups=groups, strata=strata, seed=seed)
    assert result["d0"] == result["b0"] != result["a0"] == result["c0"]
    assert sorted(np.bincount(list(result.values()))) == [6, 8]


def test_the_same_seed_makes_the_same_folds_in_any_order():
    assert make_folds(NAMES, 5, seed=1) == make_folds(reversed(NAMES), 5, seed=1)
    assert make_folds(NAMES, 5, seed=1) != make_folds(NAMES, 5, seed=2)


def test_the_held_out_fraction():
    assert len(held_out_names(NAMES, 0.2)) == 11
    assert len(held_out_names(NAMES, 0.001)) == 1
    assert len(held_out_names(NAMES, 0.999)) == 52
    assert held_out_names(NAMES, 0.05, split="block") == {"case050", "case051", "case052"}
    with pytest.raises(OptionError, match="data: expected at least 2 images"):
        held_out_names(["a"], 0.5)
    with pytest.raises(OptionError, match="data: expected at least 2 groups"):
        held_out_names(["a", "b"], 0.5, groups={"a": "x", "b": "x"})


def test_files(tmp_path):
    folds = make_folds(NAMES, 5)
    write_folds(tmp_path / "folds.json", folds)
    assert read_folds(tmp_path / "folds.json", NAMES) == folds
    assert [path.name for path in tmp_path.iterdir()] == ["folds.json"]
    with pytest.raises(DataError, match=r"folds.json: expected the fold of every image; received none for new$"):
        read_folds(tmp_path / "folds.json", ["new"])
    write_folds(tmp_path / "folds.json", folds, make_folds(NAMES, 5, seed=1))
    assert read_folds(tmp_path / "folds.json", NAMES) == folds
    assert read_folds(tmp_path / "folds.json", NAMES, 1) == make_folds(NAMES, 5, seed=1)
    with pytest.raises(DataError, match="expected a repeat below 2; received 2"):
        read_folds(tmp_path / "folds.json", NAMES, 2)
    for text in ("[]", "{}", '{"folds": [1]}', '{"folds": {"case000": "x"}}'):
        (tmp_path / "folds.json").write_text(text)
        with pytest.raises(DataError, match=r"folds.json: expected .*the fold of every image; received "):
            read_folds(tmp_path / "folds.json", NAMES)
    (tmp_path / "folds.json").write_text("{")
    with pytest.raises(UnreadableFile, match="expected a JSON file with the fold"):
        read_folds(tmp_path / "folds.json", NAMES)


def test_wrong_arguments_are_refused():
    with pytest.raises(OptionError, match="folds: expected 2 to 53"):
        make_folds(NAMES, 54)
    with pytest.raises(OptionError, match="folds: expected 2 to 1, the number of images or groups"):
        make_folds(NAMES, 2, groups=dict.fromkeys(NAMES, 0))
    with pytest.raises(OptionError, match="strata: expected every image; received none for case000"):
        make_folds(NAMES, 2, strata={})
    with pytest.raises(OptionError, match=r"split: expected block \(of random, block\); received blok"):
        make_folds(NAMES, 2, split="blok")
    with pytest.raises(OptionError, match="group: expected a regular expression"):
        groups_by_pattern(NAMES, "(")
    with pytest.raises(OptionError, match="to be found in every name; received case000"):
        groups_by_pattern(NAMES, "patient")


def test_folds_of_an_earlier_version_are_made_again():
    # Made by version 0.1.0: runs are resumed, and compared with each other, by their folds.
    names = [f"{number:02}" for number in range(10)]
    groups = {name: name[1] in "0123" for name in names}
    strata = {name: int(name) / 10 for name in names}
    assert list(make_folds(names, 3, seed=7).values()) == [2, 2, 0, 1, 1, 2, 0, 1, 0, 0]
    assert list(make_folds(names, 2, groups=groups, seed=1).values()) == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert list(make_folds(names, 3, strata=strata, seed=2).values()) == [2, 0, 2, 1, 0, 2, 1, 2, 1, 0]
    assert sorted(held_out_names(names, 0.3, seed=4)) == ["00", "01", "07"]


def test_groups_are_found_in_names():
    names = ["p1_a", "p1_b", "p22_a"]
    assert groups_by_pattern(names, r"p\d+") == {"p1_a": "p1", "p1_b": "p1", "p22_a": "p22"}
    assert groups_by_pattern(names, r"p(\d+)_") == {"p1_a": "1", "p1_b": "1", "p22_a": "22"}


@pytest.mark.parametrize("labels", [(0, 1), (0, 7)])
def test_foreground_is_every_class_but_the_background(tmp_path, save_blocks, labels):
    save_blocks(tmp_path, 3, value=labels[1])
    task = "multiclass" if labels[1] > 1 else "binary"
    found = foreground_fractions(DataSpec(path=str(tmp_path), task=task))
    # Blocks of 15 rows and 5, 6 and 7 columns in 40 x 30 pixels.
    assert found == pytest.approx({"im0": 75 / 1200, "im1": 90 / 1200, "im2": 105 / 1200})
    assert foreground_shares is foreground_fractions
