"""Ways in which files are damaged: in their header, behind it, or in length."""

import gzip
import zlib

import numpy as np

LARGE = [
    bytes.fromhex(text) for text in ("ffffffff", "ffffff7f", "7fffffff", "00000000", "00000080", "ffff", "0000", "01")
]
DIGITS = b"0123456789"
NUMBERS = ("0", "-1", "99999999999999999999", "1e400", "NaN", "7", "1e200", "[]", "null", '"a"')


def damaged(content: bytes, start: int, stop: int, rng: np.random.Generator) -> tuple[str, bytes]:
    """Returns the kind of damage, and a file with it.

    Args:
        content: The file.
        start: Number of the first byte that may be damaged.
        stop: Number of the first one behind those.
        rng: Where the choice comes from.
    """
    if content.isascii() and rng.random() < 0.7:
        return "text", content[:start] + other_text(content[start:stop], rng) + content[stop:]
    kinds = [
        appended,
        one_byte,
        some_bytes,
        some_bytes,
        zeros,
        large_number,
        digits,
        repeated,
        inserted,
        removed,
        truncated,
        swapped,
    ]
    kind = kinds[rng.integers(len(kinds))]
    if kind is appended:
        return "appended", content + rng.bytes(int(rng.integers(1, 200)))
    return kind.__name__, content[:start] + kind(content[start:stop], rng) + (
        b"" if kind is truncated else content[stop:]
    )


def place(part: bytes, rng: np.random.Generator, most: int = 64) -> slice:
    """Returns a random piece of some bytes."""
    first = int(rng.integers(max(len(part), 1)))
    return slice(first, min(len(part), first + int(rng.integers(1, most + 1))))


def one_byte(part: bytes, rng: np.random.Generator) -> bytes:
    """Changes one byte."""
    return changed(part, 1, rng)


def some_bytes(part: bytes, rng: np.random.Generator) -> bytes:
    """Changes up to 30 bytes."""
    return changed(part, int(rng.integers(2, 31)), rng)


def changed(part: bytes, number: int, rng: np.random.Generator) -> bytes:
    """Changes a number of bytes."""
    array = bytearray(part)
    for index in rng.integers(max(len(array), 1), size=number if array else 0):
        array[index] = int(rng.integers(256))
    return bytes(array)


def zeros(part: bytes, rng: np.random.Generator) -> bytes:
    """Makes a block zero."""
    block = place(part, rng, max(64, len(part) // 4))
    return part[: block.start] + bytes(block.stop - block.start) + part[block.stop :]


def large_number(part: bytes, rng: np.random.Generator) -> bytes:
    """Writes the largest or the least number of some type."""
    number = LARGE[rng.integers(len(LARGE))]
    first = place(part, rng).start
    return part[:first] + number + part[first + len(number) :]


def digits(part: bytes, rng: np.random.Generator) -> bytes:
    """Makes another number of the digits of a text, or changes bytes where there are none."""
    places = [index for index, byte in enumerate(part[:4096]) if byte in DIGITS]
    if not places:
        return some_bytes(part, rng)
    first = places[rng.integers(len(places))]
    number = NUMBERS[rng.integers(6)]
    return part[:first] + number.encode() + part[first + 1 :]


def repeated(part: bytes, rng: np.random.Generator) -> bytes:
    """Writes a block twice."""
    block = place(part, rng)
    return part[: block.stop] + part[block] + part[block.stop :]


def inserted(part: bytes, rng: np.random.Generator) -> bytes:
    """Puts random bytes in between."""
    first = place(part, rng).start
    return part[:first] + rng.bytes(int(rng.integers(1, 17))) + part[first:]


def removed(part: bytes, rng: np.random.Generator) -> bytes:
    """Takes a block out."""
    block = place(part, rng)
    return part[: block.start] + part[block.stop :]


def truncated(part: bytes, rng: np.random.Generator) -> bytes:
    """Cuts the rest off."""
    return part[: place(part, rng).start]


def swapped(part: bytes, rng: np.random.Generator) -> bytes:
    """Exchanges two blocks of the same size."""
    size = max(1, min(64, len(part) // 4))
    first, second = sorted(int(rng.integers(max(len(part) - size, 1))) for _ in range(2))
    second = max(second, first + size)
    return (
        part[:first]
        + part[second : second + size]
        + part[first + size : second]
        + part[first : first + size]
        + part[second + size :]
    )


def appended(part: bytes, rng: np.random.Generator) -> bytes:
    """Puts random bytes at the end."""
    return part + rng.bytes(int(rng.integers(1, 200)))


def other_text(part: bytes, rng: np.random.Generator) -> bytes:
    """Changes a text so that it stays one: other digits, another number, a piece less, a letter more."""
    places = [index for index, byte in enumerate(part) if byte in DIGITS]
    choice = rng.integers(4)
    if choice < 2 and places:
        first = places[rng.integers(len(places))]
        number = str(rng.integers(10)) if choice else NUMBERS[rng.integers(len(NUMBERS))]
        return part[:first] + number.encode() + part[first + 1 :]
    if choice == 2:
        return removed(part, rng)
    first = place(part, rng).start
    return part[:first] + bytes([int(rng.integers(32, 127))]) + part[first + int(rng.integers(2)) :]


def repacked(content: bytes, damage, rng: np.random.Generator) -> bytes | None:
    """Returns a packed file that was damaged before it was packed, with the right checksums; `None` of other files."""
    if content.startswith(b"\x1f\x8b"):
        return gzip.compress(damage(gzip.decompress(content)), 1, mtime=0)
    if content.startswith(b"\x89PNG"):
        place, parts = 8, [content[:8]]
        while place + 12 <= len(content):
            length = int.from_bytes(content[place : place + 4])
            kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
            if rng.random() < 0.5:
                data = damage(data)
            parts += [len(data).to_bytes(4), kind, data, zlib.crc32(kind + data).to_bytes(4)]
            place += 12 + length
        return b"".join(parts)
    return None
