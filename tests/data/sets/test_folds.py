"""Folds are complete, balanced, never split a group, and are the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskzoo.data.sets.folds import groups_by_pattern, held_out_names, make_folds, read_folds, write_folds

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


def test_seeds():
    assert make_folds(NAMES, 5, seed=1) == make_folds(reversed(NAMES), 5, seed=1)
    assert make_folds(NAMES, 5, seed=1) != make_folds(NAMES, 5, seed=2)


def test_the_held_out_share():
    assert len(held_out_names(NAMES, 0.2)) == 11
    assert len(held_out_names(NAMES, 0.001)) == 1
    assert len(held_out_names(NAMES, 0.999)) == 52
    assert held_out_names(NAMES, 0.05, split="block") == {"case050", "case051", "case052"}
    with pytest.raises(ValueError, match="expected at least 2 images"):
        held_out_names(["a"], 0.5)
    with pytest.raises(ValueError, match="expected at least 2 groups"):
        held_out_names(["a", "b"], 0.5, groups={"a": "x", "b": "x"})


def test_files(tmp_path):
    folds = make_folds(NAMES, 5)
    write_folds(tmp_path / "folds.json", folds)
    assert read_folds(tmp_path / "folds.json", NAMES) == folds
    assert [path.name for path in tmp_path.iterdir()] == ["folds.json"]
    with pytest.raises(ValueError, match=r"folds.json: expected the fold of every image; received none for 'new'"):
        read_folds(tmp_path / "folds.json", ["new"])
    (tmp_path / "folds.json").write_text("[]")
    with pytest.raises(ValueError, match="expected a JSON file with the fold"):
        read_folds(tmp_path / "folds.json", NAMES)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="folds: expected 2 to 53"):
        make_folds(NAMES, 54)
    with pytest.raises(ValueError, match="folds: expected 2 to 1, the number of images or groups"):
        make_folds(NAMES, 2, groups=dict.fromkeys(NAMES, 0))
    with pytest.raises(ValueError, match="strata: expected every image; received none for case000"):
        make_folds(NAMES, 2, strata={})
    with pytest.raises(ValueError, match="split: expected one of random, block; received blok"):
        make_folds(NAMES, 2, split="blok")
    with pytest.raises(ValueError, match="group: expected a regular expression"):
        groups_by_pattern(NAMES, "(")
    with pytest.raises(ValueError, match="to be found in every name; received case000"):
        groups_by_pattern(NAMES, "patient")
