"""Images of a set by what their files are: type, bits, channels, spacing, direction and coordinate system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maskzoo.files import JSON
from maskzoo.names import counted

from ..images.image_files import file_suffix
from ..images.source import Source
from ..images.unlike_values import marked_missing, unlike, usual_range
from ..images.value_range import ValueRange
from .examined_pairs import ExaminedPair, Note

# What may not differ within a set, by what a message calls it.
ALIKE = {"dtype": "types that differ", "spacing": "spacings that differ", "orientation": "directions that differ"}
ALIKE |= {"crs": "coordinate systems that differ"}
# Files that a line names before it says how many more there are.
LISTED_FILES = 4


@dataclass(frozen=True)
class FileFacts:
    """What images of one group have in common.

    Attributes:
        suffix: Suffix of the files.
        dtype: Type of the values.
        bits: Bits per value, if declared and fewer than those of the type.
        channels: Number of channels.
        spacing: Size of a pixel per axis, to four digits; empty where the file does not say it.
        orientation: Where the axes of a volume lead, such as `RAS`; empty where nothing says it.
        crs: The coordinate system; empty without one.
    """

    suffix: str
    dtype: str
    bits: int | None
    channels: int
    spacing: str
    orientation: str
    crs: str

    @classmethod
    def of(cls, image: Source) -> FileFacts:
        """Returns the facts of an open image."""
        frame, orientation = image.frame, ""
        if frame.affine is not None and len(image.shape) == 3:
            import nibabel

            orientation = "".join(code or "?" for code in nibabel.orientations.aff2axcodes(frame.affine))
        spacing = " x ".join(f"{size:.4g}" for size in frame.spacing or ())
        crs = "" if frame.crs is None else frame.crs.to_string()
        suffix = "" if image.path is None else file_suffix(image.path)
        return cls(suffix, str(image.dtype), image.bits, image.channels, spacing, orientation, crs)

    def __str__(self) -> str:
        bits = f" of {self.bits} bits" if self.bits else ""
        parts = [self.suffix, f"{self.dtype}{bits}", counted(self.channels, "channel")]
        parts += [f"spacing {self.spacing}"] if self.spacing else []
        return ", ".join(part for part in [*parts, self.orientation, self.crs[:40]] if part)


def file_groups(pairs: Sequence[ExaminedPair], note: Note) -> list[dict[str, JSON]]:
    """Returns the groups of images that are alike, with their number and range of values; notes what differs."""
    groups: dict[FileFacts, list[ExaminedPair]] = {}
    for pair in pairs:
        if pair.image is not None:
            groups.setdefault(FileFacts.of(pair.image), []).append(pair)
    for name, kind in ALIKE.items():
        found: dict[object, list[ExaminedPair]] = {}
        for facts, members in groups.items():
            value = (facts.dtype, facts.bits) if name == "dtype" else getattr(facts, name)
            found.setdefault(value, []).extend(members)
        if len(found) > 1:
            for value, members in found.items():
                words = range_in_words(members) if name == "dtype" else value or "none"
                note(kind, f"{words}: {listed_files(members)}")
    note_unlike_values(pairs, note)
    return [
        {
            "kind": str(facts),
            "images": len(members),
            "values": [min(pair.low for pair in members), max(pair.high for pair in members)],
        }
        for facts, members in groups.items()
    ]


def range_in_words(pairs: Sequence[ExaminedPair]) -> str:
    """Returns type and range of the values of images of one type."""
    images = [pair.image for pair in pairs if pair.image is not None]
    low, high = min(pair.low for pair in pairs), max(pair.high for pair in pairs)
    return str(ValueRange((str(images[0].dtype),), low, high, images[0].bits))


def listed_files(pairs: Sequence[ExaminedPair]) -> str:
    """Returns the names of the files of the first images, and how many more there are."""
    names = [Path(pair.image.name).name if pair.image is not None else pair.name for pair in pairs]
    more = f" and {len(names) - LISTED_FILES} more" if len(names) > LISTED_FILES else ""
    return ", ".join(names[:LISTED_FILES]) + more


def note_unlike_values(pairs: Sequence[ExaminedPair], note: Note) -> None:
    """Notes images whose values are another thing than those of most others of their type, or mark missing pixels."""
    ranges: dict[str, dict[str, ValueRange]] = {}
    for pair in pairs:
        if pair.image is not None:
            dtype = str(pair.image.dtype)
            ranges.setdefault(dtype, {})[pair.image.name] = ValueRange((dtype,), pair.low, pair.high)
    for group in ranges.values():
        usual = usual_range(list(group.values()))
        for name, own in group.items():
            if words := unlike(own, usual):
                note("values that differ", f"{name}: {words} as in most images")
            if words := marked_missing(own):
                note("values that may mean missing", f"{name}: {words}")
