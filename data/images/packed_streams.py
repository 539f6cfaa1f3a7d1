"""Files packed by zlib or gzip: whether they are whole, which readers do not ask once they have the last value."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO

from .image_files import FileVersion

BLOCK = 1 << 20
# As `zlib.decompressobj` counts: a stream with the header of zlib, or with that of gzip.
ZLIB, GZIP = 15, 31


@lru_cache(maxsize=1 << 12)
def require_whole_stream(version: FileVersion, length: int, start: int = 0, header: int = GZIP) -> None:
    """Refuses a packed stream that is shorter than it has to be, or whose checksum differs; once in a process.

    What follows a stream of the right length is left alone.

    Args:
        version: The file, as `file_version` returns it.
        length: Number of bytes that it has to hold, unpacked.
        start: Where in the file it begins.
        header: `ZLIB` or `GZIP`.

    Raises:
        ValueError: If there are fewer bytes, or others than were packed.
    """
    with open(version[0], "rb") as file:
        file.seek(start)
        found = 0
        for part in unpacked_parts(file, header, length + BLOCK):
            found += part
    if found < length:
        raise ValueError(f"{found} bytes, unpacked, where {length} are declared")


def unpacked_parts(file: BinaryIO, header: int, most: int) -> Iterator[int]:
    """Yields how many bytes each part of a stream is unpacked, up to about `most` in all, and checks their checksum."""
    total, waiting = 0, b""
    unpacker = zlib.decompressobj(header)
    while total < most:
        waiting = waiting or file.read(BLOCK)
        if not waiting:
            raise ValueError("a packed stream that is cut off")
        try:
            part = len(unpacker.decompress(waiting, BLOCK))
        except zlib.error as error:
            raise ValueError(f"a packed stream that is damaged: {error}") from None
        total += part
        yield part
        waiting = unpacker.unconsumed_tail
        if unpacker.eof:
            waiting = unpacker.unused_data or file.read(BLOCK)
            # Another stream of the same kind may follow; anything else does not belong to this one.
            if header != GZIP or waiting[:2] != b"\x1f\x8b":
                return
            unpacker = zlib.decompressobj(header)
