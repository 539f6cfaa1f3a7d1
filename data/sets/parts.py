"""The data sets that make up another: opened, split, and freed of training images that another of them holds out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from maskzoo.errors import DataError, OptionError

from ..images.scale import Scale
from ..labels.scheme import LabelScheme
from .cases import Case, make_cases
from .copies import group_images, grouped, listed_names
from .folds import folds_in, groups_by_pattern, held_out_names, read_folds
from .image_identity import ImageIdentity, KnownImages, identities_of
from .image_opening import settled
from .makers import Makers, read_makers
from .normalization import Normalizer
from .pairs import Pair, open_pairs, scheme_of
from .spec_file import read_part, read_spec, spatial_dims_of
from .specification import SYNTHETIC, DataSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One of the data sets that make up another: opened, split, its labels understood.

    Attributes:
        pairs: Its images with their labels.
        held_out: Names of those that are held out.
        scheme: What its label values mean.
        spec: Its own specification.
        prefix: What its names begin with among those of joined sets.
        weight: How often its cases are seen in training, all together; `None`: each as often as any other.
        identities: What its images are, by name.
        makers: The runs that made its labels; `None` where people did.
        left_out: Names of images that are neither trained on nor held out.
    """

    pairs: list[Pair]
    held_out: set[str]
    scheme: LabelScheme
    spec: DataSpec
    prefix: str = ""
    weight: float | None = None
    identities: dict[str, ImageIdentity] = field(default_factory=dict)
    makers: Makers | None = None
    left_out: frozenset[str] = frozenset()

    @property
    def is_split(self) -> bool:
        """Whether any of its images are held out, as its specification has it; else all are for training."""
        return is_split(self.spec)

    @property
    def scale(self) -> Scale:
        """The scale that it is read at."""
        return self.spec.scale

    def plain(self, name: str) -> str:
        """Returns the name that an image has in this set alone."""
        return name.removeprefix(self.prefix)

    @property
    def train(self) -> list[Pair]:
        """The pairs that are trained on."""
        return [pair for pair in self.pairs if pair.name not in self.held_out | self.left_out]

    def cases(self, normalizer: Normalizer) -> list[Case]:
        """Returns its cases without those left out; those to train on share the weight of the part."""
        weight = 1.0 if self.weight is None else self.weight / max(1, len(self.train))
        pairs = [pair for pair in self.pairs if pair.name not in self.left_out]
        return [replace(case, weight=weight) for case in make_cases(pairs, self.scheme, normalizer)]

    def seen_by_makers(self) -> list[ImageIdentity]:
        """Returns the images that had a part in the labels that are trained on, by way of the runs that made them."""
        if self.makers is None:
            return []
        runs = {maker.path: maker for pair in self.train for maker in self.makers.of(self.plain(pair.name))}
        return [image for maker in runs.values() for image in maker.seen or ()]


def open_parts(spec: DataSpec, spatial_dims: int, seed: int) -> list[Part]:
    """Opens the sets that a specification joins, or the one that it describes.

    Raises:
        DataError: If their tasks, classes or channels differ.
        OptionError: If either part of the split would be empty.
    """
    if spec.sets is None:
        part = open_part(spec, spatial_dims, seed)
        return [replace(part, held_out=held_out_by(spec, part.identities, seed))]
    parts: list[Part] = []
    for place, prefix in zip(spec.sets, prefixes(list(spec.sets)), strict=True):
        parts.append(open_part(read_part(spec, place), spatial_dims, seed, spec.sets[place], f"{prefix}-"))
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
    return with_joint_folds(spec, parts) if spec.folds else [with_own_split(spec, part, seed) for part in parts]


def orders_of_bands(first: Sequence[str], other: Sequence[str]) -> tuple[str, str]:
    """Returns two orders of the same bands in words; nothing for either if they have other names."""
    return (", ".join(first), ", ".join(other)) if sorted(first) == sorted(other) else ("", "")


def open_part(spec: DataSpec, spatial_dims: int, seed: int, weight: float | None = None, prefix: str = "") -> Part:
    """Opens one data set, whose names get a prefix; nothing is held out yet."""
    spec = settled(spec, spatial_dims)
    pairs, bands = open_pairs(spec, spatial_dims, seed)
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


def prefixes(places: Sequence[str]) -> list[str]:
    """Returns what the names of each set begin with: its own name, behind that of its folder if others have it too."""
    paths = [Path(place) for place in places]
    stems = [path.stem for path in paths]
    return [path.stem if stems.count(path.stem) == 1 else f"{path.parent.name}-{path.stem}" for path in paths]


def with_own_split(joined: DataSpec, part: Part, seed: int) -> Part:
    """Returns a part of joined sets that holds out what its own specification says; nothing if the joined sets do."""
    if joined.validation == 0:
        return part
    plain = {part.plain(name): identity for name, identity in part.identities.items()}
    return replace(part, held_out={part.prefix + name for name in held_out_by(part.spec, plain, seed)})


