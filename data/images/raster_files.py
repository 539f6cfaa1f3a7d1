"""Raster files as rasterio opens them, and what their first bytes and checksums say."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal
from xml.etree import ElementTree

from maskzoo.errors import ImageError, UnreadableFile, readable

from .reading import ignored_warnings

# What files of other formats than TIFF begin with, and GDAL's names of these.
STARTS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JP2OpenJPEG",
    b"BM": "BMP",
    b"GIF8": "GIF",
}
RasterFile = Any  # what `rasterio.open` returns: its classes are compiled and carry no types


# Bytes of the types of values in a TIFF, and entries of a directory up to which it is looked at.
TIFF_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1)) | dict.fromkeys((16, 17, 18), 8)
MOST_ENTRIES = 1000
# World files: beside a raster, with its place.
WORLD_SUFFIXES = {
    ".tif": (".tfw", ".tifw", ".wld"),
    ".tiff": (".tfw", ".tiffw", ".wld"),
    ".png": (".pgw", ".pngw", ".wld"),
    ".jpg": (".jgw", ".jpgw", ".wld"),
    ".jpeg": (".jgw", ".jpegw", ".wld"),
    ".jp2": (".j2w", ".jp2w", ".wld"),
    ".bmp": (".bpw", ".bmpw", ".wld"),
    ".gif": (".gfw", ".gifw", ".wld"),
}


def open_raster(path: str | os.PathLike[str], mode: str = "r", **options: Any) -> RasterFile:
    """Opens a file with rasterio, quiet about a missing georeference, which photographs do not have.

    Args:
        path: The file, or GDAL's name of a part of it.
        mode: As of `rasterio.open`.
        options: Those of `rasterio.open`, of any type.
    """
    # GDAL keeps decoded blocks up to 5 % of the machine's memory unless told otherwise, before its first read.
    os.environ.setdefault("GDAL_CACHEMAX", "256")
    # Where a JPEG is cut off or damaged GDAL would show grey pixels.
    os.environ.setdefault("GDAL_ERROR_ON_LIBJPEG_WARNING", "TRUE")
    # What GDAL says outside of rasterio's calls would appear on the console.
    os.environ.setdefault("CPL_LOG", os.devnull)
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with ignored_warnings(NotGeoreferencedWarning), ignored_callbacks():
        return rasterio.open(path, mode, **options)


@contextmanager
def ignored_callbacks() -> Iterator[None]:
    """A context in which rasterio does not write to the console that it cannot decode what GDAL says."""
    unraisable, uncaught = sys.unraisablehook, sys.excepthook

    def hear_unraisable(found: sys.UnraisableHookArgs) -> None:
        if "rasterio._env" not in str(found.object):
            unraisable(found)

    def hear_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, UnicodeDecodeError):
            uncaught(kind, error, trace)

    # It prints both the error and that it was ignored.
    sys.unraisablehook, sys.excepthook = hear_unraisable, hear_uncaught
    try:
        yield
    finally:
        sys.unraisablehook, sys.excepthook = unraisable, uncaught


def check_tiff(path: str | os.PathLike[str]) -> None:
    """Refuses a BigTIFF whose first directory points beyond the end of the file: GDAL would write to the console.

    Raises:
        UnreadableFile: If it does.
    """
    with open(path, "rb") as file:
        start = file.read(16)
        order: Literal["little", "big"] = "little" if start[:2] == b"II" else "big"
        if int.from_bytes(start[2:4], order) != 43:
            return
        size = os.path.getsize(path)
        places = [int.from_bytes(start[8:], order)]
        if places[0] < size:
            file.seek(places[0])
            number = int.from_bytes(file.read(8), order)
            for _ in range(min(number, MOST_ENTRIES)):
                entry = file.read(20)
                length = TIFF_BYTES.get(int.from_bytes(entry[2:4], order), 0) * int.from_bytes(entry[4:12], order)
                if length > 8:
                    places.append(int.from_bytes(entry[12:], order) + length)
        if max(places) > size:
            raise UnreadableFile(path, "a whole TIFF", "one that is cut off or damaged")


def is_harmless(path: Path, text: str) -> bool:
    """Says whether what libjpeg complains of leaves the pixels of a JPEG as they are: junk before its first scan.

    Args:
        path: The file.
        text: The complaint.
    """
    if "Invalid SOS parameters" not in text and "extraneous bytes before marker" not in text:
        return False
    with open(path, "rb") as file:
        content = file.read()
    place, has_junk = 2, False
    while content[place : place + 2] != b"\xff\xda":
        if content[place : place + 1] == b"\xff" and 0xC0 <= content[place + 1] < 0xFF:
            place += 2 + int.from_bytes(content[place + 2 : place + 4])
        else:
            place, has_junk = place + 1, True
        if place >= len(content) - 3:
            return False
    # Beyond this complaint nothing more is heard: the end has to be there.
    return ("SOS" in text or has_junk) and b"\xff\xd9" in content[-(1 << 16) :]


def check_beside(path: Path, shape: tuple[int, ...], *, has_place: bool) -> None:
    """Refuses a raster whose mask, description or place in a file beside it is damaged: GDAL would go without.

    Args:
        path: The raster.
        shape: Its rows and columns.
        has_place: Whether a place was found, in it or beside it.

    Raises:
        UnreadableFile: If one is, with its name.
    """
    mask, description = path.with_name(f"{path.name}.msk"), path.with_name(f"{path.name}.aux.xml")
    if mask.is_file():
        with readable(mask, f"the mask of {path}"), open_raster(mask) as file:
            if file.shape != shape:
                raise UnreadableFile(mask, f"a mask of the size of {path}, {shape}", file.shape)
    if description.is_file():
        with readable(description, f"the description of {path} in XML"):
            ElementTree.parse(description)
    for suffix in () if has_place else WORLD_SUFFIXES.get(path.suffix.lower(), ()):
        world = path.with_suffix(suffix)
        if world.is_file():
            raise UnreadableFile(world, f"six numbers, the place of {path}", "something else")


def raster_driver(path: str | os.PathLike[str]) -> str:
    """Returns GDAL's name of the format that a file starts like, whatever its suffix says."""
    with open(path, "rb") as file:
        start = file.read(12)
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "WEBP"
    return next((driver for first, driver in STARTS.items() if start.startswith(first)), "GTiff")


