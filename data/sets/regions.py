"""Boxes of an image that are trained on or held out by themselves, where there is no other image."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import prod
from typing import Any

from maskzoo.errors import DataError, OptionError

from ..images.cropped_source import CroppedSource
from ..images.source import Source
from ..labels.instances import InstanceSource
from ..labels.values import by
from ..windows import Window
from .pairs import Pair

logger = logging.getLogger(__name__)

# Which part of an image a guard band takes at most along an axis, and of what it would leave to train on.
LARGEST_GUARD, LARGEST_LOSS = 8, 2
# Boxes to train on that are thinner than this are left out.
THINNEST = 8

# Returns the receptive field per axis; `None` of a model that sees the whole image.
ReceptiveField = Callable[[], Sequence[int] | None]


@dataclass(frozen=True)
class Region:
    """A box of an image.

    Attributes:
        image: Name of the image.
        shape: Shape of the image, as it is read.
        offset: First pixel of the box per axis.
        size: Number of its pixels per axis.
        context: Pixels around it per axis that models may see when they are scored on it: the guard band.
    """

    image: str
    shape: tuple[int, ...]
    offset: tuple[int, ...]
    size: tuple[int, ...]
    context: tuple[int, ...] = field(default=())

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Region:  # JSON values
        """Reads back what `as_mapping` returned."""
        axes = {name: tuple(map(int, values.get(name, ()))) for name in ("shape", "offset", "size", "context")}
        return cls(str(values["image"]), **axes)

    def as_mapping(self) -> dict[str, Any]:  # JSON values
        """Returns the region as values that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def box(self) -> Window:
        """The box."""
        return Window(self.offset, self.size)

    def of(self, pair: Pair, name: str) -> Pair:
        """Returns this part of an image and its label as a pair with a name of its own.

        Raises:
            DataError: If the image has another size than when the region was chosen.
        """
        if pair.image.shape != self.shape:
            raise DataError(pair.name, f"{by(self.shape)} pixels, as when it was split", by(pair.image.shape))
        context = self.context or 0
        label = pair.label
        if isinstance(label, InstanceSource):
            label = InstanceSource(CroppedSource(label.source, self.box, context))
        else:
            label = CroppedSource(label, self.box, context)
        return Pair(name, CroppedSource(pair.image, self.box, context), label)


def region_names(image: str, number: int) -> list[str]:
    """Returns the names of the regions of an image that folds are made of."""
    return [f"{image}-region{n}" for n in range(1, number + 1)]


def guard_band(box: Window, shape: Sequence[int], receptive_field: Sequence[int] | None) -> tuple[int, ...]:
    """Returns how many pixels around a held-out box are not trained on, per axis.

    As many as the receptive field has: then no pixel is behind both an answer that is trained and one that is scored.
    At most an eighth of the image, and half of what there is beside the box.

    Args:
        box: The box.
        shape: Shape of the image.
        receptive_field: Size of the receptive field per axis; `None` for the most that is allowed.
    """
    guard = []
    for axis, (start, stop, length) in enumerate(zip(box.offset, box.stop, shape, strict=True)):
        most = min(length // LARGEST_GUARD, max(start, length - stop) // LARGEST_LOSS)
        guard.append(most if receptive_field is None else min(receptive_field[axis], most))
    return tuple(guard)


def boxes_around(shape: Sequence[int], holes: Iterable[Window]) -> list[Window]:
    """Returns boxes without overlap that cover an image but for some holes; the largest box is as large as can be."""
    boxes = [Window((0,) * len(shape), tuple(shape))]
    for hole in holes:
        boxes = [part for box in boxes for part in boxes_beside(box, hole)]
    return [
        box for box in boxes if all(size >= min(THINNEST, length) for size, length in zip(box.size, shape, strict=True))
    ]


def boxes_beside(box: Window, hole: Window) -> list[Window]:
    """Returns boxes without overlap that cover another but for a hole."""
    axes = range(box.ndim)
    if any(hole.stop[n] <= box.offset[n] or hole.offset[n] >= box.stop[n] for n in axes):
        return [box]
    found = []
    for order in itertools.permutations(axes):
        parts, first, last = [], list(box.offset), list(box.stop)
        for axis in order:
            for start, stop in ((first[axis], hole.offset[axis]), (hole.stop[axis], last[axis])):
                if start < stop:
                    begin, end = [*first], [*last]
                    begin[axis], end[axis] = start, stop
                    parts.append(Window(tuple(begin), tuple(b - a for a, b in zip(begin, end, strict=True))))
            first[axis], last[axis] = max(first[axis], hole.offset[axis]), min(last[axis], hole.stop[axis])
        found.append(parts)
    return max(found, key=lambda parts: max((prod(part.size) for part in parts), default=0))


def split_pair(pair: Pair, held_out: Mapping[str, Region], receptive_field: ReceptiveField | None) -> dict[str, Region]:
    """Returns the regions of an image by name: those that are held out with their guard band, and those to train on.

    Args:
        pair: The image and its label.
        held_out: Those of its regions that are held out, by name.
        receptive_field: Says how much of the image a model sees; `None` if there is none yet.

    Raises:
        OptionError: If nothing is left to train on.
    """
    shape = pair.image.shape
    field_of_model = receptive_field() if receptive_field is not None else None
    found, holes = {}, []
    for name, region in held_out.items():
        guard = guard_band(region.box, shape, field_of_model)
        found[name] = replace(region, context=guard)
        holes.append(region.box.padded(guard))
        log_region(pair.image, found[name], None if receptive_field is None else field_of_model or "the whole image")
    boxes = boxes_around(shape, holes)
    if not boxes:
        raise OptionError("data", f"{pair.name} to be large enough to be split into regions", f"{by(shape)} pixels")
    for number, box in enumerate(boxes, 1):
        found[f"{pair.name}-training{number}"] = Region(pair.name, shape, box.offset, box.size)
    return found


def log_region(image: Source, region: Region, receptive_field: Sequence[int] | str | None) -> None:
    """Logs which region of an image is held out, and how wide the guard band around it is."""
    box = ", ".join(f"{start} to {stop}" for start, stop in zip(region.offset, region.box.stop, strict=True))
    # Only axes along which there is something beside the region.
    beside = [n for n, (size, length) in enumerate(zip(region.size, region.shape, strict=True)) if size < length]
    if receptive_field is None:
        why = "the most that is allowed"
    elif isinstance(receptive_field, str):
        why = f"capped; the receptive field is {receptive_field}"
    elif any(region.context[n] < receptive_field[n] for n in beside):
        why = f"capped; the receptive field is {by(receptive_field)}"
    else:
        why = "the receptive field"
    where = f"pixels {box} of {by(region.shape)}"
    guard = f"{by(region.context)} pixels ({why})"
    logger.info("regions    %s: %s are held out; a guard band around them of %s is left out", image.name, where, guard)
