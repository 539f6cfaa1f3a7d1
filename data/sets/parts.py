"""The data sets that make up another: opened, split, and freed of training images that another of them holds out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from maskzoo.errors import DataError, OptionError

from ..labels.scheme import Palette
from .copies import group_images, listed_names
from .folds import held_out_names
from .image_identity import KnownImages, identities_of, region_of
from .image_opening import settled
from .makers import read_makers
from .member_set import Part
from .pairs import Pair, open_pairs, scheme_of
from .region_choice import regions_for_folds, regions_for_validation
from .regions import ReceptiveField, Region, split_pair
from .spec_file import prefixes, read_part, spatial_dims_of
from .specification import SYNTHETIC, DataSpec
from .splitting import (
    ImagesToSplit,
    held_out_of,
    prefixed,
    read_folds_and_regions,
    split_images,
)

logger = logging.getLogger(__name__)


def open_parts(
    spec: DataSpec, spatial_dims: int, seed: int, receptive_field: ReceptiveField | None = None
) -> list[Part]:
    """Opens the sets that a specification joins, or the one that it describes, and splits them.

    Args:
        spec: The specification.
        spatial_dims: Number of spatial axes.
        seed: Seed of the split.
        receptive_field: Says how much of an image the model sees that is to be trained: as wide is the guard band
            between the regions of an image that is split.

    Raises:
        DataError: If their tasks, classes or channels differ.
        OptionError: If either part of the split would be empty.
    """
    parts = open_whole_parts(spec, spatial_dims, seed)
    if spec.sets is None:
        return [split_by(spec, part, seed, receptive_field) for part in parts]
    if spec.folds is not None:
        return with_joint_folds(spec, parts, receptive_field)
    if spec.validation == 0:
        return parts
    return [split_by(part.spec, part, seed, receptive_field) for part in parts]


def open_whole_parts(spec: DataSpec, spatial_dims: int, seed: int) -> list[Part]:
    """Opens the sets that a specification joins, or the one that it describes; nothing is held out yet.

    Raises:
        DataError: If their tasks, classes or channels differ.
    """
    if spec.sets is None:
        return [open_part(spec, spatial_dims, seed)]
    parts: list[Part] = []
    for place, prefix in zip(spec.sets, prefixes(list(spec.sets)), strict=True):
        palette = parts[0].scheme.palette if parts else ()
        parts.append(open_part(read_part(spec, place), spatial_dims, seed, spec.sets[place], f"{prefix}-", palette))
        first, part = parts[0], parts[-1]
        for name, expected, received in (
            ("task", first.scheme.task, part.scheme.task),
            ("classes", ", ".join(first.scheme.class_names), ", ".join(part.scheme.class_names)),
            ("channels", first.pairs[0].image.channels, part.pairs[0].image.channels),
            ("order of bands", *orders_of_bands(first.pairs[0].image.band_names, part.pairs[0].image.band_names)),
        ):
            if expected != received:
                raise DataError(place, f"the same {name} as in {next(iter(spec.sets))}, {expected}", received)
    names = [pair.name for part in parts for pair in part.pairs]
    if len(set(names)) < len(names):
        raise DataError(spec.path, "sets whose files or folders have different names", "equal names")
    return parts


def orders_of_bands(first: Sequence[str], other: Sequence[str]) -> tuple[str, str]:
    """Returns two orders of the same bands in words; nothing for either if they have other names."""
    return (", ".join(first), ", ".join(other)) if sorted(first) == sorted(other) else ("", "")


def open_part(
    spec: DataSpec,
    spatial_dims: int,
    seed: int,
    weight: float | None = None,
    prefix: str = "",
    palette: Palette = (),
) -> Part:
    """Opens one data set, whose names get a prefix; nothing is held out yet.

    Colours of palettes mean what they do in another set, if that is given and nothing is declared.
    """
    spec = settled(spec, spatial_dims)
    declares = spec.classes is not None or spec.colors is not None
    pairs, bands = open_pairs(spec, spatial_dims, seed, () if declares else palette)
    scheme = scheme_of(spec, pairs, bands)
    pairs = [pair._replace(name=prefix + pair.name) for pair in pairs]
    found = identities_of([pair.image for pair in pairs])
    makers = None if spec.path == SYNTHETIC else read_makers(Path(spec.path))
    return Part(
        pairs=pairs,
        held_out=set(),
        scheme=scheme,
        spec=spec,
        prefix=prefix,
        weight=weight,
        identities={pair.name: identity for pair, identity in zip(pairs, found, strict=True)},
        makers=makers,
    )


def split_by(spec: DataSpec, part: Part, seed: int, receptive_field: ReceptiveField | None) -> Part:
    """Returns a part that holds out what the specification of its set says: see `held_out_by`."""
    held_out, regions = held_out_by(spec, part, seed)
    prefix = part.prefix
    return with_held_out(part, {prefix + name for name in held_out}, prefixed(regions, prefix), receptive_field)


def with_held_out(
    part: Part, held_out: set[str], regions: Mapping[str, Region], receptive_field: ReceptiveField | None
) -> Part:
    """Returns a part that holds out images, or regions of images, which are then split.

    Args:
        part: The part, whole.
        held_out: Names of what is held out.
        regions: Those of them that are regions.
        receptive_field: See `open_parts`.
    """
    pairs: list[Pair] = []
    found: dict[str, Region] = {}
    for pair in part.pairs:
        own = {name: region for name, region in regions.items() if region.image == pair.name}
        split = split_pair(pair, own, receptive_field) if own else {}
        found |= split
        pairs += [region.of(pair, name) for name, region in split.items()] if split else [pair]
    if not found:
        return replace(part, held_out=held_out)
    identities = {
        pair.name: replace(part.identities[found[pair.name].image], region=region_of(pair.image))
        if pair.name in found
        else part.identities[pair.name]
        for pair in pairs
    }
    return replace(part, pairs=pairs, held_out=held_out, identities=identities, regions=found, whole=tuple(part.pairs))


def with_joint_folds(joined: DataSpec, parts: Sequence[Part], receptive_field: ReceptiveField | None) -> list[Part]:
    """Returns parts that hold out one fold of a file with the names of all; sets for training alone have no folds.

    Where only one of the sets is split, the file may have the names that its images have in that set.

    Raises:
        OptionError: If the fold is empty, or all there is.
    """
    images = split_images([part for part in parts if part.is_split])
    folds, regions = images.read_folds(joined.folds or "", joined.repeat)
    held_out = held_out_of(folds, regions, joined.fold)
    return [
        with_held_out(
            part,
            {name for name in held_out if (regions[name].image if name in regions else name) in part.identities},
            {name: regions[name] for name in held_out if name in regions},
            receptive_field,
        )
        for part in parts
    ]


def held_out_by(spec: DataSpec, part: Part, seed: int) -> tuple[set[str], dict[str, Region]]:
    """Returns the names that a specification holds out, and those of them that are regions of an image.

    A single image is split into regions, unless a pattern says what belongs together.

    Args:
        spec: The specification of one data set.
        part: The set, whole.
        seed: Seed of a choice at random.

    Raises:
        OptionError: If either part would be empty, unless nothing is to be held out.
    """
    identities = {part.plain(name): identity for name, identity in part.identities.items()}
    if spec.folds is not None:
        folds, regions = read_folds_and_regions(spec.folds, list(identities), spec.repeat)
        held_out = held_out_of(folds, regions, spec.fold)
        return held_out, {name: region for name, region in regions.items() if name in held_out}
    if spec.validation == 0:
        return set(), {}
    if spec.group is None and len(identities) == 1:
        (pair,) = part.pairs
        pair = pair._replace(name=part.plain(pair.name))
        regions = regions_for_validation(pair, part.scheme, spec.validation, seed)
        return set(regions), regions
    groups = group_images(identities, spec.group)
    return held_out_names(identities, spec.validation, split=spec.split, groups=groups, seed=seed), {}


def images_to_split(
    spec: DataSpec,
    spatial_dims: int | None = None,
    *,
    folds: int | None = None,
    group: str | None = None,
    seed: int = 0,
) -> ImagesToSplit:
    """Returns the images that folds are made of, and what belongs together: see `group_images`.

    Args:
        spec: The data set.
        spatial_dims: Number of spatial axes; by default that of the files, else 2.
        folds: How many folds are to be made. A single image is split into as many regions, unless a pattern says what
            belongs together.
        group: Pattern that finds what belongs together, in whichever set it is; by default each set's own.
        seed: Seed of the choice of regions.

    Raises:
        OptionError: If no set is to be split, or an image is too small to be.
    """
    spatial_dims = spatial_dims or spatial_dims_of(spec) or 2
    parts = open_whole_parts(spec, spatial_dims, 0)
    if spec.sets is not None:
        parts = [part for part in parts if part.is_split]
    if not parts:
        raise OptionError("folds", "a set that is not for training alone", "`validation: 0` in all of them")
    images = split_images(parts, group)
    has_pattern = group is not None or any(part.spec.group is not None for part in parts)
    if folds is None or folds < 2 or has_pattern or len(images.names) > 1:
        return images
    (part,) = parts
    regions = regions_for_folds(part.pairs[0], part.scheme, folds, seed)
    logger.info("regions    1 image, split into %d regions, each of which is held out once", folds)
    return replace(images, names=list(regions), groups=None, regions=regions)


def images_held_out(spec: DataSpec, seed: int) -> tuple[set[str], dict[str, Region]]:
    """Returns the names of what a data set holds out, of joined sets of all; and which of them are regions of images.

    No image is measured.
    """
    parts = open_parts(spec, spatial_dims_of(spec) or 2, seed)
    names = {name for part in parts for name in part.held_out}
    return names, {name: region for part in parts for name, region in part.regions.items() if name in names}


def without_leaks(parts: Sequence[Part]) -> list[Part]:
    """Leaves out of training what shows held-out images: copies of them, and labels by runs that were trained on them.

    Copies stay where there is nothing else to train on, which is logged.

    Raises:
        DataError: If nothing is left to train on.
    """
    held_out = KnownImages(part.identities[name] for part in parts for name in sorted(part.held_out))
    copies = [{pair.name for pair in part.train if part.identities[pair.name] in held_out} for part in parts]
    leaking = [
        {pair.name for pair in part.train if part.makers and part.makers.saw(part.plain(pair.name), held_out)} - same
        for part, same in zip(parts, copies, strict=True)
    ]
    if not any(leaking) and sum(map(len, copies)) == sum(len(part.train) for part in parts) > 0:
        names = listed_names(set().union(*copies))
        logger.warning(
            "trained on, though held out under another name: %s; there is nothing else, and scores of held-out images "
            "say nothing about new ones",
            names,
        )
        return list(parts)
    for what, left_out in (
        ("held out under another name", set().union(*copies)),
        ("labelled by runs that were trained on held-out images", set().union(*leaking)),
    ):
        if left_out:
            logger.warning("left out of training: %s, %s", listed_names(left_out), what)
    found = [
        replace(part, left_out=frozenset(same | seen)) for part, same, seen in zip(parts, copies, leaking, strict=True)
    ]
    if not any(part.train for part in found):
        expected = "images to train on that are not held out, nor labelled by runs that were trained on held-out ones"
        raise DataError(parts[0].spec.path, expected, "none")
    return found
