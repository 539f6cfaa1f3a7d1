"""Images whose channels lie in several files: a file for each modality, or a folder for each band."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from maskzoo.errors import DataError, MissingFile

from ..images.channel_source import ChannelSource
from ..images.image_files import file_stem, is_image
from ..images.source import Source

# What the file names of nnU-Net end in, behind the name of the case.
MODALITY = re.compile(r"(.+)(_\d{4})")
# What says that channels are told apart by the ends of file names, not by folders.
ENDING = "_"

# Folder or ending of file names for each channel, in their order.
Channels = Mapping[str, str]


def are_endings(channels: Channels) -> bool:
    """Says whether channels are told apart by the ends of file names, such as `_0000`, not by folders."""
    return all(place.startswith(ENDING) for place in channels.values())


def found_channels(images: Iterable[str], labels: Iterable[str]) -> dict[str, str] | None:
    """Returns the channels that the names of images and labels without suffix show; `None` if there are none.

    Images `case_0000`, `case_0001` with a label `case` are channels of one case; with labels of the same names they are
    images of their own.

    Args:
        images: Names of the images.
        labels: Names of the labels.

    Raises:
        DataError: If a case lacks a channel that others have.
    """
    names, labels = list(images), set(labels)
    found = [MODALITY.fullmatch(name) for name in names]
    if not names or labels & set(names):
        return None
    cases: dict[str, set[str]] = {}
    for match in found:
        if match is None:
            return None
        cases.setdefault(match[1], set()).add(match[2])
    if not labels & cases.keys():
        return None
    every = sorted(set.union(*cases.values()))
    for case, endings in cases.items():
        if len(endings) < len(every):
            missing = next(ending for ending in every if ending not in endings)
            raise DataError(
                f"{case}{min(endings)}", f"the same channels for all cases, {', '.join(every)}", f"no {missing}"
            )
    return {ending[1:]: ending for ending in every}


def cases_of(files: Mapping[str, Path], channels: Channels) -> dict[str, Path]:
    """Returns the file of the first channel of each case, by the name of the case.

    Args:
        files: Files of the images by name; where channels have folders, those of the first.
        channels: Where the channels are.
    """
    first = next(iter(channels.values()))
    if not are_endings(channels):
        return dict(files)
    return {name[: -len(first)]: path for name, path in files.items() if name.endswith(first)}


def case_name(path: Path, channels: Channels | None) -> str:
    """Returns the name of an image, without what its file name ends in for its channel."""
    stem = file_stem(path)
    if channels is None or not are_endings(channels):
        return stem
    return next((stem[: -len(end)] for end in channels.values() if stem.endswith(end)), stem)


def channel_files(path: Path, channels: Channels) -> list[Path]:
    """Returns the files of all channels of a case, in their order.

    Args:
        path: File of any channel.
        channels: Where the channels are.

    Raises:
        MissingFile: If there is no file for a channel.
        DataError: If the file is that of no channel.
    """
    stem, places = file_stem(path), list(channels.values())
    if are_endings(channels):
        own = next((end for end in places if stem.endswith(end)), None)
        if own is None:
            raise DataError(path, f"a file whose name ends in {' or '.join(places)}, as in training", stem)
        case = stem[: -len(own)]
        return [image_named(path.parent, f"{case}{end}", path) for end in places]
    own_place = place_of(path, channels)
    root = Path(*path.parent.parts[: len(path.parent.parts) - len(own_place.parts)])
    return [image_named(root / place, stem, path) for place in places]


def place_of(path: Path, channels: Channels) -> Path:
    """Returns the folder of a channel, as `channels` names it, that holds a file.

    Raises:
        DataError: If the file is that of no channel.
    """
    # The folders of the channels may lie in others, such as `images/red`.
    places = [Path(place) for place in channels.values()]
    own = next((place for place in places if path.parent.parts[-len(place.parts) :] == place.parts), None)
    if own is None:
        names = " or ".join(channels.values())
        raise DataError(path, f"a file in a folder {names}, as in training", f"one in {path.parent}")
    return own


def image_named(folder: Path, stem: str, first: Path) -> Path:
    """Returns the image of a name in a folder, of the same type as another if there are several."""
    beside = folder / f"{stem}{first.name[len(file_stem(first)) :]}"
    if beside.exists():
        return beside
    found = [file for file in sorted(folder.glob(f"{escaped(stem)}*")) if is_image(file) and file_stem(file) == stem]
    if not found:
        raise MissingFile(folder, f"a file {stem} for a channel of {first.name}", "none")
    return found[0]


def escaped(text: str) -> str:
    """Returns a name as part of a pattern of file names."""
    return re.sub(r"([\[\]*?])", r"[\1]", text)


def joined(sources: Sequence[Source], path: Path, channels: Channels) -> Source:
    """Returns the channels of a case as one image, named as the case."""
    name = path.with_name(f"{case_name(path, channels)}{path.name[len(file_stem(path)) :]}")
    return ChannelSource(sources, str(name))
