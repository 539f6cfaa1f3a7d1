"""Where images lie: one compared with another by place, and brought over where only its axes run otherwise."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .source import Frame, Source
from .turning import Turn, TurnedSource

if TYPE_CHECKING:
    from rasterio.crs import CRS

logger = logging.getLogger(__name__)

# Corners that are less than this fraction of a pixel apart lie at one place.
TOLERANCE = 0.1
# Micrometres: pixels that are larger come from the resolution for printers, which says nothing of the place.
LARGEST_SLIDE_PIXEL = 20.0
# Pixel sizes that differ by less than this fraction are the same.
SAME_SIZE = 0.01

_said: set[Path | None] = set()


def turn_onto(frame: Frame, target: Frame) -> Turn | None:
    """Returns the turn that brings an image onto another one; `None` if none does.

    Both may have different pixels of the same extent, such as those of two levels. An image without a place fits every
    other one.

    Args:
        frame: Where the image lies.
        target: Where the other lies.
    """
    same = Turn(tuple(range(len(frame.shape))), (False,) * len(frame.shape))
    if len(frame.shape) != len(target.shape):
        return None
    if differ(frame.crs, target.crs) or not points_agree(frame, target):
        return None
    here, there = frame.steps(), target.steps()
    if here is None or there is None or len(here[1]) != len(there[1]):
        return same if sizes_agree(frame, target) else None
    if not units_agree(frame, target):
        return None
    steps, corner = here
    extent = steps * frame.shape
    wanted, wanted_corner = there[0] * target.shape, there[1]
    tolerance = TOLERANCE * min(np.linalg.norm(steps, axis=0).min(), np.linalg.norm(there[0], axis=0).min())
    number = len(frame.shape)
    for axes in itertools.permutations(range(number)):
        for flips in itertools.product((False, True), repeat=number):
            signs = np.where(flips, -1, 1)
            turned = extent[:, axes] * signs
            start = corner + extent[:, axes] @ np.array(flips, float)
            shifts = [start - wanted_corner + (turned - wanted) @ np.array(ends) for ends in np.ndindex(*(2,) * number)]
            if max(np.linalg.norm(shift) for shift in shifts) <= tolerance:
                return Turn(axes, flips)
    return None


def differ(crs: CRS | None, other: CRS | None) -> bool:
    """Says whether two coordinate systems are known and not the same."""
    return bool(crs) and bool(other) and crs != other


def points_agree(frame: Frame, target: Frame) -> bool:
    """Says whether control points are the same, where both images have some."""
    if not frame.control_points or not target.control_points:
        return True
    if len(frame.control_points) != len(target.control_points) or differ(
        frame.control_points_crs, target.control_points_crs
    ):
        return False
    scale = np.divide(target.shape, frame.shape)
    here, there = pixels_and_places(frame), pixels_and_places(target)
    close = np.abs(here[:, :2] * scale - there[:, :2]) <= TOLERANCE * max(scale.max(), 1)
    return bool(close.all() and np.allclose(here[:, 2:], there[:, 2:], rtol=1e-9, atol=1e-6))


def pixels_and_places(frame: Frame) -> np.ndarray:
    """Returns row, column and map coordinates of each control point, `(points, 4)`."""
    points = [(point.row or 0, point.col or 0, point.x or 0, point.y or 0) for point in frame.control_points]
    return np.array(points, float)


def units_agree(frame: Frame, target: Frame) -> bool:
    """Says whether the affines of two volumes are in one unit."""
    return not frame.unit or not target.unit or frame.unit == target.unit


def sizes_agree(frame: Frame, target: Frame) -> bool:
    """Says whether pixels are of one size, as far as files without a place say it."""
    if frame.spacing is None or target.spacing is None:
        return True
    if (frame.steps() is None) != (target.steps() is None):
        return True
    here, there = np.array(frame.spacing), np.array(target.spacing)
    if frame.affine is None:
        here, there = np.array(frame.micrometres), np.array(target.micrometres)
        if not (frame.unit and target.unit) and max(here.max(), there.max()) > LARGEST_SLIDE_PIXEL:
            return True
    here, there = here * frame.shape, there * target.shape
    return units_agree(frame, target) and bool(np.allclose(here, there, rtol=SAME_SIZE))


def brought_onto(source: Source, target: Source) -> Source | None:
    """Returns a source with its axes as those of another, the source itself if they are; `None` at another place.

    What is turned is said once for each folder.
    """
    turn = turn_onto(source.frame, target.frame)
    if turn is None or turn.is_identity:
        return source if turn else None
    folder = None if source.path is None else source.path.parent
    level = logging.DEBUG if folder in _said else logging.INFO
    _said.add(folder)
    logger.log(
        level,
        "note: the axes of %s run otherwise than those of %s: %s, not %s; it is turned to fit, as are others like it",
        source.name,
        target.name,
        axes_in_words(source.frame),
        axes_in_words(target.frame),
    )
    return TurnedSource(source, turn)


def axes_in_words(frame: Frame) -> str:
    """Returns where the axes of an image lead, such as `LPS`, or the steps of a map's rows and columns."""
    if orientation := frame.orientation:
        return orientation
    found = frame.steps()
    if found is None:
        return "as stored"
    return " and ".join("(" + ", ".join(f"{part:.6g}" for part in step) + ")" for step in found[0].T)


def place_in_words(frame: Frame) -> str:
    """Returns where an image lies, for messages: coordinate system, corner, size and direction of its pixels."""
    parts = []
    crs = frame.crs or frame.control_points_crs
    if crs:
        code = crs.to_epsg()
        parts.append(f"EPSG:{code}" if code else crs.to_string()[:60])
    if frame.control_points:
        parts.append(f"{len(frame.control_points)} control points")
    if orientation := frame.orientation:
        parts.append(orientation)
    found = frame.steps()
    if found is not None:
        steps, corner = found
        sizes = " x ".join(f"{size:.6g}" for size in np.linalg.norm(steps, axis=0))
        unit = f" {frame.unit}" if frame.unit else ""
        parts.append(f"pixels of {sizes}{unit} from ({', '.join(f'{value:.8g}' for value in corner)})")
        if frame.orientation is None or is_oblique(steps):
            parts.append(f"along {axes_in_words(frame) if frame.orientation is None else directions(steps)}")
    elif frame.spacing is not None:
        parts.append("pixels of " + " x ".join(f"{size:.6g}" for size in frame.spacing))
    return ", ".join(parts) or "none"


def is_oblique(steps: np.ndarray) -> bool:
    """Says whether the axes of a volume are not those of the patient."""
    return bool((np.sort(np.abs(steps), axis=0)[:-1] > 1e-3 * np.abs(steps).max()).any())


def directions(steps: np.ndarray) -> str:
    """Returns the directions of axes, given as columns, in words."""
    units = steps / np.linalg.norm(steps, axis=0)
    return " and ".join("(" + ", ".join(f"{part:.4f}" for part in unit) + ")" for unit in units.T)
