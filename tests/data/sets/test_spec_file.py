"""Specifications are read from folders and YAML files; every mistake names its file."""

import pytest
import yaml

from maskzoo.data import check_path, load_data, read_spec, spatial_dims_of
from maskzoo.errors import DataError, MaskzooError, MissingFile, OptionError, UnreadableFile


def test_yaml_keys_and_options(tmp_path, save_folder, pictures, masks):
    (tmp_path / "set").mkdir()
    save_folder(tmp_path / "set", pictures(4), masks(4))
    path = tmp_path / "set.yaml"
    path.write_text(yaml.safe_dump({"path": "set", "classes": {"nucleus": 255}, "validation": 0.5}))
    assert read_spec(path).path == str(tmp_path / "set")
    assert read_spec(path).classes == {"nucleus": 255}
    spec = read_spec(path, {"validation": 0.25, "split": "block"})
    assert (spec.validation, spec.split) == (0.25, "block")
    data = load_data(spec, spatial_dims=2)
    assert data.class_names == ["nucleus"]
    path.write_text("pth: set")
    with pytest.raises(OptionError, match=r"set.yaml: unknown key: expected path \(of .*\); received pth"):
        read_spec(path)
    path.write_text("path: elsewhere")
    with pytest.raises(MissingFile, match=r"elsewhere: expected .*; received nothing there"):
        read_spec(path)
    for text in ("- a", "path: [", "path: set\nvalidation: 2", "path: set\nsplit: blok", "path: set\nclasses: 3"):
        path.write_text(text)
        with pytest.raises(MaskzooError, match=r"set.yaml: ") as caught:
            read_spec(path)
        assert "\n" not in str(caught.value)


def test_paths_that_are_no_data_set(tmp_path):
    check_path("synthetic")
    check_path(tmp_path)
    for path in ("nowhere", "nowhere.yaml"):
        with pytest.raises(
            MissingFile, match=rf"{path}: expected a folder with images/ and masks/.*; received nothing"
        ):
            check_path(tmp_path / path)
    (tmp_path / "file.txt").touch()
    with pytest.raises(DataError, match=r"file.txt: expected a folder with images/ and masks/, or a .yaml file; rece"):
        read_spec(tmp_path / "file.txt")
    (tmp_path / "set.yaml").write_text("path: file.txt")
    with pytest.raises(DataError, match=r"file.txt: expected a folder"):
        read_spec(tmp_path / "set.yaml")


def test_a_file_that_is_no_mapping_or_no_yaml(tmp_path):
    path = tmp_path / "set.yaml"
    path.write_text("- a")
    with pytest.raises(DataError, match=r"set.yaml: expected a mapping with keys such as path, .*; received \['a'\]"):
        read_spec(path)
    for content in (b"path: [", b"path: \xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(UnreadableFile, match=r"set.yaml: expected a YAML file; received "):
            read_spec(path)
    (tmp_path / "other.yaml").write_text("path: set.yaml")
    with pytest.raises(DataError, match=r"other.yaml: expected `path` to be a folder; received .*set.yaml"):
        read_spec(tmp_path / "other.yaml")


def test_paths_in_a_file_are_relative_to_it(tmp_path, save_folder, pictures, masks):
    save_folder(tmp_path / "set", pictures(2), masks(2))
    (tmp_path / "set.yaml").write_text("path: set\nfolds: folds.json")
    (tmp_path / "both.yaml").write_text("sets: {set: 1, set.yaml: 2}")
    spec = read_spec(tmp_path / "set.yaml")
    assert (spec.path, spec.folds) == (str(tmp_path / "set"), str(tmp_path / "folds.json"))
    both = read_spec(tmp_path / "both.yaml")
    assert both.sets == {str(tmp_path / "set"): 1, str(tmp_path / "set.yaml"): 2}
    assert both.path == str(tmp_path / "both.yaml")
    assert [spatial_dims_of(one) for one in (spec, both, read_spec("synthetic"))] == [2, 2, None]
