"""Turned images have the pixels and the place of the file that another program writes with other axes."""

import nibabel
import numpy as np
import pytest
from affine import Affine
from concurrency import whole

from maskzoo.data import Window, open_source
from maskzoo.data.images.turning import Turn, TurnedSource


@pytest.fixture
def volume(tmp_path):
    """The path of an oblique volume of 5 x 6 x 7 voxels."""
    affine = np.array([[0, -0.8, 0.1, 3], [0.5, 0, 0, -4], [0, 0.1, 3, 5], [0, 0, 0, 1]], float)
    voxels = np.random.default_rng(0).integers(0, 200, (5, 6, 7)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "volume.nii")
    return tmp_path / "volume.nii"


def test_a_turned_volume_is_what_nibabel_makes_canonical(volume):
    reference = nibabel.as_closest_canonical(nibabel.load(volume))
    turned = TurnedSource(open_source(volume), Turn((1, 0, 2), (True, False, False)))
    np.testing.assert_array_equal(whole(turned)[..., 0], np.asarray(reference.dataobj))
    np.testing.assert_allclose(turned.frame.affine, reference.affine)
    np.testing.assert_allclose(turned.frame.spacing, np.linalg.norm(reference.affine[:3, :3], axis=0))
    assert (turned.frame.orientation, open_source(volume).frame.orientation) == ("RAS", "ALS")


@pytest.mark.parametrize(("offset", "size"), [((1, 2, 3), (4, 2, 3)), ((-3, 1, 5), (9, 5, 6))])
def test_a_window_of_a_turned_volume_is_that_part_of_it(volume, offset, size):
    turned = TurnedSource(open_source(volume), Turn((2, 0, 1), (True, False, True)))
    voxels = np.asarray(nibabel.load(volume).dataobj).transpose(2, 0, 1)[::-1, :, ::-1]
    padded = np.pad(voxels, 8, mode="reflect")
    expected = padded[tuple(slice(o + 8, o + 8 + n) for o, n in zip(offset, size, strict=True))]
    np.testing.assert_array_equal(turned.read(Window(offset, size))[..., 0], expected)


def test_every_turn_is_undone_by_its_inverse(volume):
    source = open_source(volume)
    for turn in (Turn((1, 2, 0), (True, False, True)), Turn((0, 1, 2), (False, True, False))):
        turned = TurnedSource(source, turn)
        assert turn.inverse.inverse == turn
        back = TurnedSource(turned, turn.inverse)
        np.testing.assert_array_equal(whole(back), whole(source))
        np.testing.assert_allclose(back.frame.affine, source.frame.affine, atol=1e-12)
        read_back = turned.taken_back(turned.read)
        window = Window((1, 2, 3), (3, 4, 2))
        np.testing.assert_array_equal(read_back(window), source.read(window))


def test_a_turned_map_shows_every_place_where_it_was(tmp_path, write_raster):
    bands = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    transform = Affine(2, 0, 100, 0, -2, 50)
    source = open_source(write_raster(tmp_path / "map.tif", bands, crs="EPSG:32633", transform=transform))
    turned = TurnedSource(source, Turn((1, 0), (True, False)))
    assert turned.shape == (4, 3)
    for row, column in np.ndindex(4, 3):
        x, y = turned.frame.transform @ (column + 0.5, row + 0.5)
        old_column, old_row = ~transform @ (x, y)
        assert whole(turned)[row, column, 0] == bands[0, int(old_row), int(old_column)]


def test_control_points_turn_with_the_image(tmp_path, write_raster):
    from rasterio.control import GroundControlPoint

    points = [GroundControlPoint(0.5, 3.5, 1, 2), GroundControlPoint(2.5, 0.5, 3, 4)]
    bands = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    source = open_source(write_raster(tmp_path / "map.tif", bands, crs="EPSG:32633", gcps=points))
    turned = TurnedSource(source, Turn((1, 0), (True, False)))
    for old, new in zip(source.frame.control_points, turned.frame.control_points, strict=True):
        assert whole(turned)[int(new.row), int(new.col), 0] == bands[0, int(old.row), int(old.col)]
