"""Coordinates of GeoJSON are pixels or a place on the map, or are refused."""

import json

import numpy as np
import pytest
from rasterio.transform import Affine
from rasterio.warp import transform

from maskzoo.data import Window, open_source
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.labels.geojson_place import named_crs
from maskzoo.data.labels.polygons import PolygonSource
from maskzoo.errors import LabelError

# Columns 10 to 30 and rows 10 to 40 of the image, in the coordinates of its zone.
BOX = np.array([[500010, 4999990], [500030, 4999990], [500030, 4999960], [500010, 4999960], [500010, 4999990]], float)
INSIDE = np.zeros((64, 64))
INSIDE[10:40, 10:30] = 1


@pytest.fixture
def placed(tmp_path):
    """Function from a coordinate system to an image of 64 x 64 pixels of one metre."""

    def made(crs="EPSG:32633"):
        options = {"height": 64, "width": 64, "count": 1, "dtype": "uint8", "crs": crs}
        grid = Affine(1, 0, 500_000, 0, -1, 5_000_000)
        open_raster(tmp_path / "image.tif", "w", driver="GTiff", transform=grid, **options).close()
        return open_source(tmp_path / "image.tif")

    return made


def outlines(folder, points, stated=None, **options):
    content = {"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [points.tolist()]}}
    ]}  # fmt: skip
    if stated is not None:
        content["crs"] = stated
    (folder / "a.geojson").write_text(json.dumps(content))
    image = options.pop("image")
    return PolygonSource(folder / "a.geojson", image, **options)


def named(name):
    return {"type": "name", "properties": {"name": name}}


def burned(source):
    return source.read(Window((0, 0), source.shape))[..., 0]


@pytest.mark.parametrize("name", ["EPSG:32633", "urn:ogc:def:crs:EPSG::32633", "EPSG:3857", "OGC:CRS84", None])
def test_the_coordinate_system_of_the_file_is_followed(tmp_path, placed, name):
    points = np.stack(transform("EPSG:32633", name or "OGC:CRS84", *BOX.T), axis=1)
    source = outlines(tmp_path, points, name and named(name), image=placed())
    np.testing.assert_array_equal(burned(source), INSIDE)


def test_map_coordinates_without_a_name_are_refused_in_one_line_unless_declared(tmp_path, placed):
    with pytest.raises(
        LabelError, match=r"a.geojson: expected longitudes and latitudes, .*; received 500010, 4999"
    ) as e:
        outlines(tmp_path, BOX, image=placed())
    assert "\n" not in str(e.value)
    for crs in ("image", "EPSG:32633"):
        np.testing.assert_array_equal(burned(outlines(tmp_path, BOX, image=placed(), crs=crs)), INSIDE)
    pixels = BOX * [1, -1] - [500_000, -5_000_000]
    np.testing.assert_array_equal(burned(outlines(tmp_path, pixels, image=placed(), crs="pixels")), INSIDE)


@pytest.mark.parametrize("name", ["EPSG:32733", "EPSG:32634"])
def test_outlines_of_another_zone_touch_nothing(tmp_path, placed, name):
    source = outlines(tmp_path, BOX, named(name), image=placed())
    assert (source.areas, source.touches) == (1, False)
    with pytest.raises(LabelError, match=r"a.geojson: expected outlines that touch .*image.tif, 64 x 64"):
        source.require_touching()


def test_a_coordinate_system_on_one_side_only(tmp_path, placed):
    plain = open_source(np.zeros((64, 64)))
    with pytest.raises(LabelError, match="an image with a coordinate system, as outlines in EPSG:4326 need"):
        outlines(tmp_path, np.abs(BOX % 50), named("EPSG:4326"), image=plain)
    assert outlines(tmp_path, np.abs(BOX % 50), named("EPSG:4326"), image=plain, crs="pixels").touches
    pixels = BOX * [1, -1] - [500_000, -5_000_000]
    assert not outlines(tmp_path, pixels, image=placed()).touches


@pytest.mark.parametrize("name", ["EPSG:999999", "nonsense"])
def test_an_unknown_coordinate_system_is_refused(tmp_path, placed, name):
    with pytest.raises(LabelError, match=rf"a.geojson: expected a known coordinate system; received {name}"):
        outlines(tmp_path, BOX, named(name), image=placed())


def test_points_that_have_no_place_are_refused(tmp_path, placed):
    with pytest.raises(LabelError, match=r"a.geojson: expected points that lie in EPSG:32633"):
        outlines(tmp_path, BOX * 1e6, named("EPSG:3035"), image=placed())


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (None, None),
        ("EPSG:1", "EPSG:1"),
        ({}, None),
        ({"type": "name", "properties": None}, None),
        ({"type": "link", "properties": {"href": "x"}}, None),
        ({"type": "EPSG", "properties": {"code": 4326}}, "EPSG:4326"),
        ([1], None),
    ],
)
def test_how_a_file_may_name_its_coordinate_system(stated, expected):
    assert named_crs({"type": "FeatureCollection", "features": [], "crs": stated}) == expected
    assert named_crs([]) is None


def test_the_width_of_lines_is_in_units_of_the_map(tmp_path):
    options = {"height": 40, "width": 64, "count": 1, "dtype": "uint8", "crs": "EPSG:32633"}
    grid = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
    open_raster(tmp_path / "image.tif", "w", driver="GTiff", transform=grid, **options).close()
    line = {"type": "LineString", "coordinates": [[500_000, 4_999_990], [500_032, 4_999_990]]}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": line}))
    source = PolygonSource(tmp_path / "a.geojson", open_source(tmp_path / "image.tif"), crs="image", width=3)
    # 3 metres are 6 pixels, around row 20.
    assert burned(source)[:, 5].nonzero()[0].tolist() == list(range(17, 23))


@pytest.mark.parametrize("west", [179.8, -180.2, 179.0])
def test_outlines_across_the_date_line_go_on_from_the_image(tmp_path, west):
    """Of an image that ends there, that begins before it, or lies beside it."""
    options = {"height": 64, "width": 64, "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
    grid = Affine(0.01, 0, west, 0, -0.01, 10)
    open_raster(tmp_path / "image.tif", "w", driver="GTiff", transform=grid, **options).close()
    points = (BOX - [500_000, 5_000_000]) * 0.01 + [west, 10]
    points[:, 0] = (points[:, 0] + 180) % 360 - 180
    source = outlines(tmp_path, points, image=open_source(tmp_path / "image.tif"))
    np.testing.assert_array_equal(burned(source), INSIDE)
