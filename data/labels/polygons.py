"""Polygon labels: GeoJSON in pixels or in map coordinates, burned window by window."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..images.reading import read_mirrored
from ..images.source import Frame, Source
from ..sets.normalization import unknown

WGS84 = "OGC:CRS84"  # what GeoJSON means where it does not name a coordinate system


class PolygonSource(Source):
    """Reads windows of the areas that a GeoJSON file outlines: 1 where a pixel's centre lies inside a polygon.

    Args:
        path: GeoJSON file: a feature collection, a list of features, or geometries alone. Only areas count.
        image: Source of the image that they belong to; with a coordinate system, they are in map coordinates, those
            that the file names or else longitude and latitude; without, in pixels of its full resolution (x to the
            right, y down).
        class_property: Property that says the class of a feature; None: all are one class. QuPath's `classification`
            is understood.
        classes: Class names, a band for each; None: those found, sorted.

    Raises:
        OSError: Where the file cannot be read.
        ValueError: Where it holds no polygons or an unknown class.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path, image, *, class_property=None, classes=None):
        self.path = Path(path)
        self.name = str(path)
        self.shape = tuple(image.shape)
        self.frame = Frame(self.shape)
        content = read_json(path)
        to_pixels = pixel_mapping(content, image)
        self._areas = []
        kinds = []
        for kind, geometry in areas(content, class_property):
            self._areas.append([[to_pixels(np.asarray(ring, float)[:, :2]) for ring in area] for area in geometry])
            kinds.append(kind)
        if not kinds:
            raise ValueError(f"{path}: expected polygons; received none")
        if class_property and None in kinds:
            raise ValueError(f"{path}: expected a property {class_property} of every polygon; received some without")
        found = sorted({kind for kind in kinds if kind is not None})
        self.class_names = list(classes) if classes is not None and class_property else found
        if others := [kind for kind in found if kind not in self.class_names]:
            raise ValueError(unknown(f"{path}: class", others[0], self.class_names))
        self._bands = np.array([self.class_names.index(kind) if kind is not None else 0 for kind in kinds])
        self.channels = max(1, len(self.class_names))
        corners = [np.concatenate([ring for area in geometry for ring in area]) for geometry in self._areas]
        self._low = np.array([points.min(axis=0)[::-1] for points in corners])
        self._high = np.array([points.max(axis=0)[::-1] for points in corners])

    def read(self, window):
        """Returns the label of a `Window` as `uint8` `(*size, bands)`, mirrored outside the image."""
        return read_mirrored(self, window, self._read)

    def _read(self, window):
        from affine import Affine
        from rasterio.features import rasterize

        touched = ((self._low < window.stop) & (self._high > window.offset)).all(axis=1)
        burned = np.zeros((*window.size, self.channels), np.uint8)
        for band in range(self.channels):
            shown = [self._areas[index] for index in np.flatnonzero(touched & (self._bands == band))]
            if shown:
                # One pixel further on every side than the window: rasterio takes the identity for a missing transform.
                shift = Affine.translation(window.offset[1] + 1, window.offset[0] + 1)
                shapes = [
                    {
                        "type": "MultiPolygon",
                        "coordinates": [[(ring + 1).tolist() for ring in area] for area in geometry],
                    }
                    for geometry in shown
                ]
                burned[..., band] = rasterize(shapes, window.size, transform=shift, dtype="uint8")
        return burned


def read_json(path):
    """Reads a JSON file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: expected a GeoJSON file; received {error}") from None


def areas(content, class_property):
    """Yields `(class or None, polygons)` for every area of a GeoJSON value, a polygon being a list of rings."""
    if isinstance(content, list):
        for part in content:
            yield from areas(part, class_property)
        return
    if not isinstance(content, dict):
        return
    for part in ("features", "geometries"):
        yield from areas(content.get(part) or [], class_property)
    if content.get("type") == "Feature":
        kind = (content.get("properties") or {}).get(class_property) if class_property else None
        kind = kind.get("name") if isinstance(kind, dict) else kind
        for _, geometry in areas(content.get("geometry"), None):
            yield None if kind is None else str(kind), geometry
    elif content.get("type") == "Polygon":
        yield None, [content["coordinates"]]
    elif content.get("type") == "MultiPolygon":
        yield None, content["coordinates"]


def pixel_mapping(content, image):
    """Returns the function from points `(n, 2)` of a GeoJSON file to pixels of an image, x before y."""
    frame = image.frame
    if frame.crs is None or frame.transform is None:
        return lambda points: points / image.scale[::-1]
    from rasterio.crs import CRS
    from rasterio.warp import transform

    named = ((content.get("crs") or {}).get("properties") or {}).get("name") if isinstance(content, dict) else None
    source = CRS.from_user_input(named or WGS84)
    a, b, c, d, e, f = (~frame.transform)[:6]

    def to_pixels(points):
        if source != frame.crs:
            points = np.stack(transform(source, frame.crs, *points.T), axis=1)
        return points @ [[a, d], [b, e]] + [c, f]

    return to_pixels
