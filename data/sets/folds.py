"""Folds: which images are held out, without splitting what belongs together, the same for every run and tool."""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from maskzoo.errors import DataError, OptionError
from maskzoo.files import JSON, read_json, write_json
from maskzoo.names import one_of

from ..images.statistics import measured_windows
from .pairs import open_pairs, scheme_of
from .regions import Region
from .spec_file import prefixes, read_spec, spatial_dims_of
from .specification import SPLITS, DataSpec

# Pixels of a label that its foreground is measured on.
MEASURED_PIXELS = 1 << 24


def make_folds(
    names: Iterable[str],
    folds: int = 5,
    *,
    split: str = "random",
    groups: Mapping[str, Hashable] | None = None,
    strata: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, int]:
    """Distributes images over folds of about the same size.

    Args:
        names: Names of the images.
        folds: Number of folds, at least 2.
        split: `random`, or `block`: runs of the sorted names, for sections or frames that resemble their neighbours.
        groups: Mapping from name to group, such as the patient; a group is never split.
        strata: Mapping from name to a number, such as the fraction of foreground, which is spread over all folds.
        seed: Seed; several seeds give repeated folds.

    Returns:
        Mapping from name to fold, 0 to `folds - 1`, in the order of the sorted names.

    Raises:
        OptionError: If there are fewer groups than folds, or a name is missing from `groups` or `strata`.
    """
    if split not in SPLITS:
        raise OptionError("split", one_of(split, SPLITS), split)
    names = sorted(names)
    for what, mapping in (("groups", groups), ("strata", strata)):
        if missing := [name for name in names if mapping is not None and name not in mapping]:
            raise OptionError(what, "every image", f"none for {missing[0]}")
    units = units_of(names, groups)
    if not 2 <= folds <= len(units):
        raise OptionError("folds", f"2 to {len(units)}, the number of images or groups", folds)
    if split == "block":
        return block_folds(units, folds)
    return random_folds(units, folds, strata, np.random.default_rng(seed))


def units_of(names: Sequence[str], groups: Mapping[str, Hashable] | None) -> list[list[str]]:
    """Returns the sorted names in groups that are never split; without groups each alone."""
    members: dict[Hashable, list[str]] = {}
    for name in names:
        members.setdefault(name if groups is None else groups[name], []).append(name)
    return sorted(members.values())


