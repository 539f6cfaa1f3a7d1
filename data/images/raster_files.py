"""Raster files as rasterio opens them, and what their first bytes and checksums say."""

from __future__ import annotations

import os
import zlib
from typing import Any, BinaryIO

from maskzoo.errors import ImageError, UnreadableFile

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


def open_raster(path: str | os.PathLike[str], mode: str = "r", **options: Any) -> RasterFile:
    """Opens a file with rasterio, quiet about a missing georeference, which photographs do not have.

    Args:
        path: The file, or GDAL's name of a part of it.
        mode: As of `rasterio.open`.
        options: Those of `rasterio.open`, of any type.
    """
    # GDAL keeps decoded blocks up to 5 % of the machine's memory unless told otherwise, before its first read.
    os.environ.setdefault("GDAL_CACHEMAX", "256")
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with ignored_warnings(NotGeoreferencedWarning):
        return rasterio.open(path, mode, **options)


def raster_driver(path: str | os.PathLike[str]) -> str:
    """Returns GDAL's name of the format that a file starts like, whatever its suffix says."""
    with open(path, "rb") as file:
        start = file.read(12)
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "WEBP"
    return next((driver for first, driver in STARTS.items() if start.startswith(first)), "GTiff")


def check_raster(path: str | os.PathLike[str], driver: str) -> None:
    """Refuses a file that GDAL would show other than whole: a damaged PNG, one picture of an animation.

    Args:
        path: The file.
        driver: GDAL's name of its format.

    Raises:
        UnreadableFile: If the file is damaged.
        ImageError: If it holds several pictures.
    """
    if driver == "PNG":
        check_png(path)
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
