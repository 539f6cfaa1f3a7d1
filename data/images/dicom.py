"""DICOM files and series: what is to be known of them before GDCM reads their pixels."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import ImageError, UnreadableFile, readable
from maskzoo.names import counted

from .image_files import slices_in
from .reading import ignored_warnings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Values longer than this are left in the file.
LARGEST_VALUE = 1 << 12
UNDEFINED_LENGTH = 0xFFFFFFFF
DEFLATED = "1.2.840.10008.1.2.1.99"
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
ITEM, SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
# Modalities of files that describe images and are none (DICOM PS3.3, C.7.3.1.1.1): outlines, plans, reports, notes.
DESCRIPTIONS = {"RTSTRUCT", "RTPLAN", "RTRECORD", "PLAN", "SR", "PR", "KO", "REG", "FID", "DOC"}
# Directions and sizes that differ by less than this are the same.
SAME = 1e-3


def require_whole_elements(path: str | os.PathLike[str]) -> None:
    """Refuses a DICOM file with an element that reaches past its end: GDCM would allocate what it declares.

    Raises:
        UnreadableFile: If there is one.
    """
    import pydicom

    with readable(path, "a readable DICOM file"), ignored_warnings():
        content = pydicom.dcmread(path, defer_size=LARGEST_VALUE)
        encoding = content.file_meta.get("TransferSyntaxUID")
        if encoding == DEFLATED:  # its values lie nowhere in the file
            content = pydicom.dcmread(path)
        is_whole = elements_fit(content.file_meta, path) and elements_fit(content, path)
        has_pixels = any(tag in content for tag in PIXELS)
    if encoding is None or not has_pixels:
        missing = "pixels" if encoding else "the name of its encoding"
        raise UnreadableFile(path, "a readable DICOM file", f"one without {missing}, or one that is cut off")
    if not is_whole:
        raise UnreadableFile(path, "a readable DICOM file", "an element of no known kind or past its end")


def elements_fit(elements: Dataset, path: str | os.PathLike[str]) -> bool:
    """Says whether every element is of a known kind and as long as it declares, those of its sequences included.

    Args:
        elements: What was read of the file, its long values left there.
        path: The file.
    """
    from pydicom.dataelem import RawDataElement
    from pydicom.valuerep import VR

    known = {*VR, None}
    size = os.path.getsize(path)
    for tag in list(elements.keys()):
        element = elements.get_item(tag, keep_deferred=True)
        if isinstance(element, RawDataElement):
            if element.length == UNDEFINED_LENGTH:
                fits = fragments_fit(path, element.value_tell, size)
            elif element.value is None:
                fits = element.value_tell + element.length <= size
            else:
                fits = len(element.value) >= element.length
            if not fits or element.VR not in known:
                return False
        if element.VR == "SQ" and not all(elements_fit(item, path) for item in elements[tag].value):
            return False
    return True


def fragments_fit(path: str | os.PathLike[str], start: int, size: int) -> bool:
    """Says whether the fragments of compressed pixels lie within the file.

    Args:
        path: The file.
        start: Where the first fragment begins.
        size: Bytes that the file has.
    """
    with open(path, "rb") as file:
        file.seek(start)
        while len(head := file.read(8)) == 8:
            group, number, length = struct.unpack("<HHI", head)
            if group << 16 | number == SEQUENCE_END:
                return True
            if group << 16 | number != ITEM or file.tell() + length > size:
                return False
            file.seek(length, os.SEEK_CUR)
    return False


def series_files(folder: Path) -> list[str]:
    """Returns the files of the one DICOM series in a folder, in order along its axis.

    Raises:
        UnreadableFile: If there is no series, or a file of it is damaged.
        ImageError: If there are several.
    """
    import SimpleITK as sitk

    files = [file for file in slices_in(folder) if not is_description(file)]
    for file in files:
        require_whole_elements(file)
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise UnreadableFile(folder, "a readable DICOM series", "files of none")
    if len(series) > 1:
        names = ", ".join(series_in_words(folder, identity) for identity in series[:4])
        received = f"{len(series)} series: {names}{', ...' if len(series) > 4 else ''}"
        raise ImageError(folder, "the slices of one DICOM series", received)
    found = list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    if left_out := {file.name for file in files} - {Path(file).name for file in found}:
        raise UnreadableFile(folder / min(left_out), "a slice of the series of the others", "one of none")
    return found


def is_description(path: Path) -> bool:
    """Says whether a DICOM file describes images and is none, such as the outlines that lie beside many series."""
    import pydicom

    try:
        with ignored_warnings():
            content = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality", "Rows"])
    except Exception:  # a damaged file, which is refused as one
        return False
    return content.get("Rows", None) is None and str(content.get("Modality", "")) in DESCRIPTIONS


def series_in_words(folder: Path, identity: str) -> str:
    """Returns how many files a series in a folder has, and the name of the first of them."""
    import SimpleITK as sitk

    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), identity)
    return f"{counted(len(files), 'file')} like {Path(files[0]).name}" if files else "one without files"


def require_one_grid(path: Path, directions: np.ndarray, sizes: np.ndarray) -> None:
    """Refuses slices that do not lie on one grid.

    Args:
        path: The folder.
        directions: Directions of the axes of each slice, `(slices, 9)`.
        sizes: Pixel size of each slice along rows and columns, `(slices, 2)`.

    Raises:
        ImageError: If one is turned against the first, or has other pixels.
    """
    if (turned := np.flatnonzero(np.abs(directions - directions[0]).max(axis=1) > SAME)).size:
        raise ImageError(
            path, "slices of one direction", f"{turned.size} of {len(directions)} turned against the first"
        )
    if (other := np.flatnonzero(np.abs(sizes / sizes[0] - 1).max(axis=1) > SAME)).size:
        expected = f"slices of one pixel size, {sizes[0, 0]:g} x {sizes[0, 1]:g} mm"
        raise ImageError(path, expected, f"{sizes[other[0], 0]:g} x {sizes[other[0], 1]:g} mm in {other.size} of them")


def slice_step(path: Path, origins: np.ndarray, parts: str = "slices") -> np.ndarray:
    """Returns the way from one slice to the next.

    Args:
        path: The folder, or the file of several frames.
        origins: Places of the slices in order, `(slices, 3)`.
        parts: What messages call them.

    Raises:
        ImageError: If a slice is missing or two lie at one place.
    """
    if (places := len(np.unique(origins.round(3), axis=0))) < len(origins):
        received = f"{len(origins)} {parts} at {counted(places, 'place')}, as of several times or kinds"
        raise ImageError(path, f"one {parts[:-1]} at each place", received)
    steps = np.diff(origins, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    if np.abs(steps - steps.mean(axis=0)).max() > 0.1 * np.median(lengths):
        raise ImageError(path, f"{parts} at even distances", f"{lengths.min():g} to {lengths.max():g} mm")
    return (origins[-1] - origins[0]) / (len(origins) - 1)