def block_folds(units: Sequence[Sequence[str]], folds: int) -> dict[str, int]:
    """Distributes sorted groups over folds in runs of about the same length."""
    lengths = np.array([len(unit) for unit in units])
    ends = np.cumsum(lengths)
    # Each group goes to the fold that its middle lies in.
    middles = ends - lengths / 2
    chosen = np.minimum(middles * folds // ends[-1], folds - 1).astype(int)
    if len(set(chosen)) < folds:
        chosen = np.arange(len(units)) * folds // len(units)
    found = {name: fold for unit, fold in zip(units, chosen.tolist(), strict=True) for name in unit}
    return dict(sorted(found.items()))


# Why not scikit-learn's StratifiedGroupKFold: its strata are classes, not numbers. With numbers in bins it balances
# them no better (53 images in 5 folds: strata of folds differ by 0.061 on average, here by 0.063), sizes differ by two
# images instead of one, and it refuses more folds than a bin has images. Folds of the same seed would also change.
def random_folds(
    units: Sequence[Sequence[str]], folds: int, strata: Mapping[str, float] | None, rng: np.random.Generator
) -> dict[str, int]:
    """Distributes groups over folds at random, so that sizes and strata are about the same in each.

    The groups are dealt in rounds, one to each fold: the largest of a round to the fold that is smallest so far. Sizes
    therefore differ by at most the largest group.
    """
    shuffled = shuffle(units, rng)
    if strata is not None:
        # The greatest first, so that rare values fill whole rounds.
        shuffled.sort(key=lambda unit: -np.mean([strata[name] for name in unit]))
    found: dict[str, int] = {}
    sizes = np.zeros(folds)
    for start in range(0, len(shuffled), folds):
        some = sorted(shuffled[start : start + folds], key=len, reverse=True)
        smallest_first: list[int] = np.lexsort([rng.random(folds), sizes]).tolist()
        for unit, fold in zip(some, smallest_first, strict=False):
            sizes[fold] += len(unit)
            found.update(dict.fromkeys(unit, fold))
    return dict(sorted(found.items()))


def shuffle(units: Sequence[Sequence[str]], rng: np.random.Generator) -> list[Sequence[str]]:
    """Returns groups in random order."""
    order: list[int] = rng.permutation(len(units)).tolist()
    return [units[index] for index in order]


def held_out_names(
    names: Iterable[str],
    fraction: float,
    *,
    split: str = "random",
    groups: Mapping[str, Hashable] | None = None,
    seed: int = 0,
) -> set[str]:
    """Chooses the images to validate on: at random, or the last of the sorted names.

    Args:
        names: Names of the images.
        fraction: About how much of them is chosen, between 0 and 1.
        split: `random` or `block`.
        groups: Mapping from name to group; a group is chosen as a whole.
        seed: Seed of the choice at random.

    Raises:
        OptionError: If either part would be empty.
    """
    names = sorted(names)
    units = units_of(names, groups)
    if len(units) < 2:
        what = "images" if groups is None else "groups of images"
        raise OptionError("data", f"at least 2 {what}, one of which is held out", len(units))
    units = units[::-1] if split == "block" else shuffle(units, np.random.default_rng(seed))
    chosen = set(units[0])
    for unit in units[1:-1]:
        # Groups are taken as long as they bring the number of images closer to what was asked for.
        if len(chosen) + len(unit) / 2 > fraction * len(names):
            break
        chosen.update(unit)
    return chosen


def groups_by_pattern(names: Iterable[str], pattern: str) -> dict[str, str]:
    """Returns the group of each name: what a regular expression, or its first parenthesis, finds in it.

    Raises:
        OptionError: If it is no regular expression or finds nothing in a name.
    """
    groups = {}
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise OptionError("group", "a regular expression", f"{pattern}: {error}") from None
    for name in names:
        if (match := compiled.search(name)) is None:
            raise OptionError("group", f"{pattern} to be found in every name", name)
        groups[name] = match[min(1, compiled.groups)]
    return groups


def foreground_fractions(
    spec: DataSpec | str | os.PathLike[str], *, spatial_dims: int | None = None
) -> dict[str, float]:
    """Returns for each image of a data set which fraction of its pixels shows a class other than the background.

    Images of joined sets have the names that they have there. Large labels are measured on windows spread over them.

    Args:
        spec: A `DataSpec`, or what `read_spec` takes.
        spatial_dims: Number of spatial axes; by default that of the files, else 2.
    """
    spec = spec if isinstance(spec, DataSpec) else read_spec(spec)
    if spec.sets is not None:
        places = zip(spec.sets, prefixes(list(spec.sets)), strict=True)
        return {
            f"{prefix}-{name}": fraction
            for place, prefix in places
            for name, fraction in foreground_fractions(place, spatial_dims=spatial_dims).items()
        }
    pairs, bands = open_pairs(spec, spatial_dims or spatial_dims_of(spec) or 2, 0)
    scheme = scheme_of(spec, pairs, bands)
    first = int(scheme.task == "multiclass")
    fractions = {}
    for pair in pairs:
        read, shown, pixels = scheme.reader(pair.label), 0, 0
        for window in measured_windows(pair.label.shape, MEASURED_PIXELS):
            masks = scheme.masks(read(window))[..., first:].any(axis=-1)
            shown, pixels = shown + int(np.count_nonzero(masks)), pixels + masks.size
        fractions[pair.name] = shown / pixels
    return fractions


foreground_shares = foreground_fractions  # its earlier name


def write_folds(
    path: str | os.PathLike[str],
    folds: Mapping[str, int],
    *repeats: Mapping[str, int],
    regions: Mapping[str, Region] | None = None,
) -> None:
    """Writes folds, a mapping from name to fold, to a JSON file.

    Args:
        path: The file.
        folds: Mapping from name to fold.
        *repeats: Others of the same images, made with other seeds.
        regions: What part of an image each name stands for, where images were split into regions.
    """
    content: dict[str, JSON] = {"folds": folds, "repeats": repeats} if repeats else {"folds": folds}
    if regions:
        content["regions"] = {name: region.as_mapping() for name, region in regions.items()}
    write_json(path, content)


def read_folds(path: str | os.PathLike[str], names: Iterable[str], repeat: int = 0) -> dict[str, int]:
    """Reads the fold of each image from a file of `write_folds`.

    Args:
        path: The file.
        names: Names of the images.
        repeat: 0 for the first folds in it, 1 for the first of its repeats.

    Raises:
        OSError: If the file cannot be read.
        DataError: If it is not such a file, or lacks an image or the repeat.
    """
    known, found = folds_in(path, repeat), {}
    for name in names:
        fold = known.get(name)
        if not isinstance(fold, int | float):
            raise DataError(path, "the fold of every image", f"{fold or 'none'} for {name}")
        found[name] = int(fold)
    return found


def folds_in(path: str | os.PathLike[str], repeat: int = 0) -> dict[str, JSON]:
    """Returns what a file of `write_folds` holds, by name; raises as `read_folds`."""
    content = content_of(path)
    several = [content.get("folds"), *content.get("repeats", [])]
    if not all(isinstance(folds, dict) for folds in several):
        raise DataError(path, "a JSON file with the fold of every image", "one without `folds`")
    if not 0 <= repeat < len(several):
        raise DataError(path, f"a repeat below {len(several)}", repeat)
    return several[repeat]


def regions_in(path: str | os.PathLike[str]) -> dict[str, Region]:
    """Returns the regions in a file of `write_folds` by name; none if whole images are held out.

    Raises:
        OSError: If the file cannot be read.
        DataError: If it is not such a file.
    """
    try:
        return {name: Region.from_mapping(values) for name, values in content_of(path).get("regions", {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(path, "regions with `image`, `shape`, `offset` and `size`", error) from None


def content_of(path: str | os.PathLike[str]) -> dict[str, JSON]:
    """Returns the JSON object in a file of `write_folds`; raises as `read_folds`."""
    content = read_json(Path(path), expected="a JSON file with the fold of every image")
    if not isinstance(content, dict):
        raise DataError(path, "a JSON file with the fold of every image", "one without `folds`")
    return content
