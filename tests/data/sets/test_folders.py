"""The images and labels of a folder are found by their names; what is missing or ambiguous is named."""

import cv2
import numpy as np
import pytest

from maskzoo.data import DataSpec
from maskzoo.data.sets.folders import files_by_stem, find_folders, spatial_dims_of_file
from maskzoo.errors import DataError, MissingFile


def test_the_folders_of_images_and_labels(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    assert find_folders(DataSpec(path=str(tmp_path))) == (tmp_path / "images", tmp_path / "labels")
    for name in ("photos", "lungs", "hearts"):
        (tmp_path / name).mkdir()
    (tmp_path / "train.csv").touch()
    assert find_folders(DataSpec(path=str(tmp_path), images="photos", labels="train.csv")) == (
        tmp_path / "photos",
        tmp_path / "train.csv",
    )
    several = DataSpec(path=str(tmp_path), labels={"lung": "lungs", "heart": "hearts"})
    assert find_folders(several)[1] == {"lung": tmp_path / "lungs", "heart": tmp_path / "hearts"}


def test_missing_and_ambiguous_folders(tmp_path):
    spec = DataSpec(path=str(tmp_path))
    with pytest.raises(MissingFile, match=f"^{tmp_path}: expected a folder images/ in it, or .*; received no images/$"):
        find_folders(spec)
    (tmp_path / "images").mkdir()
    with pytest.raises(MissingFile, match=r"expected a folder masks/ or labels/ in it, or .*; received no masks/"):
        find_folders(spec)
    with pytest.raises(MissingFile, match="expected harts in it, as `labels` says; received no harts"):
        find_folders(DataSpec(path=str(tmp_path), labels={"lung": "images", "heart": "harts"}))
    for name in ("masks", "labels"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match="expected either masks/ or labels/; received both"):
        find_folders(spec)
    with pytest.raises(DataError, match="expected one data set; received 2, which must be looked at one by one"):
        find_folders(DataSpec(path=str(tmp_path), sets={"a": 1, "b": 1}))


def test_files_by_name(tmp_path):
    for name in ("b.tif", "a.nii.gz", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    assert files_by_stem(tmp_path) == {"a": tmp_path / "a.nii.gz", "b": tmp_path / "b.tif"}
    assert list(files_by_stem(tmp_path, (".txt",))) == ["notes"]
    with pytest.raises(MissingFile, match=r"expected files of type .geojson .json; received a folder without any"):
        files_by_stem(tmp_path, (".geojson", ".json"))
    (tmp_path / "b.png").touch()
    with pytest.raises(DataError, match=r"b.tif: expected one file of this name; received b.png as well"):
        files_by_stem(tmp_path)


def test_the_axes_that_a_format_implies(tmp_path):
    cv2.imwrite(str(tmp_path / "flat.tif"), np.zeros((20, 20), np.uint8))
    cv2.imwritemulti(str(tmp_path / "stack.tif"), [np.zeros((20, 20), np.uint8)] * 3)
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "1.dcm").touch()
    expected = {"flat.tif": 2, "stack.tif": None, "a.png": 2, "a.nii.gz": 3, "a.npy": None, "scan": 3}
    assert {name: spatial_dims_of_file(tmp_path / name) for name in expected} == expected
