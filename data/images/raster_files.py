"""Raster files as rasterio opens them, and what their first bytes and checksums say."""

from __future__ import annotations

import os
import zlib
from typing import Any

from maskzoo.errors import ImageError, UnreadableFile

from .reading import ignored_warnings

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
        start = file.read(8)
    if start == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    return "JPEG" if start[:3] == b"\xff\xd8\xff" else "GTiff"


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
