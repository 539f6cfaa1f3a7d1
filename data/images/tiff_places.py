"""Whether the pages of one TIFF lie at one place, as channels or sections of one image must."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskzoo.errors import ImageError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

# Tags that say where a page lies, how large its pixels are, how it is seen and what its values mean.
PLACE_TAGS: Mapping[int, str] = {
    33550: "pixel scale",
    33922: "tie points",
    34264: "transform",
    34735: "coordinate system",
    34736: "coordinate system",
    34737: "coordinate system",
    282: "resolution",
    283: "resolution",
    296: "unit of resolution",
    274: "orientation",
    262: "photometric interpretation",
    320: "palette",
}
# Micrometres of OME's units of length; a position in none of them is taken for one in micrometres.
LENGTHS = {"nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
# Stages are not exact: planes that are less than this fraction of a pixel, or of a step, off are where they should be.
STAGE_TOLERANCE = 0.5
SHOWN = 60


def require_one_place(path: Path, file: TiffFile, series: TiffPageSeries, spacing: list[float | None]) -> None:
    """Refuses a TIFF whose pages do not lie at one place and make up one image, or sections at even steps.

    Args:
        path: Path of the file.
        file: The file, open.
        series: The pages of the finest level.
        spacing: Micrometres of a pixel along rows, columns and sections.

    Raises:
        ImageError: If a tag differs between two pages, or OME's positions differ.
    """
    require_one_image(path, file, series)
    pages = [page for page in series.pages if page is not None]
    description = file.pages.first.description or ""
    if "<OME" in description:
        require_one_position(path, description, spacing)
    if len(pages) < 2:
        return
    first = placing(pages[0])
    for number, page in enumerate(pages[1:], 2):
        own = placing(page)
        for tag, name in PLACE_TAGS.items():
            if own.get(tag) != first.get(tag):
                expected = f"pages of one {name}, {in_words(first.get(tag))} as page 1"
                raise ImageError(path, expected, f"{in_words(own.get(tag))} in page {number}")


def require_one_image(path: Path, file: TiffFile, series: TiffPageSeries) -> None:
    """Refuses a TIFF with further images of the same size; thumbnails and photographs of a slide have others."""

    def size(one: TiffPageSeries) -> list[int]:
        return [length for axis, length in zip(one.axes, one.shape, strict=True) if axis in "YX"]

    alike = [one for one in file.series if one.levels[0] is series or size(one) == size(series)]
    if len(alike) > 1:
        kinds = {f"{one.dtype}, {getattr(one.keyframe.photometric, 'name', 'unknown').lower()}" for one in alike}
        received = f"{len(alike)} of one size" + (f": {' and '.join(sorted(kinds))}" if len(kinds) > 1 else "")
        raise ImageError(path, "one image, of pages of one kind", received)


def placing(page: TiffPage | TiffFrame) -> dict[int, object]:
    """Returns the values of those tags of a page that it has."""
    tags = page.aspage().tags
    return {tag: comparable(tags[tag].value) for tag in PLACE_TAGS if tag in tags}


def comparable(value: object) -> object:
    """Returns the value of a tag as one that can be compared."""
    return tuple(np.ravel(value).tolist()) if isinstance(value, np.ndarray | list | tuple) else value


def in_words(value: object) -> str:
    """Returns the value of a tag for messages."""
    if value is None:
        return "none"
    text = ", ".join(f"{part:.8g}" for part in value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def require_one_position(path: Path, description: str, spacing: list[float | None]) -> None:
    """Refuses planes of the first image of an OME-TIFF that its XML places elsewhere than the first, or with gaps."""
    pixels = description[description.find("<Pixels") :].split("</Pixels>", 1)[0]
    planes = [dict(re.findall(r'(\w+)="([^"]*)"', plane)) for plane in re.findall(r"<Plane\b([^>]*)", pixels)]
    for axis, size in (("Y", spacing[0]), ("X", spacing[1])):
        found = [position(plane, axis) for plane in planes]
        known = [(number, place) for number, place in enumerate(found, 1) if place is not None]
        least = STAGE_TOLERANCE * size if size else 0.0
        for number, place in known:
            if abs(place - known[0][1]) > least:
                expected = f"planes at one position along {axis}, {known[0][1]:g} um as plane {known[0][0]}"
                raise ImageError(path, expected, f"{place:g} um in plane {number}")
    channels: dict[str | None, dict[int, float]] = {}
    for plane in planes:
        place = position(plane, "Z")
        if place is not None and plane.get("TheZ", "").isdigit():
            channels.setdefault(plane.get("TheC"), {})[int(plane["TheZ"])] = place
    for places in channels.values():
        steps = np.diff([places[section] for section in sorted(places)])
        if len(steps) > 1 and np.abs(steps - np.median(steps)).max() > STAGE_TOLERANCE * abs(np.median(steps)):
            sizes = np.abs(steps)
            raise ImageError(path, "sections at even distances", f"{sizes.min():g} to {sizes.max():g} um")


def position(plane: Mapping[str, str], axis: str) -> float | None:
    """Returns where OME-XML says that a plane lies along an axis, in micrometres; `None` if it does not."""
    try:
        return float(plane[f"Position{axis}"]) * LENGTHS.get(plane.get(f"Position{axis}Unit", ""), 1.0)
    except (KeyError, ValueError):
        return None
