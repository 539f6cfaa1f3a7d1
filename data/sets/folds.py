"""Folds: which images are held out, without splitting what belongs together, the same for every run and tool."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np

SPLITS = ("random", "block")


def make_folds(names, folds=5, *, split="random", groups=None, strata=None, seed=0) -> dict[str, int]:
    """Distributes images over folds of about the same size.

    Args:
        names: Names of the images.
        folds: Number of folds, at least 2.
        split: `random`, or `block`: runs of the sorted names, for sections or frames that resemble their neighbours.
        groups: Mapping from name to group, such as the patient; a group is never split.
        strata: Mapping from name to a number, such as the share of foreground, that every fold gets its part of.
        seed: Seed; several seeds give repeated folds.

    Returns:
        Mapping from name to fold, 0 to `folds - 1`, in the order of the sorted names.

    Raises:
        ValueError: Where there are fewer groups than folds, or a name is missing from `groups` or `strata`.
    """
    names = sorted(names)
    for what, mapping in (("groups", groups), ("strata", strata)):
        if missing := [name for name in names if mapping is not None and name not in mapping]:
            raise ValueError(f"{what}: expected every image; received none for {missing[0]}")
    members = {}
    for name in names:
        members.setdefault(name if groups is None else groups[name], []).append(name)
    units = sorted(members.values())
    if not 2 <= folds <= len(units):
        raise ValueError(f"folds: expected 2 to {len(units)}, the number of images or groups; received {folds}")
    result = {}
    if split == "block":
        # Each unit goes to the fold that its middle lies in, so that folds are runs of about the same length.
        ends = np.cumsum([len(unit) for unit in units])
        middles = ends - np.array([len(unit) for unit in units]) / 2
        chosen = np.minimum(middles * folds // ends[-1], folds - 1).astype(int)
        if len(set(chosen)) < folds:
            chosen = np.arange(len(units)) * folds // len(units)
        for unit, fold in zip(units, chosen.tolist(), strict=True):
            result.update(dict.fromkeys(unit, fold))
        return dict(sorted(result.items()))
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}; received {split}")
    rng = np.random.default_rng(seed)
    units = [units[index] for index in rng.permutation(len(units))]
    if strata is not None:
        # The largest first: what is rare fills whole rounds, one for each fold.
        units.sort(key=lambda unit: -np.mean([strata[name] for name in unit]))
    sizes = np.zeros(folds)
    for start in range(0, len(units), folds):
        # One unit of neighbouring strata for each fold, the largest for the fold that is smallest so far.
        some = sorted(units[start : start + folds], key=len, reverse=True)
        order = np.lexsort([rng.random(folds), sizes])
        for unit, fold in zip(some, order.tolist(), strict=False):
            sizes[fold] += len(unit)
            result.update(dict.fromkeys(unit, fold))
    return dict(sorted(result.items()))


def held_out_names(names, share, *, split="random", groups=None, seed=0) -> set[str]:
    """Chooses the images to validate on: at random, or the last of the sorted names; groups as a whole.

    Raises:
        ValueError: Where either part would be empty.
    """
    members = {}
    for name in sorted(names):
        members.setdefault(name if groups is None else groups[name], []).append(name)
    units = sorted(members.values())
    if len(units) < 2:
        what = "images" if groups is None else "groups of images"
        raise ValueError(f"data: expected at least 2 {what}, to hold one out; received {len(units)}")
    if split == "block":
        units = units[::-1]
    else:
        units = [units[index] for index in np.random.default_rng(seed).permutation(len(units))]
    chosen = set(units[0])
    for unit in units[1:-1]:
        # Groups are taken as long as they bring the number of images closer to the share.
        if len(chosen) + len(unit) / 2 > share * len(names):
            break
        chosen.update(unit)
    return chosen


def groups_by_pattern(names, pattern) -> dict[str, str]:
    """Returns the group of each name: what a regular expression, or its first parenthesis, finds in it.

    Raises:
        ValueError: Where it is no regular expression or finds nothing in a name.
    """
    try:
        found = {name: re.search(pattern, name) for name in names}
    except re.error as error:
        raise ValueError(f"group: expected a regular expression; received {pattern}: {error}") from None
    if missing := [name for name, match in found.items() if match is None]:
        raise ValueError(f"group: expected {pattern} to be found in every name; received {missing[0]}")
    return {name: match[min(1, match.re.groups)] for name, match in found.items()}


def write_folds(path, folds, *repeats):
    """Writes folds, a mapping from name to fold, to a JSON file; it appears when it is complete.

    Args:
        path: The file.
        folds: Mapping from name to fold.
        *repeats: Others of the same images, made with other seeds.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    content = {"folds": folds, "repeats": repeats} if repeats else {"folds": folds}
    try:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_folds(path, names, repeat=0) -> dict[str, int]:
    """Reads the fold of each image from a file of `write_folds`.

    Args:
        path: The file.
        names: Names of the images.
        repeat: 0 for the first folds in it, 1 for the first of its repeats.

    Raises:
        OSError: Where the file cannot be read.
        ValueError: Where it is not such a file, or lacks an image or the repeat.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        several = [content["folds"], *content.get("repeats", [])]
        if not 0 <= repeat < len(several):
            raise ValueError(f"{path}: expected a repeat below {len(several)}; received {repeat}")
        folds = several[repeat]
        folds = {name: int(folds[name]) for name in names}
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: expected a JSON file with the fold of every image; received {error}") from None
    except KeyError as error:
        raise ValueError(f"{path}: expected the fold of every image; received none for {error}") from None
    return folds
