"""A specification takes what a data set can be, and refuses the rest by the name of its key."""

import pytest

from maskzoo.data import DataSpec
from maskzoo.data.labels.run_lengths import Dialect
from maskzoo.data.sets.specification import absolute
from maskzoo.errors import OptionError


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("normalization", ["datasett", None], r"\w+ \(of dataset, image, percentile, none\)"),
        ("split", ["blok", None], r"block \(of random, block\)|one of"),
        ("task", ["multi-class", ""], r"multiclass \(of binary, multilabel, multiclass\)|one of"),
        ("stain", ["macenka", ""], r"macenko \(of macenko, reinhard, vahadane\)|one of"),
        ("validation", [1, 2, -0.1, "half", True, float("nan")], "a fraction from 0 to below 1"),
        ("classes", [3, "cell"], "a list of names or a mapping to label values"),
        ("classes", [["a", "a"], [1, 2]], "names, each once"),
        ("ignore", [3, ["a"], [0.5]], "a list of label values"),
        ("images", [3, ["a"], True], "a folder"),
        ("group", [3, ["a"], {}], "a regular expression"),
        ("band_names", ["B2", [], ["a", "a"], [[1]], [2]], "names of bands, each once"),
        ("labels", [3, ["a"], {"a": 3}, [], {}], "a file or folder, or a mapping from class names to folders"),
        ("rle", [3, "relative", ["relative"], {"relative": 1}], "a mapping from relative, one_based, column_major"),
        ("rle", [{"relativ": True}], r"relative \(of relative, one_based, column_major\)"),
        ("label_suffix", ["", 3], "the end of the names of label files"),
        ("missing", ["ignored"], r"ignore \(of ignore, empty\)"),
        ("missing", ["ignore"], "`labels` with a folder for each class"),
        ("colors", [{}, ["red"], {1: [0, 0, 0]}], "a mapping from class names to colours"),
        ("colors", [{"road": "red"}, {"road": [1, 2]}], r"colours such as \[255, 0, 0\]"),
        ("crs", [4326], "a coordinate system such as EPSG:32633"),
        ("width", [0, -1, "thick"], "how wide lines are, above 0"),
        ("level", [-1, 0.5, True], "a whole number, at least 0"),
        ("resolution", [0, -1, float("inf"), "fine"], "the size of a pixel, above 0"),
        (
            "sets",
            [{}, ["a"], {"a": 0}, {"a": float("nan")}, {"a": True}],
            "a mapping from data sets to weights",
        ),
    ],
)
def test_other_values_are_refused(key, values, expected):
    for value in values:
        with pytest.raises(OptionError, match=f"^{key}: expected ({expected}).*; received ") as caught:
            DataSpec(**{key: value})
        assert caught.value.name == key


def test_keys_that_exclude_each_other():
    with pytest.raises(OptionError, match="level: expected either `level` or `resolution`; received both"):
        DataSpec(level=1, resolution=0.5)
    with pytest.raises(OptionError, match="band_names: expected either `bands` or `band_names`; received both"):
        DataSpec(bands=[1], band_names=["a"])
    for others in ({"task": "multiclass"}, {"ignore": [9]}, {"classes": {"cell": 1}}):
        with pytest.raises(OptionError, match="instances: expected a binary task without `ignore` and"):
            DataSpec(instances=True, **others)
    assert DataSpec(instances=True, task="binary", classes=["cell"]).instances


def test_colours_go_with_names_and_may_be_ignored():
    spec = DataSpec(colors={"a": [1, 1, 1], "b": "#020202"}, classes=["b", "a"], ignore=["#ffffff", 7])
    assert spec.color_table is not None
    assert spec.color_table.names == ("b", "a")
    assert spec.ignored_values == (7, 255)
    with pytest.raises(OptionError, match="classes: expected the names of `colors`, a; received b"):
        DataSpec(colors={"a": [1, 1, 1]}, classes=["b"])
    for others in ({"instances": True}, {"labels": {"a": "a"}}, {"classes": {"a": 1}}):
        with pytest.raises(OptionError, match="colors: expected `labels` in one folder"):
            DataSpec(colors={"a": [1, 1, 1]}, **others)
    assert DataSpec(labels={"a": "a"}, missing="ignore").ignored_values == (-1,)
    assert DataSpec(labels={"a": "a"}, missing="empty").ignored_values == ()


def test_the_dialect_of_runs():
    assert DataSpec().dialect == Dialect()
    assert DataSpec(rle={"relative": True, "column_major": False}).dialect == Dialect(relative=True, column_major=False)


def test_paths_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = absolute(DataSpec(path="a", folds="f.json"))
    assert (spec.path, spec.folds) == (str(tmp_path / "a"), str(tmp_path / "f.json"))
    assert absolute(DataSpec()) == DataSpec()
    joined = absolute(DataSpec(path="j.yaml", sets={"a": 1, "synthetic": 2}))
    assert joined.sets == {str(tmp_path / "a"): 1, "synthetic": 2}
