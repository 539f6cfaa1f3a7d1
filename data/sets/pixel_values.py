"""One kind of pixel values in all images of a set, or those of the set that a run was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from maskzoo.files import JSON

from ..images.value_range import ValueRange, in_one_range, rescaled
from .pairs import Pair
from .parts import Part
from .specification import DataSpec


def in_one_range_of_parts(spec: DataSpec, parts: Sequence[Part]) -> list[Part]:
    """Returns parts whose images hold values of one kind: see `in_one_range`.

    What is normalised by each image's own values may differ in type.
    """
    if spec.normalization not in ("dataset", "none") and not spec.rescale:
        return list(parts)
    images = iter(in_one_range([pair.image for part in parts for pair in part.pairs], rescale=spec.rescale))
    return [replace(part, pairs=[pair._replace(image=next(images)) for pair in part.pairs]) for part in parts]


def in_range_of_run(pairs: Sequence[Pair], mapping: Mapping[str, JSON]) -> list[Pair]:
    """Returns pairs whose images have the range of those that a run was trained on, if its data set was rescaled.

    Args:
        pairs: Images with their labels.
        mapping: What `DataSet.as_mapping` returned when the run was trained.
    """
    if not mapping["spec"].get("rescale") or not mapping.get("pixel_values"):
        return list(pairs)
    trained = ValueRange.from_dict(mapping["pixel_values"])
    return [pair._replace(image=rescaled(pair.image, trained)) for pair in pairs]
