"""GeoJSON files: the areas and lines in them, with their classes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskzoo.errors import LabelError, readable
from maskzoo.files import read_json

# A JSON value; its parts are looked at one by one.
Json = Any

TYPES = (
    "FeatureCollection",
    "Feature",
    "GeometryCollection",
    "Polygon",
    "MultiPolygon",
    "LineString",
    "MultiLineString",
    "Point",
    "MultiPoint",
)
# Keys of other formats of annotations.
OTHER_FORMATS = {
    "COCO": {"images", "annotations"},
    "LabelMe": {"shapes", "imagePath"},
    "VGG": {"_via_img_metadata"},
    "TopoJSON": {"objects", "arcs"},
}
# Properties that say the class in the files of many programs.
CLASS_PROPERTIES = {"classification", "class", "label", "category"}
# Corners of what is drawn around the ends of lines.
ROUND = 16


@dataclass(frozen=True, eq=False)
class Shape:
    """One geometry of a file.

    Attributes:
        name: Its class, `None` without one.
        parts: Of an area its polygons, of every polygon its closed rings, the outer one first; of lines one list of
            them. Arrays `(points, 2)`, x before y. Empty if it does not count.
        width: Width of a line; `None` of an area.
        kind: What it is, in the plural.
        has_class: Whether it has the property of the class, even if without a value.
    """

    name: str | None
    parts: list[list[np.ndarray]]
    width: float | None
    kind: str
    has_class: bool

    @property
    def points(self) -> list[np.ndarray]:
        """All its points, in parts."""
        return [part for parts in self.parts for part in parts]


def read_geojson(path: Path) -> Json:
    """Reads a GeoJSON file.

    Raises:
        LabelError: If it is none.
    """
    content = read_json(path, LabelError, "a GeoJSON file")
    known = isinstance(content, dict) and (content.get("type") in TYPES or "features" in content)
    if not isinstance(content, list) and not known:
        raise LabelError(path, "a GeoJSON file", other_format(content))
    return content


def other_format(content: Json) -> str:
    """Returns the name of a format of annotations that is JSON too, by its keys."""
    keys = set(content) if isinstance(content, dict) else set()
    found = [name for name, own in OTHER_FORMATS.items() if own <= keys]
    return f"{found[0]} JSON; convert it to GeoJSON or to label images" if found else "other JSON"


def shapes_of(path: Path, content: Json, class_property: str | None, width: float | None) -> Iterator[Shape]:
    """Yields the geometries of a GeoJSON value that have a place; empty ones are left out.

    Args:
        path: The file.
        content: What it holds.
        class_property: Property that says the class.
        width: Width of lines that do not say theirs.

    Raises:
        LabelError: If coordinates are no points.
    """
    with readable(path, "coordinates that are points", LabelError):
        for properties, geometry in geometries(content, {}):
            name = class_name(properties.get(class_property)) if class_property else None
            has_class = class_property in properties
            kind, coordinates = geometry["type"], geometry.get("coordinates") or []
            if kind in ("Polygon", "MultiPolygon"):
                polygons = polygons_of([coordinates] if kind == "Polygon" else coordinates)
                if polygons:
                    yield Shape(name, polygons, None, "areas", has_class)
            elif kind in ("LineString", "MultiLineString"):
                lines = [points_of(line) for line in ([coordinates] if kind == "LineString" else coordinates)]
                lines = [line for line in lines if len(line)]
                own = line_width(properties.get("width"), width)
                if lines:
                    yield Shape(name, [lines] if own else [], own, "lines without `width`", has_class)
            elif coordinates:
                yield Shape(name, [], None, "points", has_class)


def geometries(content: Json, properties: Mapping[str, Json]) -> Iterator[tuple[Mapping[str, Json], dict[str, Json]]]:
    """Yields the properties that hold for a geometry, and the geometry, of a GeoJSON value."""
    if isinstance(content, list):
        for part in content:
            yield from geometries(part, properties)
    if not isinstance(content, dict):
        return
    for part in ("features", "geometries"):
        yield from geometries(content.get(part) or [], properties)
    kind = content.get("type")
    if kind == "Feature":
        own = content.get("properties")
        yield from geometries(content.get("geometry"), own if isinstance(own, dict) else {})
    elif kind in TYPES and kind not in ("FeatureCollection", "GeometryCollection"):
        yield properties, content


def classes_in(content: Json) -> dict[str, set[str]]:
    """Returns the properties that name classes in a GeoJSON value, with the names."""
    found: dict[str, set[str]] = {}
    for properties, _ in geometries(content, {}):
        for own in CLASS_PROPERTIES & properties.keys():
            if name := class_name(properties[own]):
                found.setdefault(own, set()).add(name)
    return found


def class_name(value: Json) -> str | None:
    """Returns the class that a property names: text, or QuPath's `{"name": ...}` or `{"names": [...]}`; else `None`."""
    if isinstance(value, dict):
        value = value.get("name") or value.get("names")
    if isinstance(value, list):
        value = ": ".join(map(str, value))
    return None if value is None or value == "" else str(value)


def line_width(value: Json, default: float | None) -> float | None:
    """Returns the width that a line says, or that of all lines; `None` if there is none above 0."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        return float(value)
    return default


def polygons_of(coordinates: Sequence[Json]) -> list[list[np.ndarray]]:
    """Returns polygons as lists of closed rings, without those that enclose nothing."""
    polygons = []
    for polygon in coordinates:
        rings = [closed(points_of(ring)) for ring in polygon or []]
        if rings and len(rings[0]) > 3:
            polygons.append([ring for ring in rings if len(ring) > 3])
    return polygons


def points_of(coordinates: Sequence[Json] | None) -> np.ndarray:
    """Returns points `(n, 2)`, x before y.

    Raises:
        ValueError: If they are none.
    """
    if not coordinates:
        return np.zeros((0, 2))
    points = np.array([point[:2] for point in coordinates if point], float)
    if not len(points):
        return np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"{coordinates!r:.60}")
    return points


def closed(ring: np.ndarray) -> np.ndarray:
    """Returns a ring whose last point is its first."""
    return ring if not len(ring) or (ring[0] == ring[-1]).all() else np.concatenate([ring, ring[:1]])


def line_areas(lines: Sequence[Sequence[np.ndarray]], width: float) -> list[list[list[np.ndarray]]]:
    """Returns the areas that lines of a width cover: a rectangle along each piece, a disc around each point.

    Args:
        lines: Lists of points `(n, 2)`.
        width: In the unit of the points.
    """
    angles = np.arange(ROUND + 1) * (2 * np.pi / ROUND)
    disc = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (width / 2)
    areas = []
    for line in (line for group in lines for line in group):
        areas += [[[disc + point]] for point in line]
        for start, stop in itertools.pairwise(line):
            along = stop - start
            if not (length := float(np.hypot(*along))):
                continue
            across = np.array([-along[1], along[0]]) * (width / 2 / length)
            areas.append([[np.stack([start + across, stop + across, stop - across, start - across, start + across])]])
    return areas
