"""Touching objects, cut apart where they are narrow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import ndimage

from maskzoo.errors import OptionError

from .components import label, neighbours
from .strips import Strips, rows_of

# Rows that an object to be split may have.
TALLEST_SPLIT = 2048


def split_touching(strips: Strips, distance: float, connectivity: int = 1, tallest: int = TALLEST_SPLIT) -> Strips:
    """Cuts objects that touch apart, by one pixel of background along the watershed of their distance transform.

    Each object is cut by itself, so the result does not depend on the strips. Beside a strip the rows are read that its
    objects may reach.

    Args:
        strips: The mask.
        distance: Least distance in pixels between the centres of two parts, at least 1.
        connectivity: See `components.neighbours`.
        tallest: Objects with more rows stay as they are.

    Raises:
        OptionError: If the distance is below 1.
    """
    if not 1 <= distance < math.inf:
        raise OptionError("watershed", "a distance of at least 1 pixel", distance)
    structure = neighbours(len(strips.shape), connectivity)

    def read_strip(number: int) -> np.ndarray:
        first, last = strips.borders[number]
        top, bottom = max(0, first - tallest), min(strips.shape[0], last + tallest)
        mask = strips.read(top, bottom).copy()
        labels, _ = label(mask, structure)
        for value, box in enumerate(ndimage.find_objects(labels), start=1):
            rows = box[0]
            if rows.stop + top > first and rows.start + top < last and rows.stop - rows.start <= tallest:
                own = labels[box] == value
                mask[box][own] = split_object(own, distance)[own]
        return mask[first - top : last - top]

    return replace(strips, read=lambda first, last: rows_of(strips, read_strip, first, last))


def split_object(mask: np.ndarray, distance: float) -> np.ndarray:
    """Returns one object without the pixels on the watersheds between its parts.

    Args:
        mask: The object in its bounding box, bool `(*size)`.
        distance: Least distance in pixels between the centres of two parts.

    Source: Beucher, Lantuejoul, "Use of watersheds in contour detection", 1979; scikit-image's implementation.
    """
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    padded = np.pad(mask, 1)
    depth = np.asarray(ndimage.distance_transform_edt(padded))
    peaks = peak_local_max(depth, min_distance=round(distance), labels=padded.astype(np.int32), exclude_border=False)
    if len(peaks) < 2:
        return mask
    markers = np.zeros(padded.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    parts = watershed(-depth, markers, mask=padded, watershed_line=True)
    return parts[(slice(1, -1),) * mask.ndim] > 0
