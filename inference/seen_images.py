"""Which images a run was trained on, itself or by way of other runs: known by what they are, not by their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskzoo.errors import MaskzooError

from .. import data
from .run_files import RunData

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeenImages:
    """The images that had a part in a run.

    Attributes:
        images: Those that are known by what they are.
        names: Names of those that are known by name alone: in runs of earlier versions whose data set is gone.
    """

    images: data.KnownImages
    names: frozenset[str] = frozenset()

    def has(self, image: data.ImageIdentity, name: str) -> bool:
        """Says whether an image is among them, or may be.

        Args:
            image: What the image is.
            name: Its name, without folder and suffix.
        """
        return image in self.images or name in self.names

    @property
    def identities(self) -> tuple[data.ImageIdentity, ...] | None:
        """All of them; `None` where some are known by name alone."""
        return None if self.names else self.images.images


def seen_by(described: RunData, run: object) -> SeenImages:
    """Returns the images that a run was trained on.

    A run of an earlier version says only what they are called: then the files are looked up in its data set, and if
    they are gone, an image of the same name counts as seen.

    Args:
        described: The content of the run's `data.json`.
        run: The run, for messages.
    """
    before = [data.ImageIdentity.from_mapping(image) for image in described.seen_before]
    if described.images or not described.train:
        own = [data.ImageIdentity.from_mapping(described.images.get(name, {})) for name in described.train]
        return SeenImages(data.KnownImages([*own, *before]))
    files = files_of(described)
    found = [name for name in described.train if name in files]
    names = frozenset(Path(name).name for name in described.train if name not in files)
    if found:
        logger.warning("%s: does not say what its images are; taken to be the files that lie at their paths now", run)
    if names:
        logger.warning("%s: does not say what its images are, and some are gone; they are known by name alone", run)
    # Whatever lies at the path now: a file that was changed since counts as seen, too.
    own = [data.ImageIdentity(path=str(files[name].resolve())) for name in found]
    own += identities_of_files([files[name] for name in found], described)
    return SeenImages(data.KnownImages([*own, *before]), names)


def held_out_by(described: RunData) -> frozenset[str]:
    """Returns what tells the images that a run held out from those of others: hashes of their pixels, or their places.

    Regions of an image are told apart by where they lie in it.

    For a run of an earlier version its files are looked up; if they are gone, its data set and their names tell them.
    """
    images = {name: data.ImageIdentity.from_mapping(image) for name, image in described.images.items()}
    if not images and described.validation:
        files = {name: file for name, file in files_of(described).items() if name in described.validation}
        found = identities_of_files(list(files.values()), described)
        images = dict(zip(files, found, strict=True))
    place = str(described.spec.get("path"))
    unknown = data.ImageIdentity()
    known = {name: images.get(name, unknown) for name in described.validation}
    return frozenset(
        text_of(image) if image.content or image.path else f"{place}: {name}" for name, image in known.items()
    )


def text_of(image: data.ImageIdentity) -> str:
    """Returns text that is equal for equal images, or parts of images, that are known by pixels or place."""
    where = [image.spacing] if image.content else []
    return " ".join([image.content or image.path or "", *(str(part) for part in (*where, image.region) if part)])


def files_of(described: RunData) -> dict[str, Path]:
    """Returns the files of the images in the data set that a run names, by the names that it gives them."""
    try:
        spec = data.DataSpec(**described.spec)
        if spec.path == data.SYNTHETIC:
            return {}
        if spec.sets is None:
            return data.image_files(spec)
        return {
            f"{prefix}-{name}": file
            for place, prefix in zip(spec.sets, data.prefixes(list(spec.sets)), strict=True)
            for name, file in data.image_files(data.read_spec(place)).items()
        }
    except (MaskzooError, OSError, TypeError):
        return {}


def identities_of_files(files: Sequence[Path], described: RunData) -> list[data.ImageIdentity]:
    """Returns what images are, with all their channels; of one that cannot be read its place alone.

    Args:
        files: Their files, of several channels that of any.
        described: What the run was trained on that takes them.
    """
    reading = {"channels": described.spec.get("channels")}
    sources: dict[int, data.Source] = {}
    for number, file in enumerate(files):
        try:
            sources[number] = data.open_as_trained(file, reading, described.spatial_dims)
        except MaskzooError:
            continue
    found: Mapping[int, data.ImageIdentity] = {}
    try:
        found = dict(zip(sources, data.identities_of(list(sources.values())), strict=True))
    except MaskzooError:
        # One of them is damaged: only its own pixels stay unknown.
        found = {number: identity_or_place(source) for number, source in sources.items()}
    finally:
        for source in sources.values():
            source.close()
    return [found.get(number, data.ImageIdentity(path=str(file.resolve()))) for number, file in enumerate(files)]


def identity_or_place(source: data.Source) -> data.ImageIdentity:
    """Returns what an image is; its place alone if its pixels cannot be read."""
    try:
        return data.identities_of([source])[0]
    except MaskzooError:
        return data.ImageIdentity(path=None if source.path is None else str(Path(source.path).resolve()))
