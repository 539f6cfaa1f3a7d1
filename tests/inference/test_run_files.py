"""The descriptions of a run: written and read again, from older versions, and refused from newer ones."""

import json

import pytest

from maskzoo.errors import MissingFile, RunError
from maskzoo.inference.run_files import Decision, RunData, read_decision, read_run_data

# As the first version wrote them, without format numbers.
OLD_DATA = {
    "task": "multilabel",
    "class_names": ["lung", "heart"],
    "num_classes": 2,
    "ignore_index": None,
    "channels": 1,
    "rank": 3,
    "normalization": {"kind": "none", "channels": 1},
    "labels": {"task": "multilabel", "class_names": ["lung", "heart"]},
    "spec": {"path": "/data/chest", "level": 2},
    "seed": 7,
    "train": ["a", "b"],
    "validation": ["c"],
    "fingerprint": "0123",
    "patch": [16, 16, 8],
    "fine": {"large": [0], "fine": [1], "region": "mask"},
}
OLD_DECISION = {
    "thresholds": [0.5, 0.25],
    "groups": {"pattern": "^[ab]", "thresholds": {"a": [0.5, 0.75], "b": [0.25, 0.5]}},
    "holes": [9, 0],
    "minimum_area": [0, 4],
    "metric": "mean_dice",
    "score": 0.75,
    "score_at_half": 0.5,
    "gain": 0.25,
    "gain_of_thresholds_left_out": None,
    "chosen_on": {"images": 3, "runs": ["one"], "tta": "none"},
    "ensemble": {"thresholds": [0.5, 0.5], "members": ["one", "two"], "weights": [0.25, 0.75]},
}


def written(path, values):
    path.write_text(json.dumps(values))
    return path.parent


def test_an_older_data_file_is_read(tmp_path):
    found = read_run_data(written(tmp_path / "data.json", OLD_DATA))
    assert (found.spatial_dims, found.class_names, found.num_classes) == (3, ("lung", "heart"), 2)
    assert (found.patch, found.train, found.validation) == ((16, 16, 8), ("a", "b"), ("c",))
    assert found.roi_classes == OLD_DATA["fine"]
    assert found.format == 0


def test_an_older_decision_is_read(tmp_path):
    found = read_decision(written(tmp_path / "decision.json", OLD_DECISION))
    assert (found.thresholds, found.holes, found.minimum_area, found.gate) == ((0.5, 0.25), (9, 0), (0, 4), None)
    assert found.groups.thresholds["b"] == (0.25, 0.5)
    assert found.ensemble.weights == (0.25, 0.75)


def test_files_keep_the_names_that_an_older_version_reads(tmp_path):
    RunData.from_mapping(OLD_DATA).write(tmp_path)
    Decision.from_mapping(OLD_DECISION).write(tmp_path)
    assert json.loads((tmp_path / "data.json").read_text()) == OLD_DATA | {"format": 1}
    expected = {name: value for name, value in OLD_DECISION.items() if value is not None}
    assert json.loads((tmp_path / "decision.json").read_text()) == expected | {"format": 1}
    assert read_run_data(tmp_path) == RunData.from_mapping(OLD_DATA)
    assert read_decision(tmp_path) == Decision.from_mapping(OLD_DECISION)


@pytest.mark.parametrize(("name", "read"), [("data.json", read_run_data), ("decision.json", read_decision)])
def test_files_that_cannot_be_read_are_named(tmp_path, name, read):
    with pytest.raises(MissingFile, match=name):
        read(tmp_path)
    values = (OLD_DATA if name == "data.json" else OLD_DECISION) | {"format": 2}
    for content, problem in (
        (json.dumps(values), "expected format 1 or older; received 2, which a newer version of maskzoo wrote"),
        ("{", "expected a JSON file"),
        ("[1]", "expected a JSON object"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(RunError, match=problem) as error:
            read(tmp_path)
        assert name in str(error.value)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"class_names": 3}, "expected a list as class_names; received 3"),
        ({"rank": "2"}, "expected a whole number as rank; received '2'"),
        ({"normalization": [1]}, r"expected a JSON object as normalization; received \[1\]"),
        ({"format": "1"}, "expected format 1 or older; received '1'$"),
    ],
)
def test_an_entry_of_another_kind_is_refused(changes, problem):
    with pytest.raises(RunError, match=problem):
        RunData.from_mapping(OLD_DATA | changes)


def test_an_entry_that_is_missing_is_named_as_in_the_file(tmp_path):
    values = {name: value for name, value in OLD_DATA.items() if name not in ("rank", "task")}
    with pytest.raises(RunError, match="received one without task, rank"):
        read_run_data(written(tmp_path / "data.json", values))


def test_decisions_agree_where_all_are_alike():
    one = Decision((0.5,), minimum_area=(4,), holes=(1,), metric="dice")
    other = Decision((0.25,), minimum_area=(4,), holes=(2,), metric="dice")
    assert one.agreed_with([other]) == Decision(minimum_area=(4,), metric="dice")