def with_joint_folds(joined: DataSpec, parts: Sequence[Part]) -> list[Part]:
    """Returns parts that hold out one fold of a file with the names of all; sets for training alone have no folds.

    Where only one of the sets is split, the file may have the names that its images have in that set.

    Raises:
        OptionError: If the fold is empty, or all there is.
    """
    folds = split_images([part for part in parts if part.is_split]).read_folds(joined.folds or "", joined.repeat)
    held_out = held_out_of(folds, joined.fold)
    return [replace(part, held_out=held_out & part.identities.keys()) for part in parts]


def held_out_by(spec: DataSpec, identities: Mapping[str, ImageIdentity], seed: int) -> set[str]:
    """Returns the names that a specification holds out.

    Args:
        spec: The specification of one data set.
        identities: What its images are, by name.
        seed: Seed of a choice at random.

    Raises:
        OptionError: If either part would be empty, unless nothing is to be held out.
    """
    if spec.folds is not None:
        return held_out_of(read_folds(spec.folds, identities, spec.repeat), spec.fold)
    if spec.validation == 0:
        return set()
    return held_out_names(
        identities, spec.validation, split=spec.split, groups=group_images(identities, spec.group), seed=seed
    )


def held_out_of(folds: Mapping[str, int], fold: int) -> set[str]:
    """Returns the names in one of several folds.

    Raises:
        OptionError: If there are none, or no others.
    """
    held_out = {name for name, number in folds.items() if number == fold}
    if not 0 < len(held_out) < len(folds):
        raise OptionError("fold", f"one of several folds, {', '.join(map(str, sorted(set(folds.values()))))}", fold)
    return held_out


@dataclass(frozen=True)
class ImagesToSplit:
    """The images that folds are made of: all of a data set, or those of joined sets that hold out any.

    Attributes:
        names: Their names.
        groups: The group of each, which is never split; `None` if each image is one of its own.
        prefix: What all names begin with, where one of several joined sets is split.
    """

    names: list[str]
    groups: dict[str, str] | None
    prefix: str = ""

    def read_folds(self, path: str, repeat: int = 0) -> dict[str, int]:
        """Reads the fold of each from a file, which may have the names that the only split set has by itself.

        Args:
            path: The file.
            repeat: Which of the distributions in it.

        Raises:
            DataError: As `folds.read_folds`.
        """
        known = folds_in(path, repeat)
        if not self.prefix or any(name in known for name in self.names):
            return read_folds(path, self.names, repeat)
        plain = [name.removeprefix(self.prefix) for name in self.names]
        return dict(zip(self.names, read_folds(path, plain, repeat).values(), strict=True))


def images_to_split(spec: DataSpec, spatial_dims: int | None = None) -> ImagesToSplit:
    """Returns the images that folds are made of, and what belongs together: see `group_images`.

    Args:
        spec: The data set.
        spatial_dims: Number of spatial axes; by default that of the files, else 2.

    Raises:
        OptionError: If no set is to be split.
    """
    spatial_dims = spatial_dims or spatial_dims_of(spec) or 2
    if spec.sets is None:
        part = open_part(spec, spatial_dims, 0)
        return ImagesToSplit(list(part.identities), group_images(part.identities, spec.group))
    parts = [
        open_part(own, spatial_dims, 0, prefix=f"{prefix}-")
        for place, prefix in zip(spec.sets, prefixes(list(spec.sets)), strict=True)
        if is_split(own := read_spec(place))
    ]
    if not parts:
        raise OptionError("folds", "a set that is not for training alone", "`validation: 0` in all of them")
    return split_images(parts)


def split_images(parts: Sequence[Part]) -> ImagesToSplit:
    """Returns the images of several sets, all of which are split; each set's pattern finds its own groups."""
    identities = {name: identity for part in parts for name, identity in part.identities.items()}
    groups = {name: name for name in identities}
    for part in parts:
        if part.spec.group is not None:
            plain = [part.plain(name) for name in part.identities]
            groups |= {part.prefix + n: part.prefix + g for n, g in groups_by_pattern(plain, part.spec.group).items()}
    prefix = parts[0].prefix if len(parts) == 1 else ""
    return ImagesToSplit(list(identities), grouped(groups, identities), prefix)


def is_split(spec: DataSpec) -> bool:
    """Says whether any images of a data set are held out, as its specification has it; else all are for training."""
    return spec.validation > 0 or spec.folds is not None


def names_held_out(spec: DataSpec, seed: int) -> set[str]:
    """Returns the names that a data set holds out, of joined sets those of all; no image of them is measured."""
    parts = open_parts(spec, spatial_dims_of(spec) or 2, seed)
    return {name for part in parts for name in part.held_out}


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
