"""Polygons burned per window equal those burned at once, and the raster label that was made from them."""

import json

import numpy as np
import pytest
from rasterio.transform import Affine

from maskzoo.data import Window, open_source, window_grid
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.labels.polygons import PolygonSource
from maskzoo.errors import LabelError


def whole(source):
    return source.read(Window((0, 0), source.shape))


def box(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(coordinates, kind="Polygon", **properties):
    return {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}}


def saved(path, content):
    path.write_text(json.dumps(content))
    return path


IMAGE = open_source(np.zeros((30, 40)))


def test_a_real_tile_equals_its_raster_label(shared_data):
    folder = shared_data / "raster" / "spacenet4_atlanta_buildings"
    source = PolygonSource(folder / "buildings.geojson", open_source(folder / "image.tif"))
    truth = whole(open_source(folder / "label.tif"))[..., 0] > 0
    burned = whole(source)[..., 0] > 0
    assert (truth & burned).sum() / (truth | burned).sum() > 0.99
    tiles = np.zeros_like(burned)
    for window in window_grid(source.shape, (130, 170)):
        tiles[window.slices] = source.read(window)[..., 0]
    np.testing.assert_array_equal(tiles, burned)
    mirrored = source.read(Window((-50, -60), (200, 200)))[..., 0]
    np.testing.assert_array_equal(mirrored > 0, np.pad(burned[:150, :140], [(50, 0), (60, 0)], mode="reflect"))


def test_pixels_holes_and_several_parts(tmp_path):
    ring = [box(2, 3, 12, 13), box(5, 6, 8, 9)]
    content = {"type": "FeatureCollection", "features": [feature([ring, [box(20, 20, 22, 21)]], "MultiPolygon")]}
    mask = whole(PolygonSource(saved(tmp_path / "a.geojson", content), IMAGE))[..., 0]
    expected = np.zeros((30, 40))
    expected[3:13, 2:12] = 1
    expected[6:9, 5:8] = 0
    expected[20:21, 20:22] = 1
    np.testing.assert_array_equal(mask, expected)


def test_classes_have_bands(tmp_path):
    content = [
        feature([box(0, 0, 5, 5)], kind="Polygon", classification={"name": "Tumour"}),
        feature([box(2, 2, 8, 8)], classification={"name": "Stroma"}),
        {"type": "Feature", "properties": None, "geometry": None},
        feature([1, 2], kind="Point", classification={"name": "Tumour"}),
    ]
    path = saved(tmp_path / "a.geojson", content)
    source = PolygonSource(path, IMAGE, class_property="classification")
    assert source.class_names == ["Stroma", "Tumour"]
    assert whole(source).sum(axis=(0, 1)).tolist() == [36, 25]
    ordered = PolygonSource(path, IMAGE, class_property="classification", classes=["Tumour", "Stroma", "Fat"])
    assert whole(ordered).sum(axis=(0, 1)).tolist() == [25, 36, 0]
    with pytest.raises(LabelError, match=r"a.geojson: class: expected one of Tumour; received Stroma"):
        PolygonSource(path, IMAGE, class_property="classification", classes=["Tumour"])
    with pytest.raises(LabelError, match="expected a property kind of every polygon"):
        PolygonSource(path, IMAGE, class_property="kind")
    united = PolygonSource(path, IMAGE)
    assert whole(united).sum() == 25 + 36 - 9


def test_longitude_and_latitude_find_their_pixels(tmp_path):
    from rasterio.warp import transform

    grid = Affine(0.5, 0, 740_000, 0, -0.5, 3_725_000)
    options = {"height": 60, "width": 60, "count": 1, "dtype": "uint8", "crs": "EPSG:32616", "transform": grid}
    open_raster(tmp_path / "image.tif", "w", driver="GTiff", **options).close()
    corners = np.array(box(10, 20, 30, 50), float)
    easting, northing = 740_000 + corners[:, 0] / 2, 3_725_000 - corners[:, 1] / 2
    degrees = np.stack(transform("EPSG:32616", "EPSG:4326", easting, northing), axis=1)
    path = saved(tmp_path / "a.geojson", feature([degrees.tolist()]))
    source = PolygonSource(path, open_source(tmp_path / "image.tif"))
    expected = np.zeros((60, 60))
    expected[20:50, 10:30] = 1
    np.testing.assert_array_equal(whole(source)[..., 0], expected)


