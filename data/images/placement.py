"""Where images lie: one compared with another by place, and brought over where only its axes run otherwise."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .source import MICROMETRES, Frame, Source
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


def turn_onto(frame: Frame, target: Frame, *, pixels: float | None = None) -> Turn | None:
    """Returns the turn that brings an image onto another one; `None` if none does.

    Both may have different pixels of the same extent, such as those of two levels. An image without a place fits every
    other one; so does a volume's place one on a map, which are not comparable.

    Args:
        frame: Where the image lies.
        target: Where the other lies.
        pixels: How many of the larger pixels their corners may be apart along each axis; by default a tenth of the
            smallest.
    """
    same = Turn(tuple(range(len(frame.shape))), (False,) * len(frame.shape))
    if len(frame.shape) != len(target.shape):
        return None
    if not points_agree(frame, target):
        return None
    here, there = steps_beside(frame, target), target.steps()
    if frame.steps() is None or there is None:
        return None if differ(frame.crs, target.crs) or not sizes_agree(frame, target) else same
    if not are_comparable(frame, target):
        return same
    if here is None:
        return None
    steps, corner = here
    extent = steps * frame.shape
    wanted, wanted_corner = there[0] * target.shape, there[1]
    sizes, wanted_sizes = np.linalg.norm(steps, axis=0), np.linalg.norm(there[0], axis=0)
    tolerance = TOLERANCE * min(sizes.min(), wanted_sizes.min())
    number = len(frame.shape)
    for axes in itertools.permutations(range(number)):
        for flips in itertools.product((False, True), repeat=number):
            signs = np.where(flips, -1, 1)
            turned = extent[:, axes] * signs
            start = corner + extent[:, axes] @ np.array(flips, float)
            ends = np.array(list(np.ndindex(*(2,) * number)))
            shifts = start - wanted_corner + ends @ (turned - wanted).T
            if pixels is None:
                fits = np.linalg.norm(shifts, axis=1).max() <= tolerance
            else:
                along = np.abs(np.linalg.lstsq(there[0], shifts.T)[0]).max(axis=1) * wanted_sizes
                fits = (along <= pixels * np.maximum(wanted_sizes, sizes[list(axes)])).all()
            if fits:
                return Turn(axes, flips)
    return None


def turn_of_coarser(frame: Frame, target: Frame) -> Turn | None:
    """Returns the turn that brings an image of another size onto one that shows the same place; `None` if none does.

    Only frames that say where they lie, or how large their pixels are, are known to; to one of the larger pixels.

    Args:
        frame: Where the image lies.
        target: Where the other lies.
    """
    if frame.steps() is not None and target.steps() is not None and are_comparable(frame, target):
        return turn_onto(frame, target, pixels=1)
    if frame.spacing is None or target.spacing is None or (frame.affine is None) != (target.affine is None):
        return None
    if frame.steps() is not None or target.steps() is not None:
        return None
    pixels = np.array(frame.micrometres), np.array(target.micrometres)
    if (np.abs(pixels[0] * frame.shape - pixels[1] * target.shape) < np.maximum(*pixels)).all():
        return Turn(tuple(range(len(frame.shape))), (False,) * len(frame.shape))
    return None


def are_comparable(frame: Frame, target: Frame) -> bool:
    """Says whether the places of two images are of one kind: on a map, or in a patient."""
    return (frame.affine is None) == (target.affine is None)


def steps_beside(frame: Frame, target: Frame) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the steps of an image, as `Frame.steps` does, in the coordinate system or the unit of another image.

    Returns:
        `None` without a place, or if its pixels make no grid there.
    """
    found = frame.steps()
    if found is None:
        return None
    steps, corner = found
    if frame.unit and target.unit:
        factor = MICROMETRES[frame.unit] / MICROMETRES[target.unit]
        steps, corner = steps * factor, corner * factor
    if not differ(frame.crs, target.crs):
        return steps, corner
    # One place may have several names: with a height, by its parameters alone, or of a system that hardly differs.
    ends = np.array(list(np.ndindex(2, 2)))
    corners = in_crs(corner + ends @ (steps * frame.shape).T, frame.crs, target.crs)
    if corners is None:
        return None
    start, first, second = corners[0], corners[2] - corners[0], corners[1] - corners[0]
    moved = np.stack([first / frame.shape[0], second / frame.shape[1]], axis=1)
    bent = np.linalg.norm(start + first + second - corners[3])
    return (moved, start) if bent <= TOLERANCE * np.linalg.norm(moved, axis=0).min() else None


def in_crs(points: np.ndarray, crs: CRS | None, target: CRS | None) -> np.ndarray | None:
    """Returns points `(n, 2)`, x before y, in another coordinate system; `None` if they do not lie there."""
    from rasterio.warp import transform

    try:
        moved = np.stack(transform(crs, target, *points.T), axis=1)
    except Exception:  # PROJ's errors have classes of their own
        return None
    return moved if np.isfinite(moved).all() else None


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


def sizes_agree(frame: Frame, target: Frame) -> bool:
    """Says whether pixels are of one size, as far as files without a place say it."""
    if frame.spacing is None or target.spacing is None:
        return True
    if (frame.steps() is None) != (target.steps() is None) or not are_comparable(frame, target):
        return True
    here, there = np.array(frame.spacing), np.array(target.spacing)
    if frame.affine is None or (frame.unit and target.unit):
        here, there = np.array(frame.micrometres), np.array(target.micrometres)
        if not (frame.unit and target.unit) and max(here.max(), there.max()) > LARGEST_SLIDE_PIXEL:
            return True
    here, there = here * frame.shape, there * target.shape
    return bool(np.allclose(here, there, rtol=SAME_SIZE))


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


def places_in_words(frame: Frame, target: Frame) -> tuple[str, str]:
    """Returns where two images lie, for messages, in as many words and digits as tell them apart."""
    places = place_in_words(frame), place_in_words(target)
    return places if places[0] != places[1] else (place_in_words(frame, 12), place_in_words(target, 12))


def axes_in_words(frame: Frame) -> str:
    """Returns where the axes of an image lead, such as `LPS`, or the steps of a map's rows and columns."""
    if orientation := frame.orientation:
        return orientation
    found = frame.steps()
    if found is None:
        return "as stored"
    return " and ".join("(" + ", ".join(f"{part:.6g}" for part in step) + ")" for step in found[0].T)


def place_in_words(frame: Frame, digits: int = 8) -> str:
    """Returns where an image lies, for messages: coordinate system, corner, size and direction of its pixels.

    Args:
        frame: Where it lies.
        digits: Digits of the numbers; with more than 8, the coordinate system is not called by the number of a similar
            one.
    """
    parts = []
    crs = frame.crs or frame.control_points_crs
    if crs:
        code = crs.to_epsg()
        is_exact = code and (digits <= 8 or type(crs).from_epsg(code) == crs)
        parts.append(f"EPSG:{code}" if is_exact else crs.to_wkt()[: 60 if digits <= 8 else 200])
    if frame.control_points:
        parts.append(f"{len(frame.control_points)} control points")
    if orientation := frame.orientation:
        parts.append(orientation)
    found = frame.steps()
    if found is not None:
        steps, corner = found
        sizes = " x ".join(f"{size:.{digits - 2}g}" for size in np.linalg.norm(steps, axis=0))
        unit = f" {frame.unit}" if frame.unit else ""
        # Maps count their metres from afar.
        digits = digits if frame.transform is None else max(digits, 10)
        parts.append(f"pixels of {sizes}{unit} from ({', '.join(f'{value:.{digits}g}' for value in corner)})")
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
