"""What tells one data set from another: hashes of names and contents, the same wherever the files lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from ..images.image_files import ends_of_file, file_version
from ..images.source import Source
from ..labels.colors import ColorSource, RemappedSource
from ..labels.polygons import PolygonSource
from ..labels.run_source import RunSource
from ..labels.values import StackedSource, unresampled
from ..windows import Window
from .pairs import Pair


def fingerprint(pairs: Iterable[Pair]) -> str:
    """Returns a hash of names, sizes and contents; large files are identified by their ends."""
    digest = hashlib.sha256()
    for pair in pairs:
        for source in (pair.image, *files_of(pair.label)):
            digest.update(json.dumps([pair.name, source.shape, source.channels, str(source.dtype)]).encode())
            source = unresampled(source)
            if isinstance(source, RunSource):
                for runs in source.runs:
                    digest.update(runs.tobytes())
            elif not source.files:
                digest.update(pixels_of(source))
            else:
                for file in source.files:
                    digest.update(ends_of_file(file))
    return digest.hexdigest()


def label_version(label: Source) -> str:
    """Returns text that differs if the content or the size of a label does: its file's state, or a hash of values."""
    return " ".join(
        [str(label.shape), *label.notes, *(content_version(file) + reading_of(file) for file in files_of(label))]
    )


def reading_of(label: Source) -> str:
    """Returns text that differs if the same file is read in another way: colours, palettes, coordinate systems."""
    label = unresampled(label)
    return label.reading if isinstance(label, ColorSource | RemappedSource | PolygonSource) else ""


def content_version(source: Source) -> str:
    """Returns text that differs if the content of a source does."""
    source = unresampled(source)
    if source.files:
        return " ".join(str(file_version(file)) for file in source.files)
    if isinstance(source, RunSource):
        return hashlib.sha256(b"".join(runs.tobytes() for runs in source.runs)).hexdigest()
    return hashlib.sha256(pixels_of(source)).hexdigest()


def files_of(label: Source) -> list[Source]:
    """Returns the labels that were stacked to one, or the label itself."""
    whole = unresampled(label)
    return whole.sources if isinstance(whole, StackedSource) else [label]


def pixels_of(source: Source) -> bytes:
    """Returns all values of a source that is held in memory."""
    return source.read(Window((0,) * len(source.shape), source.shape)).tobytes()
