"""Polygon labels: GeoJSON in pixels or in map coordinates, burned window by window."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskzoo.errors import LabelError
from maskzoo.names import one_of

from ..images.reading import read_mirrored
from ..images.source import Frame, Source
from ..windows import Window

WGS84 = "OGC:CRS84"  # what GeoJSON means if it names no coordinate system
# A JSON value; its parts are looked at one by one.
Json = Any


class PolygonSource(Source):
    """Reads windows of the areas that a GeoJSON file outlines: 1 where a pixel's centre lies inside a polygon.

    Args:
        path: GeoJSON file: a feature collection, a list of features, or geometries alone. Only areas count.
        image: Image that they belong to. If it has a coordinate system, the polygons are in map coordinates: those that
            the file names, or else longitude and latitude. If it has none, they are in pixels of its full resolution (x
            to the right, y down).
        class_property: Property that says the class of a feature, such as QuPath's `classification`; `None`: all are
            one class.
        classes: Class names, one band for each; `None`: those found, sorted.

    Attributes:
        class_names: Names of the classes; none without `class_property`.

    Raises:
        OSError: If the file cannot be read.
        LabelError: If it holds no polygons or an unknown class.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        image: Source,
        *,
        class_property: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.shape = tuple(image.shape)
        self.dtype = np.dtype(np.uint8)
        self.frame = Frame(self.shape)
        content = read_json(self.path)
        to_pixels = pixel_mapping(content, image)
        # Of every area its polygons, of every polygon its rings, each `(points, 2)` with x before y.
        self._areas: list[list[list[np.ndarray]]] = []
        names = []
        for name, polygons in areas(content, class_property):
            self._areas.append([[to_pixels(np.asarray(ring, float)[:, :2]) for ring in rings] for rings in polygons])
            names.append(name)
        if not names:
            raise LabelError(path, "polygons", "none")
        if class_property and None in names:
            raise LabelError(path, f"a property {class_property} of every polygon", "some without")
        found = sorted({name for name in names if name is not None})
        self.class_names = list(classes) if classes is not None and class_property else found
        if others := [name for name in found if name not in self.class_names]:
            raise LabelError(f"{path}: class", one_of(others[0], self.class_names), others[0])
        self._bands = np.array([0 if name is None else self.class_names.index(name) for name in names])
        self.channels = max(1, len(self.class_names))
        corners = [np.concatenate([ring for rings in polygons for ring in rings]) for polygons in self._areas]
        self._low = np.array([points.min(axis=0)[::-1] for points in corners])
        self._high = np.array([points.max(axis=0)[::-1] for points in corners])

    def read(self, window: Window) -> np.ndarray:
        """Returns the label of a window as `uint8` `(*size, bands)`, mirrored outside the image."""
        return read_mirrored(self, window, self._read)

    def _read(self, window: Window) -> np.ndarray:
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
                        "coordinates": [[(ring + 1).tolist() for ring in rings] for rings in polygons],
                    }
                    for polygons in shown
                ]
                burned[..., band] = rasterize(shapes, window.size, transform=shift, dtype="uint8")
        return burned


def read_json(path: Path) -> Json:
    """Reads a JSON file."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LabelError(path, "a GeoJSON file", error) from None


def areas(content: Json, class_property: str | None) -> Iterator[tuple[str | None, Json]]:
    """Yields the class, or `None`, and the polygons of every area of a GeoJSON value; a polygon is a list of rings."""
    if isinstance(content, list):
        for part in content:
            yield from areas(part, class_property)
        return
    if not isinstance(content, dict):
        return
    for part in ("features", "geometries"):
        yield from areas(content.get(part) or [], class_property)
    if content.get("type") == "Feature":
        name = (content.get("properties") or {}).get(class_property) if class_property else None
        name = name.get("name") if isinstance(name, dict) else name
        for _, polygons in areas(content.get("geometry"), None):
            yield None if name is None else str(name), polygons
    elif content.get("type") == "Polygon":
        yield None, [content["coordinates"]]
    elif content.get("type") == "MultiPolygon":
        yield None, content["coordinates"]


def pixel_mapping(content: Json, image: Source) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from points `(n, 2)` of a GeoJSON file to pixels of an image, x before y."""
    frame = image.frame
    if frame.crs is None or frame.transform is None:
        return lambda points: points / image.scale[::-1]
    from rasterio.crs import CRS
    from rasterio.warp import transform

    crs = frame.crs
    named = ((content.get("crs") or {}).get("properties") or {}).get("name") if isinstance(content, dict) else None
    source = CRS.from_user_input(named or WGS84)
    a, b, c, d, e, f = (~frame.transform)[:6]

    def to_pixels(points: np.ndarray) -> np.ndarray:
        if source != crs:
            points = np.stack(transform(source, crs, *points.T), axis=1)
        return points @ [[a, d], [b, e]] + [c, f]

    return to_pixels
