"""NIfTI volumes show the voxels that nibabel shows, with their place and their scale."""

import nibabel
import numpy as np
import pytest
from concurrency import whole

from maskzoo.data import Window, open_source
from maskzoo.errors import ImageError


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


def test_real_volumes_show_the_voxels_that_nibabel_shows(shared_data):
    for path in sorted((shared_data / "hippocampus" / "images").iterdir())[:5]:
        source = open_source(path)
        np.testing.assert_array_equal(whole(source)[..., 0], np.asarray(nibabel.load(path).dataobj))
        np.testing.assert_array_equal(source.frame.affine, nibabel.load(path).affine)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_volumes_keep_affine_and_type(tmp_path, suffix):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    voxels = noise((10, 11, 12), np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / f"volume{suffix}")
    source = open_source(tmp_path / f"volume{suffix}")
    assert (source.shape, source.channels, source.dtype) == ((10, 11, 12), 1, np.int16)
    np.testing.assert_array_equal(source.frame.affine, affine)
    np.testing.assert_array_equal(source.read(Window((2, 3, 4), (5, 6, 7)))[..., 0], voxels[2:7, 3:9, 4:11])
    mirrored = np.pad(voxels, [(4, 0), (0, 5), (6, 6)], mode="reflect")
    np.testing.assert_array_equal(source.read(Window((-4, 0, -6), mirrored.shape))[..., 0], mirrored)


def test_volumes_with_a_slope_and_with_channels(tmp_path):
    voxels = noise((5, 6, 7, 2), np.int16)
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    source = open_source(tmp_path / "scaled.nii.gz")
    stored = np.asarray(nibabel.load(tmp_path / "scaled.nii.gz").dataobj)
    assert (source.shape, source.channels, source.dtype) == ((5, 6, 7), 2, np.float32)
    np.testing.assert_allclose(whole(source), stored, rtol=1e-6)


def test_a_volume_of_one_slice_is_an_image_if_one_is_asked_for(tmp_path):
    nibabel.save(nibabel.Nifti1Image(noise((5, 6, 1), np.int16), np.diag([2.0, 3, 4, 1])), tmp_path / "slice.nii")
    source = open_source(tmp_path / "slice.nii", spatial_dims=2)
    assert (source.shape, source.channels, source.frame.spacing) == ((5, 6), 1, (2.0, 3.0))
    np.testing.assert_array_equal(whole(source), noise((5, 6, 1), np.int16))
    nibabel.save(nibabel.Nifti1Image(noise((5, 6, 2), np.int16), np.eye(4)), tmp_path / "volume.nii")
    with pytest.raises(ImageError, match=r"expected an image with 2 spatial axes; received a volume"):
        open_source(tmp_path / "volume.nii", spatial_dims=2)


AFFINE = np.diag([0.5, 0.75, 3.0, 1.0])


def with_header(path, **values):
    """A volume of which some fields of the header are overwritten, whatever nibabel thinks of them."""
    image = nibabel.Nifti1Image(noise((5, 6, 7)), AFFINE)
    nibabel.save(image, path)
    header = nibabel.load(path).header.copy()
    for name, value in values.items():
        header[name] = value
    content = path.read_bytes()
    path.write_bytes(header.binaryblock + content[len(header.binaryblock) :])
    return path


@pytest.mark.parametrize(
    "values",
    [
        {"srow_z": [0, 0, 0, 5]},
        {"srow_x": [np.nan, 0, 0, 5]},
        {"srow_x": [0.5, 0, 0, np.inf]},
        {"srow_y": [1, 0, 0, 0]},  # along the first axis too
    ],
)
def test_an_affine_without_a_grid_counts_for_nothing_and_that_is_noted(tmp_path, values):
    source = open_source(with_header(tmp_path / "a.nii", **values))
    assert (source.frame.has_place, source.frame.orientation, source.frame.spacing) == (False, None, (0.5, 0.75, 3.0))
    assert "the place in its header is none" in source.notes[0]
    # A qform takes its place.
    source = open_source(with_header(tmp_path / "b.nii", **values, qform_code=1))
    assert (source.frame.has_place, source.frame.spacing) == (True, (0.5, 0.75, 3.0))


def test_voxels_without_size_have_none(tmp_path):
    source = open_source(with_header(tmp_path / "a.nii", sform_code=0, pixdim=[1, np.nan, 0, 1, 0, 0, 0, 0]))
    assert source.frame.spacing is None


def test_two_places_in_one_header_are_noted(tmp_path):
    path = tmp_path / "a.nii"
    for shift, notes in ((0.01, ()), (2.0, ("its sform and its qform say different places: the sform counts",))):
        image = nibabel.Nifti1Image(noise((5, 6, 7)), AFFINE)
        moved = AFFINE.copy()
        moved[:3, 3] += shift
        image.set_sform(AFFINE, 1)
        image.set_qform(moved, 1)
        nibabel.save(image, path)
        source = open_source(path)
        assert source.notes == notes
        np.testing.assert_allclose(source.frame.affine, AFFINE)


def test_an_axis_of_one_time_before_the_channels_is_left_out(tmp_path):
    voxels = noise((5, 6, 7, 1, 2))
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / "a.nii")
    source = open_source(tmp_path / "a.nii")
    assert (source.shape, source.channels) == ((5, 6, 7), 2)
    np.testing.assert_array_equal(whole(source), voxels[:, :, :, 0])
