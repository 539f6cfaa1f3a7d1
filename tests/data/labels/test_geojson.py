"""Geometries of GeoJSON files, odd ones included."""

import json

import numpy as np
import pytest

from maskzoo.data.labels.geojson import class_name, classes_in, line_areas, read_geojson, shapes_of
from maskzoo.errors import LabelError

RING = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]


def shapes(geometry, default=None, **properties):
    feature = {"type": "Feature", "properties": properties, "geometry": geometry}
    return list(shapes_of("a.geojson", [feature], "kind", default))


def polygon(*rings, kind="Polygon"):
    return {"type": kind, "coordinates": list(rings)}


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        polygon(),
        polygon([]),
        polygon([[]], kind="MultiPolygon"),
        polygon(kind="MultiPolygon"),
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": None},
        polygon([[1, 1], [2, 2], [1, 1]]),
        {"type": "GeometryCollection", "geometries": []},
        {"type": "LineString", "coordinates": []},
        {"type": "Point", "coordinates": []},
    ],
)
def test_what_encloses_nothing_is_no_area(geometry):
    assert shapes(geometry, kind="a") == []


@pytest.mark.parametrize("hole", [[], [[1, 1], [2, 2], [1, 1]]])
def test_a_hole_that_encloses_nothing_is_left_out(hole):
    (shape,) = shapes(polygon([[0, 0], [4, 0], [4, 4], [0, 0]], hole))
    assert len(shape.parts[0]) == 1


def test_rings_are_closed_and_heights_left_out():
    (shape,) = shapes(polygon([[0, 0, 7], [4, 0, 7], [4, 4, 7]]))
    assert shape.parts[0][0].tolist() == [[0, 0], [4, 0], [4, 4], [0, 0]]


def test_polygons_anywhere_in_a_collection():
    collection = {
        "type": "GeometryCollection",
        "geometries": [polygon(RING), polygon([RING], [[]], kind="MultiPolygon")],
    }
    assert [(shape.name, len(shape.parts)) for shape in shapes(collection, kind="cell")] == [("cell", 1), ("cell", 1)]


@pytest.mark.parametrize(
    "coordinates", [5, [5], [[5]], "abc", [[[1, "x"], [2, 3], [4, 5]]], [[[1], [2], [3], [4]]], [[RING]]]
)
def test_coordinates_that_are_no_points_are_refused(coordinates):
    with pytest.raises(LabelError, match=r"a.geojson: expected coordinates that are points"):
        shapes({"type": "Polygon", "coordinates": coordinates})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Tumor", "Tumor"),
        ({"name": "Tumor"}, "Tumor"),
        ({"names": ["Tumor", "Positive"], "color": [1, 2, 3]}, "Tumor: Positive"),
        ({"name": "Tumor: Positive"}, "Tumor: Positive"),
        (["Tumor", "Positive"], "Tumor: Positive"),
        (3, "3"),
        ("", None),
        (None, None),
        ({}, None),
        ({"names": []}, None),
    ],
)
def test_the_names_of_classes(value, expected):
    assert class_name(value) == expected


def test_lines_count_with_a_width():
    line = {"type": "LineString", "coordinates": [[0, 0], [10, 0]]}
    assert [shape.parts for shape in shapes(line)] == [[]]
    assert [shape.width for shape in shapes(line, 3)] == [3]
    assert [shape.width for shape in shapes(line, 3, width=5)] == [5]
    several = {"type": "MultiLineString", "coordinates": [[[0, 0], [10, 0]], [], [[0, 5], [10, 5]]]}
    assert len(shapes(several, 3)[0].points) == 2


def test_a_line_covers_a_rectangle_with_round_ends():
    areas = line_areas([[np.array([[0.0, 0], [10, 0], [10, 0]])]], 4)
    corners = [np.concatenate(polygon) for (polygon,) in areas]
    low, high = np.min([c.min(axis=0) for c in corners], axis=0), np.max([c.max(axis=0) for c in corners], axis=0)
    np.testing.assert_allclose([low, high], [[-2, -2], [12, 2]])
    assert sorted(len(c) for c in corners) == [5, 17, 17, 17]


@pytest.mark.parametrize("content", ["{", "5", '{"shapes": []}', "null", "\ud800"])
def test_files_that_are_no_geojson(tmp_path, content):
    (tmp_path / "a.geojson").write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(LabelError, match=r"a.geojson: expected a GeoJSON file"):
        read_geojson(tmp_path / "a.geojson")


def test_a_collection_without_features_is_geojson(tmp_path):
    for content in ({"type": "FeatureCollection", "features": []}, {"type": "FeatureCollection", "features": None}, []):
        (tmp_path / "a.geojson").write_text(json.dumps(content))
        assert list(shapes_of(tmp_path, read_geojson(tmp_path / "a.geojson"), None, None)) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_encodings(tmp_path, encoding):
    content = {"type": "Feature", "properties": {"kind": "Gr\u00f6\u00dfe"}, "geometry": None}
    (tmp_path / "a.geojson").write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    assert read_geojson(tmp_path / "a.geojson") == content


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"images": [], "annotations": [], "categories": []}, "COCO JSON; convert it"),
        ({"version": "5.0", "shapes": [], "imagePath": "a.png"}, "LabelMe JSON; convert it"),
        ({"type": "Topology", "objects": {}, "arcs": []}, "TopoJSON JSON; convert it"),
        ({"a": 1}, "other JSON$"),
        (3, "other JSON$"),
    ],
)
def test_other_formats_are_named(tmp_path, content, name):
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(LabelError, match=rf"a.json: expected a GeoJSON file; received {name}"):
        read_geojson(tmp_path / "a.json")


def test_the_properties_that_name_classes():
    one, two = ({"type": "Feature", "properties": {"classification": {"name": name}, "id": 3}} for name in "TU")
    features = [{**feature, "geometry": polygon(RING)} for feature in (one, two)]
    assert classes_in({"type": "FeatureCollection", "features": features}) == {"classification": {"T", "U"}}
    assert classes_in(polygon(RING)) == {}
