"""Masks as text: GeoJSON outlines and tables of run lengths, in pixels of the full resolution or map coordinates."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TextIO

import numpy as np

from .. import data
from ..data.palette import class_color

# From a window to where a class is, an array of its size.
ReadMask = Callable[[data.Window], np.ndarray]
# The classes of a result but the background, each with its mask.
Masks = Sequence[tuple[str, ReadMask]]


def write_runs(file: TextIO, masks: Masks, source: data.Source, dialect: str | None = None) -> None:
    """Writes a row of runs per class, in pixels of the image's full resolution.

    Args:
        file: The file.
        masks: The classes.
        source: The image.
        dialect: One of `data.TABLE_DIALECTS`; by default absolute starts, the first pixel 1, down the columns.
    """
    full = source.frame.full.shape
    image = data.file_stem(source.name)
    table = None if dialect is None else data.TABLE_DIALECTS[dialect]
    columns = ["ImageId", "ClassId", "EncodedPixels"]
    if table is not None:
        columns = list(table.header)
        masks = sorted(masks, key=lambda pair: pair[0]) if table.class_in_id else masks
    elif len(masks) < 2:
        columns.remove("ClassId")
    file.write(",".join(columns) + "\n")
    for name, mask in masks:
        names = [image, name][: len(columns) - 1] if table is None else [table.row_id(image, name)]
        file.write(",".join(map(cell, names)) + ",")
        read = mask if full == source.shape else enlarged(mask, source.shape, full)
        file.writelines(data.encode_windows(read, full, relative=table is not None and table.runs.relative))
        file.write("\n")


def enlarged(mask: ReadMask, shape: tuple[int, ...], full: tuple[int, ...]) -> ReadMask:
    """A function like a mask's to the mask at the full resolution."""
    return lambda window: data.nearest(mask, shape, full, window)


def cell(text: str) -> str:
    """A cell of a CSV file."""
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text


def write_outlines(file: TextIO, masks: Masks, source: data.Source) -> None:
    """Writes a GeoJSON polygon per connected area, as QuPath reads its annotations.

    Coordinates are those of the image's coordinate system, which the file then names, or else pixels of its full
    resolution. Outer rings run counter-clockwise in them, holes clockwise, as RFC 7946 wants it.

    Args:
        file: The file.
        masks: The classes.
        source: The image.
    """
    frame = source.frame
    file.write('{"type": "FeatureCollection",\n')
    if frame.crs is not None and frame.transform is not None:
        file.write(f'"crs": {json.dumps({"type": "name", "properties": {"name": frame.crs.to_string()}})},\n')
    file.write('"features": [')
    separator = "\n"
    for number, (name, mask) in enumerate(masks):
        properties = {"objectType": "annotation", "classification": {"name": name, "color": list(class_color(number))}}

        def read(window: data.Window, mask: ReadMask = mask) -> np.ndarray:
            return mask(window).view(np.uint8)

        for _, pixels, rings in data.trace_outlines(read, source.shape):
            placed = [frame.coordinates(ring[::-1] if frame.turns_over else ring) for ring in rings]
            feature = {
                "type": "Feature",
                "properties": {**properties, "pixels": round(pixels * frame.pixel_area)},
                "geometry": {"type": "Polygon", "coordinates": [ring.tolist() for ring in placed]},
            }
            file.write(separator + json.dumps(feature))
            separator = ",\n"
    file.write("\n]}\n")
