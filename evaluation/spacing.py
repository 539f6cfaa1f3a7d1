"""The size of a pixel, read off the frame of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import ImageError

from .. import data
from ..data.images.placement import LARGEST_SLIDE_PIXEL
from ..data.images.source import Source

if TYPE_CHECKING:
    from rasterio.crs import CRS

VOLUME_UNITS = {"unknown": "mm", "mm": "mm", "meter": "m", "micron": "um"}
# Semi-major axis in metres and squared eccentricity of WGS 84.
EARTH_RADIUS, EARTH_ECCENTRICITY = 6378137.0, 0.00669437999014


def pixel_spacing(source: Source) -> tuple[tuple[float, ...], str]:
    """Reads the size of a pixel off the frame of an image.

    Args:
        source: An open source.

    Returns:
        `(spacing, unit)`: the size along each axis, and `mm`, `um` or `m` for a volume or a slice of one, `m` for a
        map, where degrees are converted at the image's centre, `map unit` for a map whose coordinate system is unknown,
        `um` for a slide, `px` for an image that says nothing, or says the size for a printer.

    Raises:
        ImageError: A size is not a number above 0.
    """
    spatial_dims, frame = len(source.shape), source.frame
    if frame.affine is not None and frame.header is not None:
        steps = np.asarray(frame.affine, float)[:3, :spatial_dims]
        unit = VOLUME_UNITS[str(frame.header.get_xyzt_units()[0])]
    elif frame.transform is not None and not frame.transform.is_identity:
        transform = frame.transform
        steps = np.array([[transform.b, transform.a], [transform.e, transform.d]])
        height, width = source.shape
        latitude = transform.f + transform.d * width / 2 + transform.e * height / 2
        scale, unit = metres_per_unit(frame.crs, latitude)
        steps = steps * np.reshape(scale, (-1, 1))
    elif frame.spacing is not None and frame.header is not None:
        steps, unit = np.diag(frame.spacing), VOLUME_UNITS[str(frame.header.get_xyzt_units()[0])]
    elif frame.spacing is not None and frame.transform is None and max(frame.spacing) <= LARGEST_SLIDE_PIXEL:
        steps, unit = np.diag(frame.spacing), "um"
    else:
        return (1.0,) * spatial_dims, "px"
    spacing = np.linalg.norm(steps, axis=0)
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise ImageError(source.name, "pixel sizes above 0", spacing.tolist())
    return tuple(spacing.tolist()), unit


def metres_per_unit(crs: CRS | None, latitude: float) -> tuple[tuple[float, float], str]:
    """The metres that the units of a map's axes `(x, y)` are long, and their name: `m`, or `map unit` without a CRS."""
    if not crs:
        return (1.0, 1.0), "map unit"
    _, factor = crs.units_factor
    if not crs.is_geographic:
        return (factor, factor), "m"
    sine, cosine = math.sin(latitude * factor), math.cos(latitude * factor)
    flattened = 1 - EARTH_ECCENTRICITY * sine**2
    east = EARTH_RADIUS / math.sqrt(flattened) * cosine
    north = EARTH_RADIUS * (1 - EARTH_ECCENTRICITY) / flattened**1.5
    return (factor * east, factor * north), "m"


def shared_unit(cases: Sequence[data.Case]) -> str:
    """Returns the unit of the spacing of all images.

    Raises:
        ImageError: Images have different units, so that a mean of distances would mean nothing.
    """
    unit_of = {case.image.name: pixel_spacing(case.image)[1] for case in cases}
    (first, unit), *others = unit_of.items()
    for name, other in others:
        if other != unit:
            raise ImageError(name, f"pixel sizes in the unit of {first}, {unit}, to average distances", other)
    return unit
