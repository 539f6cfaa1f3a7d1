"""What is split: the images of data sets in groups that stay together, or the regions of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from maskzoo.errors import OptionError

from .copies import grouped
from .folds import folds_in, groups_by_pattern, make_folds, read_folds, regions_in
from .member_set import Part
from .regions import Region


@dataclass(frozen=True)
class ImagesToSplit:
    """The images that folds are made of: all of a data set, or those of joined sets that hold out any.

    Attributes:
        names: Their names.
        groups: The group of each, which is never split; `None` if each image is one of its own.
        prefix: What all names begin with, where one of several joined sets is split.
        regions: Regions of the only image by name, as many as there are folds; empty where there are more images.
    """

    names: list[str]
    groups: dict[str, str] | None
    prefix: str = ""
    regions: Mapping[str, Region] = field(default_factory=dict)

    def make_folds(
        self, folds: int, *, split: str = "random", strata: Mapping[str, float] | None = None, seed: int = 0
    ) -> dict[str, int]:
        """Distributes them over folds: see `folds.make_folds`; each region of an image is in a fold of its own."""
        if self.regions:
            return {name: number for number, name in enumerate(self.regions)}
        return make_folds(self.names, folds, split=split, groups=self.groups, strata=strata, seed=seed)

    def read_folds(self, path: str, repeat: int = 0) -> tuple[dict[str, int], dict[str, Region]]:
        """Reads the fold of each from a file, which may have the names that the only split set has by itself.

        Args:
            path: The file.
            repeat: Which of the distributions in it.

        Returns:
            The fold of each image or region by its name, and the regions by theirs.

        Raises:
            DataError: As `folds.read_folds`.
        """
        return read_folds_and_regions(path, self.names, repeat, self.prefix)


def split_images(parts: Sequence[Part], group: str | None = None) -> ImagesToSplit:
    """Returns the images of several sets, all of which are split.

    Args:
        parts: The sets, whole.
        group: Pattern that finds the groups of all of them; by default each set's own pattern finds its own groups.
    """
    identities = {name: identity for part in parts for name, identity in part.identities.items()}
    groups = {name: name for name in identities}
    for part in parts:
        pattern = group or part.spec.group
        if pattern is not None:
            prefix = "" if group else part.prefix
            found = groups_by_pattern(map(part.plain, part.identities), pattern)
            groups |= {part.prefix + name: f"{prefix}{found[name]}" for name in found}
    joined = grouped(groups, identities)
    own = len(set(joined.values())) == len(joined)
    prefix = parts[0].prefix if len(parts) == 1 else ""
    return ImagesToSplit(list(identities), None if own else joined, prefix)


def prefixed(regions: Mapping[str, Region], prefix: str) -> dict[str, Region]:
    """Returns regions whose names, and those of their images, have a prefix."""
    return {prefix + name: replace(region, image=prefix + region.image) for name, region in regions.items()}


def held_out_of(folds: Mapping[str, int], regions: Mapping[str, Region], fold: int) -> set[str]:
    """Returns the names in one of several folds.

    Args:
        folds: The fold of each image or region.
        regions: Those of them that are regions; beside these there is something to train on.
        fold: The fold.

    Raises:
        OptionError: If there are none, or no others.
    """
    held_out = {name for name, number in folds.items() if number == fold}
    if not held_out or (len(held_out) == len(folds) and not held_out & regions.keys()):
        raise OptionError("fold", f"one of several folds, {', '.join(map(str, sorted(set(folds.values()))))}", fold)
    return held_out


def read_folds_and_regions(
    path: str, names: Sequence[str], repeat: int = 0, prefix: str = ""
) -> tuple[dict[str, int], dict[str, Region]]:
    """Reads the fold of each image from a file, or of its regions where the file has those.

    Args:
        path: The file.
        names: Names of the images.
        repeat: Which of the distributions in it.
        prefix: What all names begin with, and those in the file may lack.

    Returns:
        The fold of each image or region by its name, and the regions by theirs.

    Raises:
        DataError: As `folds.read_folds`.
    """
    regions = regions_in(path)
    divided = {region.image for region in regions.values()}
    known = folds_in(path, repeat)
    if prefix and not any(name in known or name in divided for name in names):
        folds, regions = read_folds_and_regions(path, [name.removeprefix(prefix) for name in names], repeat)
        return {prefix + name: fold for name, fold in folds.items()}, prefixed(regions, prefix)
    regions = {name: region for name, region in regions.items() if region.image in names}
    return read_folds(path, [*(name for name in names if name not in divided), *regions], repeat), regions
