"""Images are compared by place: the same, turned, or elsewhere, to a tenth of a pixel over their whole extent."""

import itertools
import logging

import nibabel
import numpy as np
import pytest
from affine import Affine
from concurrency import whole
from rasterio.crs import CRS

from maskzoo.data import Frame, open_source
from maskzoo.data.images.array_source import ArraySource
from maskzoo.data.images.nibabel_source import nifti_frame
from maskzoo.data.images.placement import brought_onto, place_in_words, places_in_words, turn_of_coarser, turn_onto
from maskzoo.data.images.turning import Turn

SAME = Turn((0, 1, 2), (False,) * 3)
OBLIQUE = np.array([[0.8, -0.1, 0.2, 3], [0.1, 0.8, 0.3, -4], [0, -0.1, 3, 5], [0, 0, 0, 1]])


def volume(affine=OBLIQUE, shape=(5, 6, 7)):
    return Frame(shape, (1.0,) * 3, affine=np.array(affine, float))


def map_of(transform, shape=(30, 40), crs="EPSG:32633"):
    return Frame(shape, (1.0, 1.0), transform, None if crs is None else CRS.from_user_input(crs))


def shifted(axis, voxels):
    affine = OBLIQUE.copy()
    affine[:, 3] += affine[:, axis] * voxels
    return affine


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, False, False), (True, False, True), (True, True, True)])
def test_every_permutation_and_flip_of_a_volume_is_found(axes, flips):
    turned = volume().turned(axes, flips)
    assert turn_onto(turned, volume()) == Turn(axes, flips).inverse
    assert turn_onto(volume(), turned) == Turn(axes, flips)


@pytest.mark.parametrize(
    ("other", "fits"),
    [
        (shifted(0, 0.05), True),
        (shifted(0, 0.5), False),
        (shifted(2, 1), False),
        (OBLIQUE * [1.001, 1, 1, 1], True),
        (OBLIQUE * [1.1, 1, 1, 1], False),
        (np.eye(4), False),
    ],
)
def test_another_place_differs_by_more_than_rounding(other, fits):
    assert (turn_onto(volume(other), volume()) == SAME) is fits


def test_levels_of_one_extent_lie_at_one_place():
    assert turn_onto(volume().scaled((2, 2, 1), (3, 3, 7)), volume(shape=(6, 6, 7))) == SAME


def test_a_file_without_a_place_fits_every_other():
    nowhere = Frame((5, 6, 7), (1.0, 1.0, 3.0), affine=np.diag([-1.0, 1, 3, 1]), has_place=False)
    for frame in (Frame((5, 6, 7)), nowhere):
        assert turn_onto(frame, volume()) == turn_onto(volume(), frame) == SAME
    # Both say nothing but a size.
    assert turn_onto(nowhere, Frame((5, 6, 7), (1.0, 1.0, 5.0), affine=np.eye(4), has_place=False)) is None


@pytest.mark.parametrize(
    ("transform", "crs", "expected"),
    [
        (Affine(2, 0, 100, 0, -2, 50), "EPSG:32633", (False, False)),
        (Affine(2, 0, 100, 0, 2, -10), "EPSG:32633", (True, False)),
        (Affine(2, 0, 100, 0, -2, 50), None, (False, False)),
        (Affine(2, 0, 100, 0, -2, 50), "EPSG:32632", None),
        (Affine(2, 0, 101, 0, -2, 50), "EPSG:32633", None),
        (Affine(2, 0, 100.01, 0, -2, 50), "EPSG:32633", (False, False)),
        (Affine(2.1, 0, 100, 0, -2, 50), "EPSG:32633", None),
    ],
)
def test_maps_are_compared_by_transform_and_coordinate_system(transform, crs, expected):
    turn = turn_onto(map_of(transform, crs=crs), map_of(Affine(2, 0, 100, 0, -2, 50)))
    assert (turn and turn.flips) == expected


UTM = CRS.from_epsg(32616)
# A corner in the zone, so that a coordinate system that differs says another place.
NORTH_UP = Affine(0.5, 0, 700000, 0, -0.5, 3700000)


@pytest.mark.parametrize(
    ("crs", "transform", "fits"),
    [
        (CRS.from_wkt(UTM.to_wkt(version="WKT1_ESRI")), NORTH_UP, True),
        (CRS.from_string("+proj=utm +zone=16 +ellps=WGS84 +units=m +no_defs"), NORTH_UP, True),
        (CRS.from_string("EPSG:32616+5773"), NORTH_UP, True),  # with a height
        # The same metres counted in kilometres.
        (CRS.from_string("+proj=utm +zone=16 +datum=WGS84 +units=km"), Affine(5e-4, 0, 700, 0, -5e-4, 3700), True),
        (CRS.from_epsg(32617), NORTH_UP, False),
        (CRS.from_epsg(4326), NORTH_UP, False),
        (CRS.from_string("EPSG:32616+5773"), NORTH_UP @ Affine.translation(1, 0), False),
    ],
)
def test_one_place_may_have_several_coordinate_systems(crs, transform, fits):
    other = Frame((30, 40), (0.5, 0.5), transform, crs)
    assert (turn_onto(other, Frame((30, 40), (0.5, 0.5), NORTH_UP, UTM)) is not None) is fits


def test_places_that_read_alike_are_told_apart():
    names = places_in_words(map_of(NORTH_UP, crs=UTM), map_of(NORTH_UP @ Affine.translation(1e-5, 0), crs=UTM))
    assert names[0] != names[1]
    local = CRS.from_string("+proj=utm +zone=16 +ellps=WGS84 +units=m +no_defs")
    names = places_in_words(map_of(NORTH_UP, crs=UTM), map_of(NORTH_UP, crs=local))
    assert names[0].startswith("EPSG:32616, ")
    assert not names[1].startswith("EPSG:32616, ")


