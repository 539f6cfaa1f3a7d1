"""Holes: background that is enclosed by a mask."""

from __future__ import annotations

import math
from dataclasses import replace

from .components import chosen, find_components
from .strips import ReadRows, Strips, background


def fill_holes(strips: Strips, largest: float = math.inf, empty: ReadRows | None = None) -> Strips:
    """Fills what is enclosed: connected background that does not reach the mask's border.

    Background is connected across faces, as in `scipy.ndimage.binary_fill_holes`.

    Args:
        strips: The mask.
        largest: Holes with more pixels stay.
        empty: Function like `Strips.read` that tells which pixels of holes may be filled; `None` for all.
    """
    if largest < 1:
        return strips
    outside = background(strips)
    components = find_components(outside)
    fill = components.inside & (components.areas <= largest)
    fill[0] = False
    holes = chosen(outside, 1, components, fill)
    if empty is None:
        return replace(strips, read=lambda first, last: strips.read(first, last) | holes(first, last))
    return replace(
        strips, read=lambda first, last: strips.read(first, last) | (holes(first, last) & empty(first, last))
    )
