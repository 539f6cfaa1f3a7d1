"""The scale at which images are read: orientation, spacing, size; labels are brought to it class by class."""

import nibabel
import numpy as np
import pytest
from concurrency import whole

from maskzoo.data import open_source
from maskzoo.data.images.scale import Scale, like_image, resized_shape, thick_axes
from maskzoo.errors import ImageError, OptionError


def save(path, voxels, affine):
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return open_source(path, spatial_dims=3)


@pytest.mark.parametrize("codes", ["LPS", "ASR", "SAL", "RAS"])
def test_volumes_are_turned_as_nibabel_turns_them(tmp_path, codes):
    voxels = np.random.default_rng(0).integers(0, 99, (5, 6, 7)).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, np.array([[0.8, 0.1, 0, 5], [-0.1, 0.8, 0, 1], [0, 0, 3, 2], [0, 0, 0, 1]]))
    start, wanted = nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes)
    reference = image.as_reoriented(nibabel.orientations.ornt_transform(start, wanted))
    nibabel.save(image, tmp_path / "a.nii")
    turned = Scale(orientation=codes).applied(open_source(tmp_path / "a.nii"))
    np.testing.assert_array_equal(whole(turned)[..., 0], np.asarray(reference.dataobj))
    np.testing.assert_allclose(turned.frame.affine, reference.affine, atol=1e-6)


def test_what_an_old_run_does_not_say_is_as_stored(tmp_path):
    source = save(tmp_path / "a.nii", np.zeros((3, 4, 5), np.uint8), np.diag([-1.0, 1, 1, 1]))
    assert Scale.of({"level": None, "path": "somewhere"}) == Scale()
    assert Scale.of({}).applied(source) is source
    assert Scale.of({"orientation": "RAS"}).applied(source).frame.orientation == "RAS"


def test_two_spacings_meet_at_the_target(tmp_path):
    target = Scale(spacing=(1, 1, 3))
    for size, shape in (((0.5, 0.5, 3), (12, 10, 12)), ((0.8, 0.8, 5), (19, 16, 20))):
        affine = np.diag([*size, 1.0])
        source = target.applied(save(tmp_path / "a.nii", np.zeros((24, 20, 12), np.int16), affine))
        assert source.shape == shape
        np.testing.assert_allclose(source.frame.spacing, (1, 1, 3), rtol=0.02)
        # The first corner stays where it is.
        np.testing.assert_allclose(source.frame.steps()[1], -np.array(size) / 2, atol=1e-6)


def test_one_number_is_the_size_along_every_axis_and_sizes_within_a_percent_stay(tmp_path):
    source = save(tmp_path / "a.nii", np.zeros((24, 20, 12), np.int16), np.diag([1, 1.005, 2, 1]))
    assert Scale(spacing=1.0).applied(source).shape == (24, 20, 24)


def test_a_file_without_pixel_sizes_cannot_be_brought_to_a_spacing():
    with pytest.raises(ImageError, match="expected a file that says how large its pixels are, for `spacing`"):
        Scale(spacing=1.0).applied(open_source(np.zeros((9, 9, 9)), spatial_dims=3))


def test_slices_are_mixed_only_where_they_are_not_thick():
    assert thick_axes((0.5, 0.5, 3), (1, 1, 3)) == (False, False, True)
    assert thick_axes((1, 1, 1), (1, 1, 5)) == (False, False, True)
    assert thick_axes((1, 1, 2), (1, 1, 1)) == (False, False, False)
    # Two axes are as thick: none is apart from the others.
    assert thick_axes((0.2, 1.3, 1.3), (1, 1, 1)) == (False, False, False)


def test_thin_slices_repeat_thick_ones_and_thick_slices_are_means_of_thin_ones(tmp_path):
    voxels = np.zeros((4, 4, 6), np.float32) + np.array([0, 0, 10, 30, 0, 0], np.float32)
    source = save(tmp_path / "a.nii", voxels, np.diag([1.0, 1, 4, 1]))
    thin = whole(Scale(spacing=(1, 1, 2)).applied(source))[0, 0, :, 0]
    np.testing.assert_array_equal(thin, [0, 0, 0, 0, 10, 10, 30, 30, 0, 0, 0, 0])
    thick = whole(Scale(spacing=(1, 1, 8)).applied(source))[0, 0, :, 0]
    # Triangles of two slices to either side: weights 1, 3, 3, 1 of 8.
    np.testing.assert_allclose(thick, [(10 * 1) / 7, (10 + 30) * 3 / 8, (30 * 1) / 7], rtol=1e-6)


@pytest.mark.parametrize(
    ("resize", "expected"), [(512, (512, 512)), ((384, 576), (384, 576)), (0.5, (15, 20)), (0.01, (1, 1))]
)
def test_sizes_to_resize_to(resize, expected):
    assert resized_shape((30, 40), resize) == expected


def test_sizes_of_other_axes_are_refused():
    with pytest.raises(OptionError, match="resize: expected one size, or 2, one for each axis"):
        resized_shape((30, 40), (1, 2, 3))


def test_a_label_follows_its_image(tmp_path):
    affine = np.array([[0, -1.0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    voxels = np.zeros((8, 6, 4), np.uint8)
    voxels[4:, :3] = 7
    image, label = (save(tmp_path / f"{name}.nii", voxels, affine) for name in "ab")
    scaled = Scale(orientation="RAS", resize=(12, 16, 4)).applied(image)
    fitted = whole(like_image(label, scaled))[..., 0]
    assert (fitted.shape, set(np.unique(fitted))) == ((12, 16, 4), {0, 7})
    np.testing.assert_array_equal(fitted, 7 * (whole(scaled)[..., 0] > 3.5))
    numbers = whole(like_image(label, scaled, is_instances=True))
    np.testing.assert_array_equal(numbers[..., 0], voxels.transpose(1, 0, 2)[::-1].repeat(2, 0).repeat(2, 1))
