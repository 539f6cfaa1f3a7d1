"""Specifications are read from folders and YAML files; every mistake names its file."""

import json

import numpy as np
import pytest
import rasterio
import yaml

from maskzoo.data import Window, check_path, load_data, read_spec, spatial_dims_of
from maskzoo.data.images.raster_files import open_raster
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


@pytest.mark.parametrize("place", ["beside", "absolute"])
def test_a_file_that_names_folders_but_no_path_is_not_synthetic(place, tmp_path, save_folder, pictures, masks):
    save_folder(tmp_path, pictures(4), masks(4))
    (images, labels) = (folder.rename(tmp_path / f"my_{folder.name}") for folder in sorted(tmp_path.iterdir()))
    path = tmp_path / "set.yaml"
    names = [str(folder if place == "absolute" else folder.name) for folder in (images, labels)]
    path.write_text(yaml.safe_dump(dict(zip(("images", "labels"), names, strict=True))))
    found = load_data(read_spec(path), spatial_dims=2)
    assert len(found.train) + len(found.validation) == len(list(images.iterdir()))
    path.write_text("task: binary")
    assert read_spec(path).path == "synthetic"


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


WHOLE = Window((0, 0), (20, 30))


def raster(path, bands, **options):
    """Writes bands `(bands, rows, columns)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = dict(zip(("count", "height", "width"), bands.shape, strict=True))
    with open_raster(path, "w", **{"driver": "GTiff", "dtype": bands.dtype.name, **size, **options}) as file:
        file.write(bands)


@pytest.fixture
def loaded(tmp_path):
    """Function that loads a set of four images of four bands by a YAML file; returns the first case and a reader."""
    rng = np.random.default_rng(0)
    mask = np.zeros((1, 20, 30), np.uint8)
    mask[:, 4:9, 6:12] = 1

    def load(save=None, masks="masks", suffix="", **keys):
        for number in range(4):
            bands = rng.integers(1, 255, (4, 20, 30), np.uint8)
            place = {"crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 500000, 0, -1, 5000000)}
            raster(tmp_path / "images" / f"a{number}.tif", bands, photometric="rgb", alpha="yes", **place)
            raster(tmp_path / masks / f"a{number}{suffix}.png", mask, driver="PNG")
        if save:
            save(tmp_path, mask)
        (tmp_path / "set.yaml").write_text(yaml.safe_dump({"path": ".", **keys}, sort_keys=False))
        found = load_data(tmp_path / "set.yaml", spatial_dims=2)
        case = min([*found.train, *found.validation], key=lambda case: case.name)
        with rasterio.open(tmp_path / "images" / "a0.tif") as file:
            return found, case, file.read()

    return load


def pixels(case):
    """The pixels of the first image as the network gets them, but for their mean and deviation."""
    return case.image.read(WHOLE)


def test_bands_of_a_yaml_file_are_read_in_their_order(loaded):
    found, case, bands = loaded(bands=[4, 1])
    assert found.channels == 2
    np.testing.assert_array_equal(pixels(case), np.moveaxis(bands[[3, 0]], 0, -1))


@pytest.mark.parametrize(("alpha", "channels"), [(None, 4), ("data", 4), ("mask", 3)])
def test_alpha_of_a_yaml_file_says_what_the_fourth_band_is(loaded, alpha, channels):
    found, case, bands = loaded(**({} if alpha is None else {"alpha": alpha}))
    assert found.channels == channels
    np.testing.assert_array_equal(pixels(case), np.moveaxis(bands[:channels], 0, -1))
    if alpha == "mask":
        assert found.as_mapping()["spec"]["alpha"] == "mask"


def test_rescale_of_a_yaml_file_brings_types_together(loaded):
    def save(folder, _mask):
        raster(folder / "images" / "a3.tif", np.full((4, 20, 30), 65535, np.uint16), alpha="unspecified")

    with pytest.raises(MaskzooError, match=r"a3.tif: expected values such as those of .*; received uint16"):
        loaded(save)
    _, case, bands = loaded(save, rescale=True)
    assert case.image.dtype == np.uint16
    np.testing.assert_array_equal(pixels(case), np.moveaxis(bands, 0, -1) * np.uint16(257))


def test_crs_of_a_yaml_file_says_where_outlines_lie(loaded):
    def save(folder, _mask):
        ring = [[6, 4], [12, 4], [12, 9], [6, 9], [6, 4]]
        for number in range(4):
            path = folder / "outlines" / f"a{number}.geojson"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))

    with pytest.raises(MaskzooError, match="outlines that touch"):
        loaded(save, labels="outlines")
    _, case, _ = loaded(save, labels="outlines", crs="pixels")
    labels = case.read_label(WHOLE)
    assert labels[4:9, 6:12].all()
    assert labels.sum() == 30


def test_colors_of_a_yaml_file_are_classes(loaded):
    def save(folder, mask):
        for number in range(4):
            colours = np.concatenate([mask * 255, mask * 0, 1 - mask])
            raster(folder / "masks" / f"a{number}.png", colours, driver="PNG")

    found, case, _ = loaded(save, colors={"road": [255, 0, 0], "field": "#000001"})
    assert (found.task, found.class_names) == ("multiclass", ["background", "road", "field"])
    labels = case.read_label(WHOLE)
    assert (labels[5, 7], labels[0, 0]) == (1, 2)


@pytest.mark.parametrize(("missing", "value"), [("ignore", 255), ("empty", 0)])
def test_missing_of_a_yaml_file_says_what_a_missing_mask_means(loaded, missing, value):
    def save(folder, mask):
        for number in range(1, 4):
            raster(folder / "others" / f"a{number}.png", mask, driver="PNG")

    found, case, _ = loaded(save, labels={"a": "masks", "b": "others"}, missing=missing)
    assert found.class_names == ["a", "b"]
    labels = case.read_label(WHOLE)
    assert (labels[..., 1] == value).all()
    assert labels[..., 0].sum() == 30


def test_label_suffix_of_a_yaml_file_finds_the_labels(loaded):
    with pytest.raises(MissingFile, match=r"a0.tif: expected a counterpart"):
        loaded(suffix="_mask")
    _, case, _ = loaded(suffix="_mask", label_suffix="_mask")
    assert case.read_label(WHOLE).sum() == 30
