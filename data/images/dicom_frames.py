"""The frames of one DICOM file: where each lies, in which order they make up a volume, how each is rescaled."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import ImageError, readable

from .dicom import SAME, slice_step
from .reading import ignored_warnings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True, eq=False)
class Frames:
    """How the frames of a file make up a volume.

    Attributes:
        order: For each slice of the volume the number of its frame.
        affine: From voxel to place as DICOM counts it, to the left, the back and up, `(4, 4)`.
        rescale: Slope and intercept of each frame, `(frames, 2)`; `None` where all have the same.
    """

    order: np.ndarray
    affine: np.ndarray
    rescale: np.ndarray | None


def read_frames(path: str | os.PathLike[str]) -> Frames | None:
    """Returns how the frames of a DICOM file make up a volume; `None` of a file that says no place for its frames.

    Raises:
        ImageError: If they do not make up one: of several directions, pixel sizes or times, or with a gap.
        UnreadableFile: If what the file says of them cannot be read.
    """
    import pydicom

    with readable(path, "frames whose places can be read"), ignored_warnings():
        content = pydicom.dcmread(path, stop_before_pixels=True)
        number = int(content.get("NumberOfFrames", None) or 1)
        if not 0 < number <= os.path.getsize(path):
            raise ImageError(path, f"a number of frames that fits into {os.path.getsize(path)} bytes", number)
        is_slide = str(content.get("SOPClassUID", "")) == WHOLE_SLIDE
        facts = [frame_facts(content, index) for index in range(number)] if not is_slide else []
    if is_slide:
        raise ImageError(path, "a DICOM image or volume", "a slide in tiles; convert it to TIFF or SVS")
    placed = [fact for fact in facts if fact.position is not None]
    rescale = np.array([fact.rescale for fact in facts], float)
    rescale = None if (rescale == rescale[0]).all() else rescale
    if not placed:
        if rescale is None:
            return None
        raise ImageError(path, "frames with a place, as they are rescaled one by one", "frames without")
    if len(placed) < len(facts):
        raise ImageError(path, "a place of every frame", f"{len(facts) - len(placed)} of {len(facts)} without")
    return ordered_frames(Path(path), facts, rescale)


def ordered_frames(path: Path, facts: Sequence[FrameFacts], rescale: np.ndarray | None) -> Frames:
    """Returns placed frames in the order of their places."""
    turns = np.array([fact.orientation for fact in facts])
    if np.abs(turns - turns[0]).max() > SAME:
        raise ImageError(path, "frames of one direction", f"{len(np.unique(turns.round(3), axis=0))} directions")
    sizes = np.array([fact.spacing for fact in facts])
    if np.abs(sizes / sizes[0] - 1).max() > SAME:
        raise ImageError(path, "frames of one pixel size", f"{len(np.unique(sizes.round(4), axis=0))} sizes")
    along, down = turns[0, :3], turns[0, 3:]
    normal = np.cross(along, down)
    places = np.array([fact.position for fact in facts], float)
    heights = places @ normal
    order = np.argsort(heights, kind="stable")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = along * sizes[0, 1], down * sizes[0, 0]
    affine[:3, 2] = normal * facts[0].thickness
    if len(facts) > 1:
        distinct = 1 + int((np.diff(heights[order]) > SAME * max(float(np.ptp(heights)), 1e-9)).sum())
        if distinct < len(facts):
            received = f"{len(facts)} frames at {distinct} places, as of several times or kinds"
            raise ImageError(path, "one frame at each place", received)
        affine[:3, 2] = slice_step(path, places[order], "frames")
    affine[:3, 3] = places[order[0]]
    return Frames(order, affine, rescale)


@dataclass(frozen=True)
class FrameFacts:
    """What a DICOM file says of one frame.

    Attributes:
        position: Place of its first pixel; `None` where the file says none.
        orientation: Direction along a row, then down a column.
        spacing: Millimetres from row to row, and from column to column.
        thickness: Millimetres to the next slice.
        rescale: Slope and intercept.
    """

    position: tuple[float, ...] | None
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    thickness: float
    rescale: tuple[float, float]


def frame_facts(content: Dataset, number: int) -> FrameFacts:
    """Returns what a file says of a frame: of it alone, of all its frames, or of the file as a whole."""

    def found(group: str, element: str) -> list[float] | None:
        for groups, index in (("PerFrame", number), ("Shared", 0)):
            items = content.get(f"{groups}FunctionalGroupsSequence", None) or []
            part = items[index].get(group, None) if index < len(items) else None
            if part and (value := part[0].get(element, None)) is not None:
                return numbers(value)
        return None

    def said(element: str) -> list[float] | None:
        value = content.get(element, None)
        return None if value in (None, "") else numbers(value)

    offsets = said("GridFrameOffsetVector")
    turn = found("PlaneOrientationSequence", "ImageOrientationPatient") or said("ImageOrientationPatient") or [*AXIAL]
    position = found("PlanePositionSequence", "ImagePositionPatient")
    first = said("ImagePositionPatient")
    if position is None and first is not None and offsets is not None and number < len(offsets):
        normal = np.cross(turn[:3], turn[3:])
        position = (np.array(first) + normal * (offsets[number] - offsets[0])).tolist()
    spacing = found("PixelMeasuresSequence", "PixelSpacing") or said("PixelSpacing") or [1.0, 1.0]
    thick = found("PixelMeasuresSequence", "SpacingBetweenSlices") or found("PixelMeasuresSequence", "SliceThickness")
    thick = thick or said("SpacingBetweenSlices") or said("SliceThickness") or [1.0]
    slope = found("PixelValueTransformationSequence", "RescaleSlope") or [1.0]
    shift = found("PixelValueTransformationSequence", "RescaleIntercept") or [0.0]
    for what, values, length in (
        ("position", position or [0] * 3, 3),
        ("direction", turn, 6),
        ("pixel size", spacing, 2),
        ("rescale", slope + shift, 2),
    ):
        if len(values) != length or not np.isfinite(values).all():
            raise ValueError(f"a {what} {values} of frame {number + 1}")
    if min(spacing) <= 0 or slope[0] == 0:
        raise ValueError(f"pixels of {spacing} mm and a slope of {slope[0]:g} in frame {number + 1}")
    return FrameFacts(
        None if position is None else tuple(position), tuple(turn), tuple(spacing), thick[0], (slope[0], shift[0])
    )


def slice_thickness(path: str | os.PathLike[str]) -> float | None:
    """Returns how thick the one slice of a DICOM file is, in millimetres; `None` where it does not say it.

    Raises:
        UnreadableFile: If what it says is no number.
    """
    import pydicom

    names = ("SpacingBetweenSlices", "SliceThickness")
    with readable(path, "a slice whose thickness can be read"), ignored_warnings():
        content = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(names))
        found = [numbers(content[name].value)[0] for name in names if content.get(name) not in (None, "")]
    return next((size for size in found if 0 < size < np.inf), None)


def numbers(value: object) -> list[float]:
    """Returns the numbers of a DICOM element that holds one or several."""
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [float(part) for part in several]  # pyright: ignore[reportArgumentType] (pydicom's numbers, as text or not)