def check_raster(path: str | os.PathLike[str], driver: str) -> None:
    """Refuses a file that GDAL would show other than whole: a damaged PNG or TIFF, one picture of an animation.

    Args:
        path: The file.
        driver: GDAL's name of its format.

    Raises:
        UnreadableFile: If the file is damaged.
        ImageError: If it holds several pictures.
    """
    if driver == "PNG":
        check_png(path)
    if driver == "GTiff":
        check_tiff(path)
    if driver == "GIF" and (pictures := gif_pictures(path)) > 1:
        raise ImageError(path, "one picture", f"an animation of {pictures}")


def gif_pictures(path: str | os.PathLike[str]) -> int:
    """Returns how many pictures a GIF holds, up to its end or to where it is damaged."""
    with open(path, "rb") as file:
        file.seek(10)
        flags = file.read(1)
        file.seek(2, os.SEEK_CUR)
        skip_colors(file, flags)
        pictures = 0
        while (kind := file.read(1)) in (b",", b"!"):
            if kind == b",":
                pictures += 1
                file.seek(8, os.SEEK_CUR)
                skip_colors(file, file.read(1))
            file.seek(1, os.SEEK_CUR)
            while length := int.from_bytes(file.read(1)):
                file.seek(length, os.SEEK_CUR)
    return pictures


def skip_colors(file: BinaryIO, flags: bytes) -> None:
    """Passes over the palette of a GIF that flags declare."""
    if flags and flags[0] & 0x80:
        file.seek(3 << ((flags[0] & 7) + 1), os.SEEK_CUR)


def check_png(path: str | os.PathLike[str]) -> None:
    """Refuses a PNG that is damaged or cut off, of which GDAL would show grey pixels, and an animated one.

    Raises:
        UnreadableFile: If the file is damaged.
        ImageError: If it holds several pictures.
    """
    with open(path, "rb") as file:
        file.seek(8)
        kind = b""
        while kind != b"IEND":
            length, kind = int.from_bytes(file.read(4)), file.read(4)
            data = file.read(length)
            if len(data) < length or int.from_bytes(file.read(4)) != zlib.crc32(data, zlib.crc32(kind)) or not kind:
                raise UnreadableFile(path, "a whole PNG", "one that is cut off or damaged")
            if kind == b"acTL" and (frames := int.from_bytes(data[:4])) > 1:
                raise ImageError(path, "one picture", f"an animation of {frames}")
