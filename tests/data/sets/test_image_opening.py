"""Images and labels of a set at its scale: median spacing, orientation, size; labels by place; old runs as before."""

from dataclasses import replace

import cv2
import nibabel
import numpy as np
import pytest

from maskzoo.data import DataSpec, Window, labelled_cases, load_data, open_as_trained, read_spec, resumed_spec
from maskzoo.data.sets.image_opening import images_as_trained, scale_as_trained, settled
from maskzoo.data.sets.parts import open_parts
from maskzoo.errors import LabelError, OptionError

FLIPPED = np.array([[-1.0, 0, 0, 7], [0, -1, 0, 5], [0, 0, 3, 0], [0, 0, 0, 1]])


def save_set(folder, affines, label_affine=None, seed=0):
    rng = np.random.default_rng(seed)
    for number, affine in enumerate(affines):
        voxels = rng.integers(0, 50, (8, 6, 4)).astype(np.int16)
        voxels[2:6, 1:3, 1:3] += 100
        label = (voxels >= 100).astype(np.uint8)
        if label_affine is not None:
            label, label_place = label[::-1, ::-1], label_affine
        else:
            label_place = affine
        for name, array, place in (("images", voxels, affine), ("masks", label, label_place)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, place), folder / name / f"{number}.nii.gz")
    return folder


def whole_of(case):
    window = Window((0,) * len(case.image.shape), case.image.shape)
    return case.image.read(window)[..., 0], case.read_label(window)[..., 0]


def test_a_label_stored_flipped_lies_on_its_image(tmp_path):
    found = load_data(save_set(tmp_path, [np.diag([1.0, 1, 3, 1])] * 2, FLIPPED), spatial_dims=3)
    for case in found.train + found.validation:
        image, label = whole_of(case)
        np.testing.assert_array_equal(label, image >= 100)


def test_a_label_at_another_place_is_refused_with_both_places(tmp_path):
    elsewhere = FLIPPED.copy()
    elsewhere[0, 3] += 2
    with pytest.raises(
        LabelError, match=r"at the place of .*0.nii.gz, RAS, .*; received LPS, pixels of 1 x 1 x 3 from"
    ):
        load_data(save_set(tmp_path, [np.diag([1.0, 1, 3, 1])] * 2, elsewhere), spatial_dims=3)


def test_the_median_spacing_is_that_of_turned_volumes(tmp_path):
    permuted = np.array([[0, 0.8, 0, 0], [0, 0, 0.8, 0], [5, 0, 0, 0], [0, 0, 0, 1]])
    folder = save_set(tmp_path, [np.diag([0.5, 0.5, 3, 1]), permuted, np.diag([0.5, 0.5, 3, 1])])
    spec = settled(DataSpec(path=str(folder), spacing="median"), 3)
    assert spec.spacing == [0.5, 0.5, 3]
    found = load_data(DataSpec(path=str(folder), spacing="median"), spatial_dims=3)
    for case in found.train + found.validation:
        np.testing.assert_allclose(case.image.frame.spacing, (0.5, 0.5, 3), rtol=0.1)
        assert case.image.frame.orientation == "RAS"
        image, label = whole_of(case)
        assert image.shape == label.shape
    trained = found.as_mapping()["spec"]
    assert (trained["spacing"], trained["orientation"]) == ([0.5, 0.5, 3], "RAS")
    assert open_as_trained(folder / "images" / "1.nii.gz", trained, 3).shape == (10, 6, 13)


def test_runs_of_version_0_1_keep_reading_volumes_as_they_lie(tmp_path):
    folder = save_set(tmp_path, [FLIPPED] * 2)
    mapping = load_data(DataSpec(path=str(folder)), spatial_dims=3).as_mapping()
    (case,) = labelled_cases(mapping)
    assert case.image.frame.orientation == "RAS"
    for name in ("orientation", "spacing", "resize", "channels"):
        del mapping["spec"][name]
    (old,) = labelled_cases(mapping)
    assert old.image.frame.orientation == "LPS"
    assert {case.image.frame.orientation for case in labelled_cases(mapping, folder)} == {"LPS"}
    assert open_as_trained(folder / "images" / "0.nii.gz", mapping["spec"], 3).own is None


