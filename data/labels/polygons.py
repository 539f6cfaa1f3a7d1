"""Polygon labels: GeoJSON in pixels or in map coordinates, burned window by window."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskzoo.errors import LabelError, MisplacedLabel, readable
from maskzoo.names import one_of

from ..images.reading import read_mirrored
from ..images.source import Source
from ..windows import Window
from .geojson import Shape, classes_in, line_areas, read_geojson, shapes_of
from .geojson_place import pixel_mapping, pixels_per_unit
from .values import by


class PolygonSource(Source):
    """Reads windows of the areas that a GeoJSON file outlines: 1 where a pixel's centre lies inside a polygon.

    A file without any area is an image without any object.

    Args:
        path: GeoJSON file: a feature collection, a list of features, or geometries alone. Points do not count, and
            lines only if they have a width.
        image: Image that they belong to. If it has a coordinate system, the polygons are in map coordinates: those that
            the file names, or else longitude and latitude. If it has none, they are in pixels of its full resolution (x
            to the right, y down).
        class_property: Property that says the class of a feature, such as QuPath's `classification`; `None`: all are
            one class. Features without a class do not count.
        classes: Class names, one band for each; `None`: those found, sorted.
        crs: Coordinate system of the file, in place of what it says: its name, `image` or `pixels`.
        width: Width of lines, in units of the image's coordinate system, without one in pixels of its full resolution;
            a property `width` wins.

    Attributes:
        class_names: Names of the classes; none without `class_property`.
        areas: Number of areas.
        touches: Whether any of them touches the image.
        left_out: How many features do not count, by what they are.
        joined: Where no property says the class: those that name several, with their values.

    Raises:
        OSError: If the file cannot be read.
        LabelError: If it is no GeoJSON, has an unknown class, or lies nowhere in the image's coordinate system.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        image: Source,
        *,
        class_property: str | None = None,
        classes: Sequence[str] | None = None,
        crs: str | None = None,
        width: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.shape = tuple(image.shape)
        self.dtype = np.dtype(np.uint8)
        self.frame = image.frame
        self._image_name = image.name
        # How the file is read, in text that differs if that does.
        self.reading = repr((class_property, None if classes is None else list(classes), crs, width))
        with readable(self.path, "outlines that can be read", LabelError):
            self._read_outlines(Path(path), image, class_property, classes, crs, width)

    def _read_outlines(
        self,
        path: Path,
        image: Source,
        class_property: str | None,
        classes: Sequence[str] | None,
        crs: str | None,
        width: float | None,
    ) -> None:
        content = read_geojson(path)
        self.left_out: Counter[str] = Counter()
        self.joined = {} if class_property else classes_in(content)
        shapes = self._counted(list(shapes_of(path, content, class_property, width)), class_property)
        to_pixels = pixel_mapping(path, content, image, crs, [points for s in shapes for points in s.points])
        per_unit = pixels_per_unit(image)
        # Of every area its polygons, of every polygon its rings, each `(points, 2)` with x before y.
        self._areas: list[list[list[np.ndarray]]] = []
        names = []
        for shape in shapes:
            moved = [[to_pixels(part) for part in parts] for parts in shape.parts]
            areas = [moved] if shape.width is None else line_areas(moved, shape.width * per_unit)
            self._areas += areas
            names += [shape.name] * len(areas)
        found = sorted({name for name in names if name is not None})
        self.class_names = list(classes) if classes is not None and class_property else found
        if others := [name for name in found if name not in self.class_names]:
            raise LabelError(f"{path}: class", one_of(others[0], self.class_names), others[0])
        self._bands = np.array([0 if name is None else self.class_names.index(name) for name in names], int)
        self.channels = max(1, len(self.class_names))
        corners = [np.concatenate([ring for rings in polygons for ring in rings]) for polygons in self._areas]
        self._low = np.array([points.min(axis=0)[::-1] for points in corners]).reshape(-1, 2)
        self._high = np.array([points.max(axis=0)[::-1] for points in corners]).reshape(-1, 2)
        self.areas = len(self._areas)
        touching = ((self._low < self.shape) & (self._high > 0)).all(axis=1)
        self.touches = bool(touching.any())
        # Numbers of the bands that have an area which touches the image.
        self.bands_shown = frozenset(self._bands[touching].tolist())

    def _counted(self, shapes: Sequence[Shape], class_property: str | None) -> list[Shape]:
        """Returns the shapes that count, and keeps a count of the others."""
        areas = [shape for shape in shapes if shape.parts]
        # QuPath leaves the property out where there is no class.
        known = class_property in (None, "classification") or any(shape.has_class for shape in areas)
        if areas and not known:
            raise LabelError(self.path, f"a property {class_property} of every polygon that counts", "none")
        counted = []
        for shape in shapes:
            if not shape.parts:
                self.left_out[shape.kind] += 1
            elif class_property and shape.name is None:
                self.left_out["without a class"] += 1
            else:
                counted.append(shape)
        return counted

    def require_touching(self) -> None:
        """Refuses outlines none of which touches the image.

        Raises:
            MisplacedLabel: If there are some, all beside it.
        """
        if self.touches or not self.areas:
            return
        (top, left), (bottom, right) = self._low.min(axis=0), self._high.max(axis=0)
        raise MisplacedLabel(
            self.path,
            f"outlines that touch {self._image_name}, {by(self.shape)}, or `crs` that says where they lie",
            f"outlines from row {top:.6g}, column {left:.6g} to row {bottom:.6g}, column {right:.6g} of it",
        )

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
                # One by one: where polygons of one geometry overlap, they would cancel each other.
                shapes = [
                    {"type": "Polygon", "coordinates": [(ring + 1).tolist() for ring in rings]}
                    for polygons in shown
                    for rings in polygons
                ]
                burned[..., band] = rasterize(shapes, window.size, transform=shift, dtype="uint8")
        return burned
