"""Pages of one TIFF that lie at several places are refused, with both named."""

import numpy as np
import pytest
import tifffile

from maskzoo.data import open_source
from maskzoo.errors import ImageError

PAGE = np.arange(48, dtype=np.uint16).reshape(6, 8)
GEO = {
    "scale": [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0, 0, 0, 5e5, 4e6, 0), True)],
    "elsewhere": [(33550, "d", 3, (0.5, 0.5, 0.0), True), (33922, "d", 6, (0, 0, 0, 6e5, 4e6, 0), True)],
    "larger": [(33550, "d", 3, (1.0, 1.0, 0.0), True), (33922, "d", 6, (0, 0, 0, 5e5, 4e6, 0), True)],
}
ZONES = [(34735, "H", 8, (1, 1, 0, 1, 3072, 0, 1, code), True) for code in (32633, 32634)]


def write_pages(path, *options):
    with tifffile.TiffWriter(path) as file:
        for values in options:
            file.write(PAGE, metadata=None, photometric=values.pop("photometric", "minisblack"), **values)
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            [{"extratags": GEO["scale"]}, {"extratags": GEO["scale"]}, {"extratags": GEO["elsewhere"]}],
            r"pages of one tie points, 0, 0, 0, 500000, 4000000, 0 as page 1; received 0, 0, 0, 600000, .* in page 3",
        ),
        (
            [{"extratags": GEO["scale"]}, {"extratags": GEO["larger"]}],
            "pages of one pixel scale, 0.5, 0.5, 0 as page 1; received 1, 1, 0 in page 2",
        ),
        (
            [{"extratags": [*GEO["scale"], zone]} for zone in ZONES],
            "pages of one coordinate system, .*32633 as page 1; received .*32634 in page 2",
        ),
        (
            [{"extratags": GEO["scale"]}, {}],
            r"pages of one pixel scale, .* as page 1; received none in page 2",
        ),
        (
            [{"resolution": (1e4, 1e4), "resolutionunit": 3}, {"resolution": (2e4, 2e4), "resolutionunit": 3}],
            "pages of one resolution, .* in page 2",
        ),
        (
            [{"photometric": "minisblack"}, {"photometric": "miniswhite"}],
            "one image, of pages of one kind; received 2 of one size: uint16, minisblack and uint16, miniswhite",
        ),
    ],
)
def test_pages_that_differ_in_place_are_refused(tmp_path, options, message):
    with pytest.raises(ImageError, match=message):
        open_source(write_pages(tmp_path / "a.tif", *options))


def test_pages_at_one_place_are_a_volume(tmp_path):
    path = write_pages(tmp_path / "a.tif", *({"extratags": GEO["scale"], "resolution": (1e4, 1e4)} for _ in range(3)))
    assert open_source(path).shape == (6, 8, 3)


def test_several_images_of_one_size_are_not_one(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for _ in range(2):
            file.write(PAGE, metadata={"axes": "YX"}, photometric="minisblack")
    with pytest.raises(ImageError, match="one image, of pages of one kind; received 2 of one size"):
        open_source(tmp_path / "a.ome.tif")


def write_ome(path, axes, number, unit="\u00b5m", **positions):
    planes = {
        key: value
        for axis, places in positions.items()
        for key, value in ((f"Position{axis}", places), (f"Position{axis}Unit", [unit] * number))
    }
    metadata = {"axes": axes, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0, "Plane": planes}
    tifffile.imwrite(path, np.stack([PAGE] * number), metadata=metadata, photometric="minisblack")
    return path


@pytest.mark.parametrize(
    ("axes", "unit", "positions", "message"),
    [
        ("CYX", "\u00b5m", {"X": [3.0, 3.0, 9.0]}, "one position along X, 3 um as plane 1; received 9 um in plane 3"),
        ("ZYX", "mm", {"Y": [0.0, 0.001, 0.0]}, "one position along Y, 0 um as plane 1; received 1 um in plane 2"),
        ("ZYX", "\u00b5m", {"Z": [0.0, 2.0, 6.0, 8.0]}, "sections at even distances; received 2 to 4 um"),
    ],
)
def test_planes_that_ome_places_elsewhere_are_refused(tmp_path, axes, unit, positions, message):
    number = len(next(iter(positions.values())))
    with pytest.raises(ImageError, match=message):
        open_source(write_ome(tmp_path / "a.ome.tif", axes, number, unit, **positions))


@pytest.mark.parametrize("axes", ["CYX", "ZYX"])
def test_a_stage_that_trembles_moves_no_plane(tmp_path, axes):
    places = {"X": [3.0, 3.1, 2.9], "Y": [1.0, 1.0, 1.2], "Z": [0.0, 2.1, 3.9]}
    places = places if axes == "ZYX" else {axis: places[axis] for axis in "XY"}
    shape = (6, 8, 3) if axes == "ZYX" else (6, 8)
    assert open_source(write_ome(tmp_path / "a.ome.tif", axes, 3, **places)).shape == shape
