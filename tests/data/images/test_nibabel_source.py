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
