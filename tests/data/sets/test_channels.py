"""Channels in several files: found by names as nnU-Net writes them, or declared as folders or endings."""

import nibabel
import numpy as np
import pytest

from maskzoo.data import Window, load_data, open_as_trained, read_spec
from maskzoo.data.sets.channels import found_channels
from maskzoo.data.sets.image_opening import images_as_trained, name_as_trained
from maskzoo.errors import DataError, ImageError, MissingFile


def save(path, value, shape=(6, 5, 4), affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.full(shape, value, np.int16)
    voxels[0] += 1
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)


@pytest.fixture
def modalities(tmp_path):
    """A folder in the manner of nnU-Net: two cases of two modalities each."""
    for case in (1, 2):
        for number in (0, 1):
            save(tmp_path / "images" / f"p{case}_000{number}.nii.gz", 10 * case + 100 * number)
        save(tmp_path / "labels" / f"p{case}.nii.gz", 0)
    return tmp_path


def first_voxel(source):
    return source.read(Window((1, 1, 1), (1, 1, 1))).ravel().tolist()


def test_modalities_are_channels_of_one_case(modalities):
    found = load_data(modalities, spatial_dims=3)
    cases = sorted(found.train + found.validation, key=lambda case: case.name)
    assert [case.name for case in cases] == ["p1", "p2"]
    assert [first_voxel(case.image) for case in cases] == [[10, 110], [20, 120]]
    assert found.channels == 2
    trained = found.as_mapping()["spec"]
    assert trained["channels"] == {"0000": "_0000", "0001": "_0001"}
    images = images_as_trained(modalities / "images", trained)
    assert [name_as_trained(image, trained) for image in images] == ["p1", "p2"]
    # Any file of a case will do.
    for file in ("p2_0000.nii.gz", "p2_0001.nii.gz"):
        source = open_as_trained(modalities / "images" / file, trained, 3)
        assert (first_voxel(source), source.name) == ([20, 120], str(modalities / "images" / "p2.nii.gz"))


def test_the_fingerprint_is_that_of_all_channels(modalities):
    before = load_data(modalities, spatial_dims=3).fingerprint
    save(modalities / "images" / "p2_0001.nii.gz", 7)
    assert load_data(modalities, spatial_dims=3).fingerprint != before


def test_a_case_that_lacks_a_channel_is_refused(modalities):
    (modalities / "images" / "p2_0001.nii.gz").unlink()
    with pytest.raises(DataError, match="p2_0000: expected the same channels for all cases, _0000, _0001; received no"):
        load_data(modalities, spatial_dims=3)


def test_numbered_images_with_labels_of_the_same_names_are_images(modalities):
    assert found_channels(["a_0000", "a_0001"], ["a_0000", "a_0001"]) is None
    assert found_channels(["a_0000", "a_0001"], ["b"]) is None
    assert found_channels(["a_0000", "b"], ["a"]) is None
    assert found_channels(["a_0000"], ["a"]) == {"0000": "_0000"}


def test_channels_at_another_place_are_refused_and_turned_ones_fit(modalities):
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 5
    save(modalities / "images" / "p1_0001.nii.gz", 110, affine=flipped)
    found = load_data(modalities, spatial_dims=3)
    case = next(case for case in found.train + found.validation if case.name == "p1")
    assert case.image.read(Window((0, 0, 0), (6, 1, 1)))[:, 0, 0, 1].tolist() == [110] * 5 + [111]
    save(modalities / "images" / "p1_0001.nii.gz", 110, affine=np.diag([2.0, 1, 1, 1]))
    with pytest.raises(ImageError, match=r"expected the place of .*p1_0000.nii.gz, RAS, pixels of 1 x 1 x 1"):
        load_data(modalities, spatial_dims=3)


def test_folders_are_channels(tmp_path, save_yaml):
    for case in (1, 2):
        for number, place in enumerate(("dirR", "dirN")):
            save(tmp_path / place / f"p{case}.nii.gz", 10 * case + 100 * number)
        save(tmp_path / "labels" / f"p{case}.nii.gz", 0)
    spec = save_yaml(tmp_path / "set.yaml", path=".", labels="labels", channels={"red": "dirR", "nir": "dirN"})
    found = load_data(spec, spatial_dims=3)
    assert sorted(first_voxel(case.image) for case in found.train + found.validation) == [[10, 110], [20, 120]]
    trained = found.as_mapping()["spec"]
    (first, _) = images_as_trained(tmp_path, trained)
    assert first_voxel(open_as_trained(first, trained, 3)) == [10, 110]
    assert first_voxel(open_as_trained(tmp_path / "dirN" / "p1.nii.gz", trained, 3)) == [10, 110]
    (tmp_path / "dirN" / "p2.nii.gz").unlink()
    with pytest.raises(MissingFile, match="expected a file p2, as for the other channels"):
        load_data(read_spec(spec), spatial_dims=3)
