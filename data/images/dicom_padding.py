"""Pixels of DICOM files that pad the image: those of the value, or range of values, that a file declares for it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from maskzoo.errors import UnreadableFile

from .dicom_frames import Frames, frame_facts
from .reading import ignored_warnings, reason

ELEMENTS = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "BitsAllocated",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


def read_padding(files: Sequence[str | os.PathLike[str]], frames: Frames | None) -> np.ndarray | None:
    """Returns the range of values that pad each slice, rescaled as the slice is, `(slices, 2)`.

    A slice that declares none has an empty range, from infinity down; `None` if no slice declares one.

    Args:
        files: The file of each slice, or the one file of all, which then may be told by one range.
        frames: How the frames of the one file make up a volume.
    """
    found = np.array([padding_range(file, 0) for file in files], float)
    if frames is not None and np.isfinite(found).all():
        found = np.array([padding_range(files[0], int(frame)) for frame in frames.order], float)
    return found if np.isfinite(found).any() else None


def padding_range(path: str | os.PathLike[str], frame: int) -> tuple[float, float]:
    """Returns the least and the greatest value that pads a file or one of its frames, rescaled.

    Raises:
        UnreadableFile: If what it says cannot be read.
    """
    import pydicom

    try:
        with ignored_warnings():
            content = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(ELEMENTS))
            value = content.get("PixelPaddingValue", None)
            if value in (None, "") or int(content.get("SamplesPerPixel", 1)) != 1:
                return np.inf, -np.inf
            limit = content.get("PixelPaddingRangeLimit", None)
            ends = [stored_number(end, content) for end in (value, value if limit in (None, "") else limit)]
            slope, shift = float(content.get("RescaleSlope", 1) or 1), float(content.get("RescaleIntercept", 0) or 0)
            if "SharedFunctionalGroupsSequence" in content or "PerFrameFunctionalGroupsSequence" in content:
                slope, shift = frame_facts(content, frame).rescale
    except Exception as error:  # pydicom lets whatever a damaged element provokes pass through
        raise UnreadableFile(path, "a readable value of its padding", reason(error)) from None
    low, high = sorted(slope * end + shift for end in ends)
    # What lies between two stored values is rounding.
    return low - abs(slope) / 4, high + abs(slope) / 4


def stored_number(value: object, content: object) -> int:
    """Returns a stored pixel value, which some files write without its sign."""
    number = int(str(value))
    bits = int(getattr(content, "BitsAllocated", 16))
    is_signed = int(getattr(content, "PixelRepresentation", 0)) == 1
    return number - (1 << bits) if is_signed and number >= 1 << (bits - 1) else number
