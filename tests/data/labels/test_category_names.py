"""Class names that GIS programs keep beside a raster of class ids are the names of the classes."""

import numpy as np
import pytest
import tifffile

from maskzoo import data
from maskzoo.data.labels.category_names import category_names
from maskzoo.data.labels.finding import find_scheme
from maskzoo.errors import UnreadableFile

NAMES = "<Category>{}</Category>"


def raster(folder, name, values, names=None):
    path = folder / f"{name}.tif"
    tifffile.imwrite(path, np.resize(np.array(values, np.uint8), (4, 4)))
    if names is not None:
        entries = "".join(map(NAMES.format, names))
        path.with_name(f"{path.name}.aux.xml").write_text(
            f"<PAMDataset><PAMRasterBand band='1'><CategoryNames>{entries}</CategoryNames></PAMRasterBand></PAMDataset>"
        )
    return path


def scheme_of(paths, **options):
    return find_scheme([data.open_source(path, spatial_dims=2) for path in paths], **options)


def test_values_have_the_names_that_are_kept_beside_them(tmp_path):
    paths = [raster(tmp_path, "a", [0, 1, 2], ["other", "road", "water"]), raster(tmp_path, "b", [0, 2])]
    assert scheme_of(paths).class_names == ("other", "road", "water")
    assert scheme_of(paths, classes=["x", "y", "z"]).class_names == ("x", "y", "z")
    assert category_names(paths[0]) == {0: "other", 1: "road", 2: "water"}


def test_a_mask_is_called_as_its_value(tmp_path):
    assert scheme_of([raster(tmp_path, "a", [0, 1], ["", "road"])]).class_names == ("road",)


@pytest.mark.parametrize("other", [["other", "water", "road"], ["other", "road", "road"], ["other", "road"]])
def test_names_that_differ_repeat_or_lack_one_are_left_alone(tmp_path, other):
    paths = [raster(tmp_path, "a", [0, 1, 2], other)]
    if len(set(other)) == 3:
        paths.append(raster(tmp_path, "b", [0, 1, 2], ["other", "road", "water"]))
    assert scheme_of(paths).class_names == ("0", "1", "2")


def test_a_damaged_file_beside_a_raster_is_named(tmp_path):
    path = raster(tmp_path, "a", [0, 1], ["", "road"])
    beside = path.with_name(f"{path.name}.aux.xml")
    beside.write_text("<PAMDataset>")
    with pytest.raises(UnreadableFile, match=r"a\.tif\.aux\.xml"):
        category_names(path)
