"""Which runs made the labels of a data set, and which images those runs had seen: a file beside the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskzoo.errors import readable
from maskzoo.files import JSON, read_json, write_json

from .image_identity import ImageIdentity, KnownImages

MAKERS = "makers.json"
MAKERS_FORMAT = 1


@dataclass(frozen=True)
class LabelMaker:
    """A run that made labels.

    Attributes:
        name: Its name, for messages.
        path: Its folder when it made them.
        model: Checksum of its model.
        seen: The images that it was trained on, itself or by way of others; `None` where that is not known.
    """

    name: str
    path: str
    model: str
    seen: tuple[ImageIdentity, ...] | None

    def as_mapping(self) -> dict[str, JSON]:
        """Returns the run as values that JSON can hold."""
        seen = None if self.seen is None else [image.as_mapping() for image in self.seen]
        return {"name": self.name, "path": self.path, "model": self.model, "seen": seen}


@dataclass(frozen=True)
class Makers:
    """The runs that made the labels of a data set.

    Attributes:
        runs: The runs.
        images: For each image, by its name in the data set, the numbers of the runs that labelled it.
    """

    runs: tuple[LabelMaker, ...]
    images: Mapping[str, tuple[int, ...]]

    def of(self, name: str) -> list[LabelMaker]:
        """Returns the runs that labelled an image; none for an image that nobody says was labelled by runs."""
        return [self.runs[number] for number in self.images.get(name, ())]

    def saw(self, name: str, held_out: KnownImages) -> bool:
        """Says whether a run that labelled an image was trained on one of some others, or may have been."""
        return len(held_out) > 0 and any(run.seen is None or held_out.any_of(run.seen) for run in self.of(name))

    def write(self, folder: Path) -> None:
        """Writes `makers.json` into the folder of the data set."""
        images = {name: list(numbers) for name, numbers in self.images.items()}
        runs = [run.as_mapping() for run in self.runs]
        write_json(folder / MAKERS, {"format": MAKERS_FORMAT, "runs": runs, "images": images})


def read_makers(folder: Path) -> Makers | None:
    """Reads the `makers.json` of a data set; `None` where people made the labels.

    Raises:
        UnreadableFile: If it is damaged.
    """
    path = folder / MAKERS
    if not path.is_file():
        return None
    with readable(path, expected := "a JSON file of the runs that made the labels"):
        content = read_json(path, expected=expected)
        runs = tuple(
            LabelMaker(run["name"], run["path"], run["model"], identities_from(run["seen"])) for run in content["runs"]
        )
        images = {name: tuple(numbers) for name, numbers in content["images"].items()}
        if any(not 0 <= number < len(runs) for numbers in images.values() for number in numbers):
            raise ValueError("a number of no run")
    return Makers(runs, images)


def identities_from(mappings: Sequence[Mapping[str, JSON]] | None) -> tuple[ImageIdentity, ...] | None:
    """Reads back identities from JSON."""
    return None if mappings is None else tuple(map(ImageIdentity.from_mapping, mappings))
