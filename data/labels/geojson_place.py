"""Where the coordinates of a GeoJSON file lie in an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import LabelError, MisplacedLabel, readable

from ..images.source import Source

if TYPE_CHECKING:
    from rasterio.crs import CRS

# Degrees from which on outlines in an image may cross the date line.
FAR_EAST = 170
WGS84 = "OGC:CRS84"  # what GeoJSON means if it names no coordinate system


def pixel_mapping(
    path: Path,
    content: object,  # a JSON value
    image: Source,
    crs: str | None,
    points: Sequence[np.ndarray],
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from points `(n, 2)` of a GeoJSON file to pixels of an image, x before y.

    Args:
        path: The file.
        content: What it holds.
        image: The image.
        crs: Coordinate system to take in place of what the file says: its name, `image` or `pixels`.
        points: All points of the file that count.

    Raises:
        LabelError: If the coordinate system is not known.
        MisplacedLabel: If the points cannot lie in it, or only one side has one.
    """
    frame = image.frame
    named = named_crs(content)
    if crs == "pixels" or (crs == "image" and frame.transform is None):
        return lambda some: some / image.scale[::-1]
    if frame.transform is None or (frame.crs is None and crs != "image"):
        if other := (crs or named):
            expected = f"an image with a coordinate system, as outlines in {other} need, or `crs: pixels`"
            raise MisplacedLabel(path, expected, f"{image.name}, which has none")
        return lambda some: some / image.scale[::-1]
    a, b, c, d, e, f = (~frame.transform)[:6]

    rows, columns = frame.shape
    middle = (frame.transform @ (columns / 2, rows / 2))[0]
    is_far_east = frame.crs is not None and frame.crs.is_geographic and abs(middle) > FAR_EAST

    def in_image(some: np.ndarray) -> np.ndarray:
        if is_far_east:
            # Longitudes on the other side of the date line go on from those of the image.
            some = some + np.outer(360 * np.round((middle - some[:, 0]) / 360), [1, 0])
        return some @ [[a, d], [b, e]] + [c, f]

    if crs == "image" or frame.crs is None:
        return in_image
    source = known_crs(path, crs or named or WGS84)
    if source == frame.crs:
        return in_image
    corners = np.concatenate([np.zeros((0, 2)), *points])
    if source.is_geographic and len(corners) and (np.abs(corners).max(axis=0) > (360, 90)).any():
        x, y = corners[np.abs(corners / (360, 90)).max(axis=1).argmax()]
        said = f"in {crs or named}" if crs or named else "as GeoJSON has that names no coordinate system"
        expected = f"longitudes and latitudes, {said}, or `crs` that says another, such as image or pixels"
        raise MisplacedLabel(path, expected, f"{x:.10g}, {y:.10g}")
    return lambda some: in_image(transformed(path, some, source, frame.crs))


def transformed(path: Path, points: np.ndarray, source: CRS, target: CRS | None) -> np.ndarray:
    """Returns points `(n, 2)` in another coordinate system."""
    from rasterio.warp import transform

    if not len(points):
        return points
    with readable(path, f"points that lie in {target}", MisplacedLabel):
        moved = np.stack(transform(source, target, *points.T), axis=1)
    if not np.isfinite(moved).all():
        x, y = points[~np.isfinite(moved).all(axis=1)][0]
        raise MisplacedLabel(path, f"points that lie in {target}", f"{x:.10g}, {y:.10g}")
    return moved


def known_crs(path: Path, name: str) -> CRS:
    """Returns the coordinate system of a name."""
    from rasterio.crs import CRS

    try:
        return CRS.from_user_input(name)
    except Exception as error:  # see above
        raise LabelError(path, "a known coordinate system", f"{name} ({error})") from None


def named_crs(content: object) -> str | None:  # a JSON value
    """Returns the name of the coordinate system that a GeoJSON value states, `None` without one."""
    stated = content.get("crs") if isinstance(content, dict) else None
    if isinstance(stated, str):
        return stated
    properties = stated.get("properties") if isinstance(stated, dict) else None
    if not isinstance(properties, dict):
        return None
    if properties.get("name"):
        return str(properties["name"])
    return f"EPSG:{properties['code']}" if properties.get("code") else None


def pixels_per_unit(image: Source) -> float:
    """Returns how many pixels long a unit of an image's coordinate system is, without one a pixel of level 0."""
    frame = image.frame
    if frame.transform is not None and frame.crs is not None and frame.spacing is not None:
        return 1 / float(np.mean(frame.spacing))
    return 1 / float(np.mean(image.scale))
