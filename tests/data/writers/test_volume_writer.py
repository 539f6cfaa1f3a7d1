"""NIfTI volumes keep the place and the units of the volume that they are like."""

import nibabel
import numpy as np
import pytest

from maskzoo.data import open_source


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_affine_and_units_are_kept(tmp_path, suffix, write, values):
    affine = np.array([[0, 2, 0, 5], [3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(np.zeros((6, 7, 8), np.float32), affine)
    image.header.set_slope_inter(0.5, 3)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "in.nii")
    array = values((6, 7, 8, 1))
    write(tmp_path / f"out{suffix}", array, 4, like=open_source(tmp_path / "in.nii"))
    written = nibabel.load(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(written.affine, affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), array[..., 0])
    assert written.get_data_dtype() == np.uint8
    assert written.header.get_xyzt_units() == ("mm", "sec")


def test_what_has_no_place_is_written_without_one(tmp_path, write, values):
    nibabel.save(nibabel.Nifti1Image(np.zeros((6, 7, 8), np.uint8), None), tmp_path / "nowhere.nii")
    for name, like in (("a", None), ("b", open_source(tmp_path / "nowhere.nii")), ("c", open_source(np.zeros((6, 7))))):
        array = values((*(like.shape if like else (6, 7, 8)), 1))
        write(tmp_path / f"{name}.nii", array, 4, like=like)
        header = nibabel.load(tmp_path / f"{name}.nii").header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
        assert not open_source(tmp_path / f"{name}.nii").frame.has_place


def test_a_place_that_is_none_is_not_written(tmp_path, write, values):
    affine = np.diag([0.5, 0.75, 0, 1])
    image = nibabel.Nifti1Image(np.zeros((6, 7, 8), np.uint8), None)
    image.set_sform(affine, 1)
    nibabel.save(image, tmp_path / "flat.nii")
    write(tmp_path / "out.nii", values((6, 7, 8, 1)), 4, like=open_source(tmp_path / "flat.nii"))
    assert open_source(tmp_path / "out.nii").notes == ()
