"""Results of images that are read turned, or at another size or spacing, lie on the grid of the file."""

import nibabel
import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.images.scale import Scale
from maskzoo.inference.own_grid import growth, on_own_grid, stored_result
from maskzoo.inference.results import Result


def kept_values(values):
    return lambda window, band: values[window.slices][..., band]


def ball(shape, centre, radius, spacing):
    places = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij"), -1)
    return np.linalg.norm(places - np.multiply(centre, spacing), axis=-1) < radius


@pytest.fixture
def scan(tmp_path):
    """The path of a volume of 24 x 20 x 12 voxels whose axes run to the front, the left and up, with thick slices."""
    affine = np.array([[0, -0.5, 0, 0], [0.5, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]], float)
    voxels = 100 * ball((24, 20, 12), (11, 9, 5), 4, (0.5, 0.5, 2)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


def test_labels_of_a_turned_volume_are_turned_back(scan):
    source = Scale(orientation="RAS").applied(open_source(scan))
    assert source.shape == (20, 24, 12)
    result = Result("binary", ("ball",), (0.5,))
    seen = source.read(Window((0, 0, 0), source.shape)) > 50
    read = on_own_grid(kept_values(seen.astype(np.uint8)), result, stored_result(result, source), source)
    window = Window((3, 2, 1), (15, 12, 8))
    expected = open_source(scan).read(window)[..., 0] > 50
    np.testing.assert_array_equal(read(window, 0), expected)
    assert (stored_result(result, source), growth(source)) == (result, 1)


def test_labels_at_another_spacing_come_back_within_half_a_voxel(scan):
    source = Scale(orientation="RAS", spacing=(1, 1, 2)).applied(open_source(scan))
    assert source.shape == (10, 12, 12)
    result = Result("multiclass", ("rest", "ball"), (0.5, 0.5))
    stored = stored_result(result, source)
    assert (stored.bands, stored.dtype) == (2, "float32")
    share = source.read(Window((0, 0, 0), source.shape)).astype(np.float32) / 100
    read = on_own_grid(kept_values(np.concatenate([1 - share, share], -1)), result, stored, source)
    whole = Window((0, 0, 0), (24, 20, 12))
    found, truth = read(whole, 0), open_source(scan).read(whole)[..., 0] > 50
    assert found.dtype == np.uint8
    # Half a voxel of 1 mm is one of the file's.
    inner, outer = (ball((24, 20, 12), (11, 9, 5), radius, (0.5, 0.5, 2)) for radius in (3.5, 4.5))
    assert (found[inner] == 1).all()
    assert (found[~outer] == 0).all()
    assert np.abs(found.sum() / truth.sum() - 1) < 0.1
    assert growth(source) == 4
    part = Window((2, 5, 3), (9, 8, 4))
    np.testing.assert_array_equal(read(part, 0), found[part.slices])


def test_probabilities_of_a_resized_picture_come_back_at_its_size():
    image = np.zeros((40, 60), np.uint8)
    image[10:30, 20:40] = 200
    source = Scale(resize=(20, 30)).applied(open_source(image))
    result = Result("binary", ("square",), (0.5,), "uint8")
    share = source.read(Window((0, 0), (20, 30))).astype(np.float32) / 200
    read = on_own_grid(kept_values(share), result, stored_result(result, source), source)
    found = read(Window((0, 0), (40, 60)), 0)
    assert (found.shape, found.dtype) == ((40, 60), np.uint8)
    # But for its corners, which halving rounds.
    assert np.count_nonzero((found > 127) != (image > 100)) <= 4


def test_an_image_on_the_grid_of_its_file_is_left_alone():
    source, read = open_source(np.zeros((4, 4), np.uint8)), kept_values(np.zeros((4, 4, 1)))
    result = Result("binary", ("a",), (0.5,))
    assert on_own_grid(read, result, stored_result(result, source), source) is read
    assert growth(source) == 1
