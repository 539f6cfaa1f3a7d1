"""Images and their labels, opened and checked against each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from maskzoo.errors import LabelError

from ..images.opening import open_source
from ..images.source import Source
from ..labels.finding import band_scheme, find_scheme
from ..labels.scheme import LabelScheme, Palette
from ..labels.values import by
from ..synthetic.objects import SIZE, synthetic_cases
from .alike_images import read_alike
from .folders import find_folders, image_files, left_out
from .image_opening import open_image, settled
from .label_opening import declared_classes, label_opener, settled_labels
from .spec_file import read_part, read_spec, spatial_dims_of
from .specification import SYNTHETIC, DataSpec

logger = logging.getLogger(__name__)


class Pair(NamedTuple):
    """An image and its label.

    Attributes:
        name: Name within the data set.
        image: The image.
        label: Its label, of the same size.
    """

    name: str
    image: Source
    label: Source


class PartialPair(Protocol):
    """An image with its label, as far as either could be opened: see `Pair`."""

    @property
    def name(self) -> str:
        """Name within the data set."""
        ...

    @property
    def image(self) -> Source | None:
        """The image."""
        ...

    @property
    def label(self) -> Source | None:
        """Its label."""
        ...


def image_names(spec: DataSpec | str | os.PathLike[str], *, spatial_dims: int | None = None) -> list[str]:
    """Returns the sorted names of the images of a data set.

    Args:
        spec: A `DataSpec`, or what `read_spec` takes.
        spatial_dims: Number of spatial axes; by default that of the files, else 2.
    """
    spec = spec if isinstance(spec, DataSpec) else read_spec(spec)
    return [pair.name for pair in open_pairs(spec, spatial_dims or spatial_dims_of(spec) or 2, 0)[0]]


def largest_shape(spec: DataSpec, spatial_dims: int) -> tuple[int, ...]:
    """Returns how many pixels the images of a data set have at most along each axis; no pixel is read.

    Args:
        spec: The data set, or one that joins others.
        spatial_dims: Number of spatial axes.
    """
    if spec.path == SYNTHETIC and spec.sets is None:
        return (SIZE[spatial_dims],) * spatial_dims
    parts = [spec] if spec.sets is None else [read_part(spec, place) for place in spec.sets]
    shapes = []
    for part in (settled(part, spatial_dims) for part in parts):
        for path in image_files(part).values():
            with open_image(path, part, spatial_dims) as image:
                shapes.append(image.shape)
    return tuple(max(lengths) for lengths in zip(*shapes, strict=True))


def open_pairs(
    spec: DataSpec, spatial_dims: int, seed: int, palette: Palette = ()
) -> tuple[list[Pair], list[str] | None]:
    """Opens every image with its label and checks that they fit each other.

    Args:
        spec: The data set.
        spatial_dims: Number of spatial axes, 2 or 3.
        seed: Seed of synthetic images.
        palette: What label values look like in other labels, such as those that a run was trained on; the colours of
            palettes are taken by it.

    Returns:
        The pairs, sorted by name; and the names of the labels' bands, `None` if the labels are images whose values say
        the class.

    Raises:
        LabelError: If a label has another size than its image.
        ImageError: If images differ in their channels.
    """
    if spec.path == SYNTHETIC:
        return synthetic_pairs(spec, spatial_dims, seed), None
    spec = settled(spec, spatial_dims)
    images = image_files(spec)
    open_label = label_opener(spec, find_folders(spec)[1], images, spatial_dims, palette=palette)
    for line in left_out(spec):
        logger.warning("left out: %s", line)
    pairs: list[Pair] = []
    for name in sorted(images):
        image = open_image(images[name], spec, spatial_dims)
        label = open_label(name, image)
        if image.shape != label.shape:
            raise LabelError(label.name, f"a label of the size of {image.name}, {by(image.shape)}", by(label.shape))
        pairs.append(Pair(name, image, label))

    def reopen(number: int, changed: DataSpec) -> Source:
        return open_image(images[pairs[number].name], changed, spatial_dims)

    alike = read_alike([pair.image for pair in pairs], spec, reopen)
    pairs = [pair._replace(image=image) for pair, image in zip(pairs, alike, strict=True)]
    labels, remarks = settled_labels(spec, [pair.label for pair in pairs], open_label.bands)
    for remark in [*open_label.remarks, *remarks]:
        logger.warning("labels: %s", remark)
    pairs = [pair._replace(label=label) for pair, label in zip(pairs, labels, strict=True)]
    for line in pixel_notes(pairs):
        logger.info("%s", line)
    return pairs, open_label.bands


def pixel_notes(pairs: Iterable[PartialPair]) -> list[str]:
    """Returns what was decided about the meaning of pixels of images and labels, each with the number of files."""
    notes: dict[str, list[str]] = {}
    for pair in pairs:
        for what, source in (("images", pair.image), ("labels", pair.label)):
            for line in () if source is None else source.notes:
                notes.setdefault(f"{what}: {line}", []).append(pair.name)
    return [f"{line} ({len(names)}, such as {names[0]})" for line, names in notes.items()]


def synthetic_pairs(spec: DataSpec, spatial_dims: int, seed: int) -> list[Pair]:
    """Returns synthetic images with their labels."""
    classes = max(1, len(spec.classes or ()) - 1) if spec.task == "multiclass" else 1
    return [
        Pair(name, open_source(image, spatial_dims=spatial_dims), open_source(label, spatial_dims=spatial_dims))
        for name, image, label in synthetic_cases(spatial_dims, seed=seed, classes=classes)
    ]


def scheme_of(spec: DataSpec, pairs: Sequence[Pair], bands: Sequence[str] | None) -> LabelScheme:
    """Returns what the labels of opened pairs mean; `bands` is what `open_pairs` returned."""
    labels, ignore = [pair.label for pair in pairs], spec.ignored_values
    if bands is not None and (len(bands) > 1 or spec.task == "multilabel"):
        return band_scheme(len(bands), bands, ignore)
    return find_scheme(labels, task=spec.task, classes=bands or declared_classes(spec), ignore=ignore)
