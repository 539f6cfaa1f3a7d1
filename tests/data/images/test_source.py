"""A frame says where pixels lie; larger pixels show the same place."""

import numpy as np
import pytest
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rasterio.transform import Affine

from maskzoo.data import Frame, Source, Window


def test_an_unknown_place_stays_unknown():
    frame = Frame((40, 30)).scaled((2.0, 3.0), (20, 10))
    assert (frame.shape, frame.spacing, frame.transform, frame.affine) == ((20, 10), None, None, None)


def test_corners_of_a_map_stay_where_they_are():
    frame = Frame((40, 30), (0.5, 2.0), Affine(2, 0, 100, 0, -0.5, 50), crs="EPSG:32616")
    scaled = frame.scaled((4.0, 3.0), (10, 10))
    assert scaled.transform @ (0, 0) == (100, 50)
    assert scaled.transform @ (10, 10) == frame.transform @ (30, 40)
    assert (scaled.spacing, scaled.crs) == ((2.0, 6.0), "EPSG:32616")


def test_control_points_move_with_their_pixels():
    points = (GroundControlPoint(row=40, col=30, x=1.0, y=2.0, z=3.0),)
    moved = Frame((40, 30), control_points=points).scaled((4.0, 3.0), (10, 10)).control_points[0]
    assert (moved.row, moved.col, moved.x, moved.y, moved.z) == (10, 10, 1.0, 2.0, 3.0)


def test_the_first_voxel_of_a_volume_moves_to_the_middle_of_those_it_stands_for():
    frame = Frame((8, 8, 8), (1.0, 1.0, 2.0), affine=np.diag([1.0, 1, 2, 1])).scaled((2.0, 4.0, 1.0), (4, 2, 8))
    np.testing.assert_allclose(frame.affine @ (0, 0, 0, 1), (0.5, 1.5, 0, 1))
    assert frame.spacing == (2.0, 4.0, 2.0)


class Plain(Source):
    """What a reader of a format without levels must write."""

    def __init__(self):
        self.path, self.name, self.shape, self.channels = None, "plain", (3, 4), 1
        self.dtype, self.frame = np.dtype(np.uint8), Frame((3, 4))

    def read(self, window):
        return np.zeros((*window.size, 1), np.uint8)


def test_a_source_has_one_level_unless_it_says_otherwise():
    with Plain() as source:
        assert (source.levels, source.scale, source.thumbnail((2, 2))) == ([((3, 4), 1.0)], (1.0, 1.0), None)
        assert source.read(Window((0, 0), (2, 2))).shape == (2, 2, 1)
    with pytest.raises(AttributeError):
        Frame((3, 4)).shape = (4, 5)


def test_the_full_frame_is_that_which_was_scaled():
    frame = Frame((40, 30), (0.5, 0.25), Affine(2, 0, 100, 0, -2, 500), "EPSG:32616")
    small = frame.scaled((4.0, 3.0), (10, 10))
    assert (small.scale, small.pixel_area) == ((4.0, 3.0), 12)
    full = small.full
    assert (full.shape, full.spacing, full.transform) == ((40, 30), (0.5, 0.25), frame.transform)
    assert full.scale == ()
    assert frame.full is frame


def test_coordinates_are_those_of_the_map_or_pixels_of_the_full_resolution():
    corners = np.array([[0, 0], [10, 0], [10, 5]])
    plain = Frame((40, 30)).scaled((4.0, 3.0), (10, 10))
    np.testing.assert_array_equal(plain.coordinates(corners), [[0, 0], [30, 0], [30, 20]])
    assert not plain.turns_over
    placed = Frame((40, 30), transform=Affine(2, 0, 100, 0, -2, 500), crs="EPSG:32616").scaled((4.0, 3.0), (10, 10))
    np.testing.assert_array_equal(placed.coordinates(corners), [[100, 500], [160, 500], [160, 460]])
    assert placed.turns_over


def test_polynomials_count_larger_pixels_by_their_centres():
    rpcs = RPC(0, 1, 0, 1, [0] * 20, [0] * 20, 99.5, 50.0, 0, 1, [0] * 20, [0] * 20, 199.5, 80.0)
    moved = Frame((200, 400), rpcs=rpcs).scaled((2.0, 4.0), (100, 100)).rpcs
    # The border between rows 99 and 100 becomes that between rows 49 and 50.
    assert (moved.line_off, moved.line_scale, moved.samp_off, moved.samp_scale) == (49.5, 25, 49.5, 20)
