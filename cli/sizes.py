"""Sizes as people type them: `800MB`, `16GB`, `512`, `384x512`, `256,256,1`."""

import re

from maskzoo.errors import OptionError

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_bytes(text: str | int, name: str = "memory") -> int:
    """The number of bytes in `800MB`, `16 GiB` or `4096`.

    Args:
        text: The size; units are powers of 1024.
        name: The argument that an error names.

    Raises:
        OptionError: If it is no size, or nothing.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", str(text), re.IGNORECASE)
    count = int(float(found[1]) * UNITS[found[2].upper()]) if found else 0
    if count < 1:
        raise OptionError(name, "a size such as 800MB or 16GB", repr(text))
    return count


def parse_sizes(text: str | None, name: str = "resize") -> int | float | list[int] | None:
    """The sizes in `512` (of every axis) or `384x512`, or a fraction below 1 such as `0.5`; `None` for `None`.

    Raises:
        OptionError: If they are no sizes.
    """
    if text is None:
        return None
    if re.fullmatch(r"0?\.\d*[1-9]\d*", text):
        return float(text)
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
        raise OptionError(name, "sizes such as 512 or 384x512, or a fraction below 1", repr(text))
    sizes = [int(size) for size in text.split("x")]
    return sizes if len(sizes) > 1 else sizes[0]


def parse_shape(text: str | None, name: str = "input_shape") -> tuple[int, ...] | None:
    """The shape behind `512,512,3` (also `512x512x3`, `[512, 512, 3]`); `None` for `None`.

    Raises:
        OptionError: If it is no shape of two or three spatial axes and channels.
    """
    if text is None:
        return None
    parts = text.strip("[]() ").lower().replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts) or len(parts) not in (3, 4):
        raise OptionError(name, "sizes and channels such as 256,256,1 or 64,64,64,1", text)
    return tuple(map(int, parts))