def test_a_resumed_run_keeps_reading_volumes_as_it_began(tmp_path):
    folder = save_set(tmp_path, [FLIPPED] * 2)
    spec = read_spec(folder)
    assert resumed_spec(spec, folder, {"path": str(folder)}).orientation == "stored"
    assert resumed_spec(spec, folder, {"orientation": "RAS"}) == spec
    (folder / "set.yaml").write_text("path: .\norientation: LPS\n")
    told = read_spec(folder / "set.yaml")
    assert resumed_spec(told, folder / "set.yaml", {"path": str(folder)}).orientation == "LPS"


def test_joined_sets_of_an_older_run_keep_their_axes_too(tmp_path):
    for name in "ab":
        save_set(tmp_path / name, [FLIPPED] * 2, seed=ord(name))
    (tmp_path / "b/set.yaml").write_text("path: .\norientation: RAS\n")
    joined = DataSpec(path=str(tmp_path), sets={str(tmp_path / "a"): 1, str(tmp_path / "b/set.yaml"): 1})
    for orientation, expected in (("RAS", {"RAS"}), ("stored", {"LPS", "RAS"})):
        parts = open_parts(replace(joined, orientation=orientation), 3, 0)
        assert {pair.image.frame.orientation for part in parts for pair in part.pairs} == expected


@pytest.mark.parametrize(("resize", "shape"), [(20, (20, 20)), ("16x24", (16, 24)), (0.5, (24, 30))])
def test_pictures_are_read_at_a_size(tmp_path, resize, shape):
    for number in range(2):
        image = np.random.default_rng(number).integers(0, 40, (48, 60)).astype(np.uint8)
        image[12:36, 15:45] += 180
        for name, array in (("images", image), ("masks", np.where(image > 100, 255, 0))):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), array)
    found = load_data(DataSpec(path=str(tmp_path), resize=resize), spatial_dims=2)
    for case in found.train + found.validation:
        image, label = whole_of(case)
        assert (image.shape, label.shape) == (shape, shape)
        assert np.mean(label == (image > 110)) > 0.95
        assert case.image.own.shape == (48, 60)
    assert labelled_cases(found.as_mapping(), tmp_path)[0].image.shape == shape


def test_what_is_asked_for_replaces_what_the_run_read():
    trained = {"spacing": [1, 1, 3], "orientation": "LPS"}
    assert scale_as_trained(trained).spacing == [1, 1, 3]
    asked = scale_as_trained(trained, {"level": 1, "resolution": None})
    assert (asked.level, asked.spacing, asked.orientation) == (1, None, "LPS")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"spacing": [1, 0, 1]}, "spacing: expected a size above 0"),
        ({"spacing": "mean"}, "spacing: expected a size above 0, one for each axis, or median"),
        ({"resize": "12by3"}, "resize: expected pixels such as 512 or 384x576"),
        ({"resize": 1.5}, "resize: expected pixels"),
        ({"orientation": "RAA"}, "orientation: expected letters such as RAS"),
        ({"resize": 5, "spacing": 1}, "resize: expected either `resize` or `spacing`"),
        ({"level": 1, "spacing": 1}, "level: expected either `level` or `spacing`"),
        ({"channels": ["a"]}, "channels: expected a mapping"),
    ],
)
def test_impossible_scales_are_refused(keys, message):
    with pytest.raises(OptionError, match=message):
        DataSpec(**keys)


def test_a_resolution_per_axis_is_a_spacing():
    assert (DataSpec(resolution=[1, 1, 3]).spacing, DataSpec(resolution=[1, 1, 3]).resolution) == ([1, 1, 3], None)


def test_what_is_left_out_of_a_folder_to_predict_is_said(tmp_path, pictures, caplog):
    (tmp_path / "more").mkdir()
    for name in ("a.png", "more/b.png"):
        cv2.imwrite(str(tmp_path / name), pictures(1)[0])
    (tmp_path / "c.czi").write_bytes(b"x")
    assert images_as_trained(tmp_path, {}) == [tmp_path / "a.png"]
    assert caplog.messages == [
        f"left out: the images in the folder {tmp_path / 'more'}",
        f"left out: 1 file of type .czi in {tmp_path}",
    ]