@pytest.mark.parametrize(
    ("unit", "scale", "fits"), [("meter", 1e-3, True), ("micron", 1e3, True), ("micron", 1, False)]
)
def test_places_of_volumes_are_compared_in_one_unit(unit, scale, fits):
    affine = np.diag([0.5, 0.7, 3, 1])
    other = nifti_frame((5, 6, 7), np.diag([scale, scale, scale, 1]) @ affine, unit)
    assert (turn_onto(other, nifti_frame((5, 6, 7), affine, "mm")) is not None) is fits


def test_a_place_in_a_patient_says_nothing_of_one_on_a_map():
    plane = Frame((30, 40), (1.0, 1.0), affine=np.eye(4))
    assert turn_onto(plane, map_of(NORTH_UP)) is not None
    assert turn_onto(map_of(NORTH_UP), plane) is not None


@pytest.mark.parametrize(
    ("coarser", "fits"),
    [
        (map_of(Affine(4, 0, 100, 0, -4, 50), (15, 20)), (False, False)),
        (map_of(Affine(4, 0, 100, 0, 4, -10), (15, 20)), (True, False)),
        (map_of(Affine(4, 0, 100, 0, -4, 50), (14, 20)), (False, False)),  # a level whose size is rounded down
        (map_of(Affine(4, 0, 100, 0, -4, 50), (13, 20)), None),
        (map_of(Affine(4, 0, 110, 0, -4, 50), (15, 20)), None),
        (Frame((15, 20)), None),
        (Frame((15, 20), (1.0, 1.0), affine=np.eye(4), has_place=False), None),
    ],
)
def test_a_coarser_image_of_the_same_place(coarser, fits):
    turn = turn_of_coarser(coarser, map_of(Affine(2, 0, 100, 0, -2, 50)))
    assert (turn and turn.flips) == fits


def test_a_coarser_volume_or_slide_of_the_same_place():
    fine = volume(np.diag([1.0, 1, 3, 1]), (6, 8, 7))
    assert turn_of_coarser(fine.scaled((2, 2, 1), (3, 4, 7)), fine) == SAME
    # The slices are thick, which excuses nothing in their plane.
    for shift, fits in (((0, 0, 2), True), ((1.5, 0, 0), True), ((2.5, 0, 0), False), ((0, 0, 4), False)):
        moved = fine.scaled((2, 2, 1), (3, 4, 7))
        moved.affine[:3, 3] += shift
        assert (turn_of_coarser(moved, fine) is not None) is fits
    slide = Frame((30, 40), (0.5, 0.5))
    assert turn_of_coarser(Frame((15, 20), (1.0, 1.0)), slide) is not None
    assert turn_of_coarser(Frame((15, 20), (0.7, 0.7)), slide) is None


def test_pixel_sizes_of_slides_are_compared_and_those_of_printers_are_not():
    def slide(size):
        return Frame((30, 40), (size, size))

    assert turn_onto(slide(0.5), slide(0.5)) is not None
    assert turn_onto(slide(0.25), slide(0.5)) is None
    # 72 points per inch beside 0.25 micrometres.
    assert turn_onto(slide(25400 / 72), slide(0.25)) is not None


def test_control_points_are_compared():
    from rasterio.control import GroundControlPoint

    def frame(east, row=0.0):
        points = (GroundControlPoint(row, 0, east, 5), GroundControlPoint(30, 40, 90, 9))
        return Frame((30, 40), control_points=points, control_points_crs=CRS.from_epsg(4326))

    assert turn_onto(frame(10), frame(10)) is not None
    assert turn_onto(frame(10), frame(11)) is None
    assert turn_onto(frame(10), frame(10, row=2)) is None


def test_a_flipped_label_is_turned_and_that_is_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    voxels = np.random.default_rng(0).integers(0, 9, (5, 6, 7)).astype(np.uint8)
    target = ArraySource(voxels, 3, name="image")
    target.frame = volume(np.diag([1.0, 1, 3, 1]))
    flipped = np.array([[-1.0, 0, 0, 4], [0, -1, 0, 5], [0, 0, 3, 0], [0, 0, 0, 1]])
    for name in ("a.nii", "b.nii"):
        nibabel.save(nibabel.Nifti1Image(voxels[::-1, ::-1], flipped), tmp_path / name)
        np.testing.assert_array_equal(whole(brought_onto(open_source(tmp_path / name), target))[..., 0], voxels)
    assert len(caplog.records) == 1
    assert "a.nii run otherwise than those of image: LPS, not RAS; it is turned to fit" in caplog.text


def test_a_nifti_file_without_codes_has_no_place(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7), np.uint8), None), tmp_path / "a.nii")
    frame = open_source(tmp_path / "a.nii").frame
    assert (frame.has_place, frame.orientation, frame.steps()) == (False, None, None)


def test_places_are_put_in_words():
    assert place_in_words(volume(np.diag([-1.0, 1, 3, 1]))) == "LAS, pixels of 1 x 1 x 3 from (0.5, -0.5, -1.5)"
    assert place_in_words(Frame((3, 4))) == "none"
    described = place_in_words(map_of(Affine(2, 0, 100, 0, -2, 50)))
    assert described == "EPSG:32633, pixels of 2 x 2 from (100, 50), along (0, -2) and (2, 0)"
    assert "along (" in place_in_words(volume())
