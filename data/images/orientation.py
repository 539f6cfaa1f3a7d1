"""Photographs that a camera has marked as turned: the mark (EXIF, tag 274 of TIFF 6.0), and the image as it is seen."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from .source import Frame, Source
from .turning import Turn, TurnedSource

ORIENTATION = 274
# Whether rows and columns change places, and whether the rows and the columns of the result are then reversed.
TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
# Entries of a directory of tags, and segments of a JPEG, up to which a file is searched.
MOST_ENTRIES = 1 << 12


class SeenSource(TurnedSource):
    """Shows an image as its mark says that it is to be seen; results lie on this grid.

    Args:
        source: The image of two axes, as it is stored.
        orientation: The mark, from 2 to 8: see `TURNS`.
    """

    def __init__(self, source: Source, orientation: int) -> None:
        is_swapped, *flips = TURNS[orientation]
        super().__init__(source, Turn((1, 0) if is_swapped else (0, 1), tuple(flips)))
        self.notes = (*source.notes, f"turned as its orientation {orientation} says")

    @property
    def own(self) -> Source | None:
        """`None`: what is written is seen as it is."""
        return None


def as_seen(source: Source) -> Source:
    """Returns an image turned as its file says; one that lies in the world, a volume and one without a file stay."""
    if source.path is None or len(source.shape) != 2 or is_placed(source.frame):
        return source
    orientation = read_orientation(source.path)
    return SeenSource(source, orientation) if orientation in TURNS else source


def is_placed(frame: Frame) -> bool:
    """Says whether an image lies in the world: then its place is that of the pixels as they are stored."""
    return frame.transform is not None or bool(frame.control_points) or frame.rpcs is not None


def read_orientation(path: str | os.PathLike[str]) -> int:
    """Returns the orientation that a TIFF, JPEG or PNG is marked with, 1 (as it is stored) where it says nothing."""
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            if start[:2] in (b"II", b"MM"):
                return tiff_orientation(file, 0)
            if start[:2] == b"\xff\xd8":
                return jpeg_orientation(file)
            if start == b"\x89PNG\r\n\x1a\n":
                return png_orientation(file)
    except (OSError, struct.error, OverflowError):  # a damaged mark says nothing; the reader refuses damaged pixels
        pass
    return 1


def tiff_orientation(file: BinaryIO, start: int) -> int:
    """Returns the orientation in the first directory of a TIFF, classic or big, that begins at a place in a file."""
    file.seek(start)
    order = {b"II": "<", b"MM": ">"}.get(file.read(2), "")
    if not order:
        return 1
    big = unpacked(file, f"{order}H") == 43
    if big:
        file.seek(4, 1)
    file.seek(start + unpacked(file, order + ("Q" if big else "I")))
    for _ in range(min(unpacked(file, order + ("Q" if big else "H")), MOST_ENTRIES)):
        tag, kind = unpacked(file, f"{order}H"), unpacked(file, f"{order}H")
        file.seek(8 if big else 4, 1)
        value = file.read(8 if big else 4)
        if tag == ORIENTATION:
            # A short; some write a long.
            return struct.unpack_from(order + {3: "H", 4: "I"}.get(kind, "B"), value)[0]
    return 1


def jpeg_orientation(file: BinaryIO) -> int:
    """Returns the orientation in the EXIF segment of an open JPEG."""
    file.seek(2)
    for _ in range(MOST_ENTRIES):
        marker, length = unpacked(file, ">H"), unpacked(file, ">H")
        place = file.tell()
        if marker == 0xFFE1 and file.read(6) == b"Exif\0\0":
            return tiff_orientation(file, place + 6)
        if marker >> 8 != 0xFF or marker == 0xFFDA:
            return 1
        file.seek(place + length - 2)
    return 1


def png_orientation(file: BinaryIO) -> int:
    """Returns the orientation in the EXIF chunk of an open PNG."""
    file.seek(8)
    for _ in range(MOST_ENTRIES):
        length, kind = unpacked(file, ">I"), file.read(4)
        if kind == b"eXIf":
            return tiff_orientation(file, file.tell())
        if kind in (b"IEND", b""):
            return 1
        file.seek(length + 4, 1)
    return 1


def unpacked(file: BinaryIO, format: str) -> int:
    """Reads one number."""
    return struct.unpack(format, file.read(struct.calcsize(format)))[0]