def test_wrong_files_are_refused(tmp_path):
    (tmp_path / "a.geojson").write_text("{")
    with pytest.raises(LabelError, match=r"a.geojson: expected a GeoJSON file"):
        PolygonSource(tmp_path / "a.geojson", IMAGE)
    with pytest.raises(LabelError, match=r"a.geojson: expected a GeoJSON file; received other JSON"):
        PolygonSource(saved(tmp_path / "a.geojson", {"shapes": []}), IMAGE)


def test_classes_of_qupath_and_objects_without_one(tmp_path):
    content = [
        feature([box(0, 0, 5, 5)], classification={"names": ["Tumor", "Positive"], "color": [200, 0, 0]}),
        feature([box(2, 2, 8, 8)], objectType="annotation"),
        feature([box(9, 9, 11, 11)], classification=None),
    ]
    path = saved(tmp_path / "a.geojson", content)
    source = PolygonSource(path, IMAGE, class_property="classification", classes=["Tumor: Positive"])
    assert whole(source).sum() == 25
    assert source.left_out == {"without a class": 2}
    alone = PolygonSource(saved(path, content[1:]), IMAGE, class_property="classification", classes=["Tumor: Positive"])
    assert (alone.areas, alone.channels, whole(alone).sum()) == (0, 1, 0)


def test_no_outlines_are_an_empty_label(tmp_path):
    for content in ({"type": "FeatureCollection", "features": []}, [feature([[[]]], "MultiPolygon"), feature([])]):
        source = PolygonSource(saved(tmp_path / "a.geojson", content), IMAGE, class_property="kind", classes=["a", "b"])
        assert (source.channels, whole(source).sum()) == (2, 0)
        source.require_touching()


def test_lines_of_a_width_and_what_is_left_out(tmp_path):
    content = [feature([[5, 10], [25, 10]], "LineString"), feature([1, 2], "Point")]
    path = saved(tmp_path / "a.geojson", content)
    without = PolygonSource(path, IMAGE)
    assert (whole(without).sum(), without.left_out) == (0, {"lines without `width`": 1, "points": 1})
    mask = whole(PolygonSource(path, IMAGE, width=4))[..., 0]
    expected = np.zeros((30, 40))
    expected[8:12, 5:25] = 1
    np.testing.assert_array_equal(mask[:, 5:25], expected[:, 5:25])
    assert mask[:, :5].sum() == mask[:, 25:].sum() == 6  # half a disc of radius 2
    coarse = open_source(np.zeros((30, 40)))
    own = PolygonSource(saved(path, [feature([[5, 10], [25, 10]], "LineString", width=2)]), coarse, width=4)
    assert whole(own)[9:11, 5:25].all()
    assert not whole(own)[11:].any()


def test_overlapping_parts_do_not_cancel_each_other(tmp_path):
    content = feature([[box(2, 2, 8, 8)], [box(4, 4, 12, 12)]], "MultiPolygon")
    assert whole(PolygonSource(saved(tmp_path / "a.geojson", content), IMAGE)).sum() == 36 + 64 - 16


def test_outlines_beside_the_image_are_found(tmp_path):
    beside = PolygonSource(saved(tmp_path / "a.geojson", feature([box(50, 2, 60, 9)])), IMAGE)
    assert not beside.touches
    with pytest.raises(
        LabelError, match=r"a.geojson: expected outlines that touch array, 30 x 40, .* column 50 to row 9"
    ):
        beside.require_touching()
