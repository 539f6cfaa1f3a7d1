"""What the values of a DICOM file mean: those that pad the image, and whether the least value is white."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import readable

from .dicom_frames import Frames, frame_facts
from .reading import ignored_warnings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ELEMENTS = (
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "BitsStored",
    "BitsAllocated",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
MIN_IS_WHITE = "MONOCHROME1"


@dataclass(frozen=True, eq=False)
class SliceValues:
    """What values mean, slice by slice; one entry stands for all slices.

    Attributes:
        padding: The range of values that pad each slice, as ITK gives them: rescaled, and inverted where 0 is white;
            `(slices, 2)`, of one without padding from infinity down.
        is_inverted: Whether the least value is white in any slice.
    """

    padding: np.ndarray
    is_inverted: bool

    @property
    def pads(self) -> bool:
        """Whether any slice has padding."""
        return bool(np.isfinite(self.padding).any())

    def of(self, slices: slice) -> SliceValues:
        """Returns what values mean in some of the slices."""
        return self if len(self.padding) == 1 else SliceValues(self.padding[slices], self.is_inverted)

    def padded(self, values: np.ndarray) -> np.ndarray:
        """Returns which values `(..., slices, channels)` pad the image."""
        low, high = (ends[:, None] for ends in np.moveaxis(self.padding, -1, 0))
        return (values >= low) & (values <= high)

    def without_padding(self, values: np.ndarray) -> np.ndarray:
        """Returns values `(..., slices, channels)`, 0 for those that pad the image."""
        return np.where(self.padded(values), np.zeros((), values.dtype), values) if self.pads else values


def read_values(files: Sequence[str | os.PathLike[str]], frames: Frames | None) -> SliceValues:
    """Returns what the values of a scan mean.

    Args:
        files: The file of each slice, or the one file of all.
        frames: How the frames of the one file make up a volume; `None` if all have the same facts.

    Raises:
        UnreadableFile: If what a file says of it cannot be read.
    """
    places = [(file, 0) for file in files] if frames is None else [(files[0], int(frame)) for frame in frames.order]
    contents: dict[str | os.PathLike[str], Dataset] = {}
    found = []
    for file, frame in places:
        with readable(file, "values whose meaning can be read"):
            if file not in contents:
                contents[file] = read_elements(file)
            found.append(values_of(contents[file], frame))
    is_inverted = any(is_white(content) for content in contents.values())
    return SliceValues(np.array(found, float), is_inverted)


def read_elements(path: str | os.PathLike[str]) -> Dataset:
    """Reads what a DICOM file says of its values."""
    import pydicom

    with ignored_warnings():
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(ELEMENTS))


def values_of(content: Dataset, frame: int) -> tuple[float, float]:
    """Returns the least and the greatest value that pads a frame, as ITK gives it."""
    value, limit = content.get("PixelPaddingValue", None), content.get("PixelPaddingRangeLimit", None)
    if value in (None, "") or int(content.get("SamplesPerPixel", 1) or 1) != 1:
        return np.inf, -np.inf
    slope, shift = float(content.get("RescaleSlope", 1) or 1), float(content.get("RescaleIntercept", 0) or 0)
    if "SharedFunctionalGroupsSequence" in content or "PerFrameFunctionalGroupsSequence" in content:
        slope, shift = frame_facts(content, frame).rescale
    stored = [stored_number(end, content) for end in (value, value if limit in (None, "") else limit)]
    if is_white(content):
        # ITK subtracts stored values from the sum of the least and the greatest that can be.
        ends = -1 if is_signed(content) else (1 << int(content.get("BitsStored", 16))) - 1
        stored = [ends - number for number in stored]
    low, high = sorted(slope * end + shift for end in stored)
    # What lies between two stored values is rounding.
    return low - abs(slope) / 4, high + abs(slope) / 4


def is_white(content: Dataset) -> bool:
    """Says whether the least value of a file is white."""
    return str(content.get("PhotometricInterpretation", "")).strip().upper() == MIN_IS_WHITE


def is_signed(content: Dataset) -> bool:
    """Says whether stored values have a sign."""
    return int(content.get("PixelRepresentation", 0) or 0) == 1


def stored_number(value: object, content: Dataset) -> int:
    """Returns a stored value, which some files write without its sign."""
    number, bits = int(str(value)), int(content.get("BitsAllocated", 16) or 16)
    return number - (1 << bits) if is_signed(content) and number >= 1 << (bits - 1) else number
