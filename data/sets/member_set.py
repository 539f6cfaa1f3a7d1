"""One of the data sets that make up another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

from ..images.scale import Scale
from ..labels.scheme import LabelScheme
from .cases import Case, make_cases
from .image_identity import ImageIdentity
from .makers import Makers
from .normalization import Normalizer
from .pairs import Pair
from .regions import Region
from .specification import DataSpec


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
        regions: What part of an image each of the pairs is that is none of its own, because images were split.
        whole: The pairs before images were split into regions; empty where they were not.
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
    regions: Mapping[str, Region] = field(default_factory=dict)
    whole: tuple[Pair, ...] = ()

    @property
    def is_split(self) -> bool:
        """Whether any of its images are held out, as its specification has it; else all are for training."""
        return is_split(self.spec)

    @property
    def scale(self) -> Scale:
        """The scale that it is read at."""
        return self.spec.scale

    def plain(self, name: str) -> str:
        """Returns the name that an image has in this set alone, or the image of a region."""
        region = self.regions.get(name)
        return (name if region is None else region.image).removeprefix(self.prefix)

    @property
    def train(self) -> list[Pair]:
        """The pairs that are trained on."""
        return [pair for pair in self.pairs if pair.name not in self.held_out | self.left_out]

    def cases(self, normalizer: Normalizer) -> list[Case]:
        """Returns its cases without those left out; those to train on share the weight of the part.

        The regions of an image share its weight by their size.
        """
        train = self.train
        sizes: dict[str, int] = {}
        for pair in train:
            sizes[self.plain(pair.name)] = sizes.get(self.plain(pair.name), 0) + prod(pair.image.shape)
        weight = 1.0 if self.weight is None else self.weight / max(1, len(sizes))
        pairs = [pair for pair in self.pairs if pair.name not in self.left_out]
        shares = {
            pair.name: prod(pair.image.shape) / sizes[self.plain(pair.name)]
            for pair in train
            if pair.name in self.regions
        }
        cases = make_cases(pairs, self.scheme, normalizer)
        return [replace(case, weight=weight * shares.get(case.name, 1.0)) for case in cases]

    def seen_by_makers(self) -> list[ImageIdentity]:
        """Returns the images that had a part in the labels that are trained on, by way of the runs that made them."""
        if self.makers is None:
            return []
        runs = {maker.path: maker for pair in self.train for maker in self.makers.of(self.plain(pair.name))}
        return [image for maker in runs.values() for image in maker.seen or ()]


def is_split(spec: DataSpec) -> bool:
    """Says whether any images of a data set are held out, as its specification has it; else all are for training."""
    return spec.validation > 0 or spec.folds is not None
