"""One kind of pixel values in all images of a set, or those of the set that a run was trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from maskzoo.files import JSON

from ..images.source import Source
from ..images.unlike_values import marked_missing, unlike, usual_range
from ..images.value_range import ValueRange, in_one_range, rescaled
from .pairs import Pair
from .parts import Part
from .specification import DataSpec

logger = logging.getLogger(__name__)

EXAMINED_IMAGES, EXAMINED_PIXELS = 256, 1 << 20


def in_one_range_of_parts(spec: DataSpec, parts: Sequence[Part]) -> list[Part]:
    """Returns parts whose images hold values of one kind: see `in_one_range`.

    What is normalised by each image's own values may differ in type.
    """
    sources = [pair.image for part in parts for pair in part.pairs]
    same_range = spec.normalization in ("dataset", "none")
    if same_range or spec.rescale:
        sources = in_one_range(sources, rescale=spec.rescale)
    say_unlike_values(sources, scale_matters=same_range)
    images = iter(sources)
    return [replace(part, pairs=[pair._replace(image=next(images)) for pair in part.pairs]) for part in parts]


def say_unlike_values(sources: Sequence[Source], *, scale_matters: bool) -> None:
    """Says which images, of some spread over a large set, have other values than most, or marks of missing pixels.

    Args:
        sources: The images of a set.
        scale_matters: They are not normalised one by one.
    """
    some = [sources[n] for n in np.unique(np.linspace(0, len(sources) - 1, EXAMINED_IMAGES).round().astype(int))]
    groups: dict[str, list[tuple[Source, ValueRange]]] = {}
    for source in some:
        groups.setdefault(str(source.dtype), []).append((source, ValueRange.of([source], EXAMINED_PIXELS)))
    said: dict[str, list[str]] = {}
    for group in groups.values():
        usual = usual_range([own for _, own in group])
        for source, own in group:
            for words in (unlike(own, usual) if scale_matters else None, marked_missing(own)):
                if words:
                    said.setdefault(words, []).append(source.name)
    for words, names in said.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        logger.warning("%s%s: %s", names[0], more, words)


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
