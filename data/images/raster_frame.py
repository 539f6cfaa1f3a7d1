"""Where the pixels of a raster file lie, and how large they are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .raster_files import RasterFile
from .source import Frame

if TYPE_CHECKING:
    from affine import Affine
    from rasterio.control import GroundControlPoint

# In pixels: how far a transform may miss the control points that it is taken for.
CONTROL_POINT_TOLERANCE = 0.25


def raster_frame(dataset: RasterFile) -> Frame:
    """Returns the frame of an open raster file, which shows its finest level."""
    points, points_crs = dataset.gcps
    transform: Affine | None = dataset.transform
    crs = dataset.crs
    if points and dataset.transform.is_identity:
        transform = affine_of_points(points)
        crs = None if transform is None else points_crs
    elif dataset.transform.is_identity and (crs is None or dataset.rpcs is not None):
        transform = crs = None
    spacing = raster_spacing(dataset, transform)
    return Frame(dataset.shape, spacing, transform, crs, tuple(points), points_crs, rpcs=dataset.rpcs)


def affine_of_points(points: Sequence[GroundControlPoint]) -> Affine | None:
    """Returns the transform that takes all control points to their coordinates; `None` if there is none."""
    from affine import Affine

    pixels = np.array([(point.col or 0, point.row or 0, 1) for point in points], float)
    places = np.array([(point.x, point.y) for point in points], float)
    if np.linalg.matrix_rank(pixels) < 3:
        return None
    middle = places.mean(axis=0)
    (a, d), (b, e), (c, f) = np.linalg.lstsq(pixels, places - middle, rcond=None)[0].tolist()
    fitted = Affine(a, b, c + middle[0], d, e, f + middle[1])
    if abs(fitted.determinant) == 0:
        return None
    inverse = np.linalg.inv([[a, b], [d, e]])
    missed = (pixels @ np.array([[a, d], [b, e], [c, f]]) - (places - middle)) @ inverse.T
    return fitted if np.abs(missed).max() <= CONTROL_POINT_TOLERANCE else None


def raster_spacing(dataset: RasterFile, transform: Affine | None) -> tuple[float, ...] | None:
    """Returns the size of a pixel along rows and columns: map units, or micrometres of a slide; `None` if unknown."""
    if transform is not None and not transform.is_identity:
        a, b, _, d, e, _ = transform[:6]
        return float(np.hypot(b, e)), float(np.hypot(a, d))
    tags = dataset.tags()
    if found := re.search(r"\bMPP *= *([0-9.]+)", tags.get("TIFFTAG_IMAGEDESCRIPTION", "")):
        size = float(found[1]), float(found[1])
    else:
        unit = {"2": 25400.0, "3": 10000.0}.get(tags.get("TIFFTAG_RESOLUTIONUNIT", "")[:1])
        per_unit = [float(tags.get(f"TIFFTAG_{axis}RESOLUTION", 0)) for axis in "YX"]
        if unit is None or min(per_unit) <= 0:
            return None
        size = unit / per_unit[0], unit / per_unit[1]
    return size
