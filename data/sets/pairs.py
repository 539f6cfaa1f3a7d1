"""Images and their labels, opened and checked against each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from maskzoo.errors import ImageError, LabelError, MissingFile, OptionError

from ..images.image_files import file_suffix
from ..images.opening import open_source
from ..images.pyramid import ResampledSource
from ..images.source import Source
from ..labels.finding import band_scheme, find_scheme
from ..labels.instances import InstanceSource
from ..labels.polygons import PolygonSource
from ..labels.run_table import RunTable
from ..labels.scheme import LabelScheme
from ..labels.values import StackedSource, by
from ..synthetic.objects import synthetic_cases
from .folders import LabelPlace, files_by_stem, find_folders
from .spec_file import read_spec, spatial_dims_of
from .specification import SYNTHETIC, DataSpec

POLYGON_SUFFIXES = (".geojson", ".json")

# From the name of an image and the image to its label.
OpenLabel = Callable[[str, Source], Source]
# Gets images by name, labels by name and the place of the labels; may refuse what has no counterpart.
CheckNames = Callable[[Mapping[str, Path], Mapping[str, Path], Path], None]


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


def image_names(spec: DataSpec | str | os.PathLike[str], *, spatial_dims: int | None = None) -> list[str]:
    """Returns the sorted names of the images of a data set.

    Args:
        spec: A `DataSpec`, or what `read_spec` takes.
        spatial_dims: Number of spatial axes; by default that of the files, else 2.
    """
    spec = spec if isinstance(spec, DataSpec) else read_spec(spec)
    return [pair.name for pair in open_pairs(spec, spatial_dims or spatial_dims_of(spec) or 2, 0)[0]]


def open_pairs(spec: DataSpec, spatial_dims: int, seed: int) -> tuple[list[Pair], list[str] | None]:
    """Opens every image with its label and checks that they fit each other.

    Args:
        spec: The data set.
        spatial_dims: Number of spatial axes, 2 or 3.
        seed: Seed of synthetic images.

    Returns:
        The pairs, sorted by name; and the names of the labels' bands, `None` if the labels are images whose values say
        the class.

    Raises:
        LabelError: If a label has another size than its image.
        ImageError: If images differ in their channels.
    """
    if spec.path == SYNTHETIC:
        return synthetic_pairs(spec, spatial_dims, seed), None
    folder, labels = find_folders(spec)
    images = files_by_stem(folder)
    open_label, bands = label_opener(spec, labels, images, spatial_dims)
    pairs: list[Pair] = []
    for name in sorted(images):
        image = open_source(images[name], spatial_dims=spatial_dims, level=spec.level, resolution=spec.resolution)
        label = open_label(name, image)
        if image.shape != label.shape:
            raise LabelError(label.name, f"a label of the size of {image.name}, {by(image.shape)}", by(label.shape))
        if pairs and image.channels != (first := pairs[0].image).channels:
            raise ImageError(image.name, f"{first.channels} channels as in {first.name}", image.channels)
        pairs.append(Pair(name, image, label))
    return pairs, bands


def synthetic_pairs(spec: DataSpec, spatial_dims: int, seed: int) -> list[Pair]:
    """Returns synthetic images with their labels."""
    classes = max(1, len(spec.classes or ()) - 1) if spec.task == "multiclass" else 1
    return [
        Pair(name, open_source(image, spatial_dims=spatial_dims), open_source(label, spatial_dims=spatial_dims))
        for name, image, label in synthetic_cases(spatial_dims, seed=seed, classes=classes)
    ]


def scheme_of(spec: DataSpec, pairs: Sequence[Pair], bands: Sequence[str] | None) -> LabelScheme:
    """Returns what the labels of opened pairs mean; `bands` is what `open_pairs` returned."""
    labels = [pair.label for pair in pairs]
    if bands is None:
        return find_scheme(labels, task=spec.task, classes=spec.classes, ignore=spec.ignore)
    if len(bands) > 1 or spec.task == "multilabel":
        return band_scheme(len(bands), bands, tuple(spec.ignore))
    return find_scheme(labels, task=spec.task, classes=bands, ignore=spec.ignore)


def label_opener(
    spec: DataSpec,
    labels: LabelPlace,
    images: Mapping[str, Path],
    spatial_dims: int,
    check: CheckNames | None = None,
) -> tuple[OpenLabel, list[str] | None]:
    """Returns the function from name and image to the label, and the names of the labels' bands, or `None`.

    Labels of an image that is read at a coarser level are those of the full image at the middle of each pixel.

    Args:
        spec: The data set.
        labels: Folder or file of the labels, or a folder for each class.
        images: Files of the images by name.
        spatial_dims: Number of spatial axes, 2 or 3.
        check: Looks at the names of images and labels; by default each must have a counterpart.

    Raises:
        LabelError: If the labels are of a kind that the images cannot have.
        MissingFile: If an image or a label has no counterpart.
    """
    open_full, bands = full_label_opener(spec, labels, images, spatial_dims, check or require_same_names)

    def open_label(name: str, image: Source) -> Source:
        label = open_full(name, image)
        full = image.levels[0][0]
        if image.shape != full and label.shape == full:
            label = ResampledSource(label, image.shape, nearest=True)
        return InstanceSource(label) if spec.instances else label

    return open_label, bands


def full_label_opener(
    spec: DataSpec, labels: LabelPlace, images: Mapping[str, Path], spatial_dims: int, check: CheckNames
) -> tuple[OpenLabel, list[str] | None]:
    """Returns the function that opens labels of the full resolution, polygons of the image's: see `label_opener`."""
    classes = None if spec.classes is None else list(spec.classes)

    def open_label_image(file: Path) -> Source:
        return open_source(file, spatial_dims=spatial_dims, palette="index")

    if isinstance(labels, dict):
        folders = {name: files_by_stem(folder) for name, folder in labels.items()}
        for name, stems in folders.items():
            check(images, stems, labels[name])
        return lambda name, _: StackedSource([open_label_image(stems[name]) for stems in folders.values()]), list(
            folders
        )
    if spatial_dims != 2 and (labels.suffix == ".csv" or labels.suffix in POLYGON_SUFFIXES):
        raise LabelError(labels, "labels of volumes as volumes", labels.suffix)
    if labels.suffix == ".csv":
        table = RunTable(labels, classes=classes, dialect=spec.dialect)
        check(images, {name: labels for name in table.images if name in images}, labels)
        return lambda name, image: table.open(name, image.levels[0][0]), table.class_names or ["foreground"]
    if labels.suffix in POLYGON_SUFFIXES or any(file_suffix(file) in POLYGON_SUFFIXES for file in labels.iterdir()):
        files = files_by_stem(labels, POLYGON_SUFFIXES) if labels.is_dir() else dict.fromkeys(images, labels)
        check(images, files, labels)
        if spec.class_property and not classes:
            raise OptionError("classes", f"the values of {spec.class_property} in a list", "none")
        return lambda name, image: PolygonSource(
            files[name], image, class_property=spec.class_property, classes=classes
        ), classes or ["foreground"]
    files = files_by_stem(labels)
    check(images, files, labels)
    return lambda name, _: open_label_image(files[name]), None


def require_same_names(images: Mapping[str, Path], labels: Mapping[str, Path], place: Path) -> None:
    """Refuses an image without label and a label without image.

    Raises:
        MissingFile: If a counterpart is missing.
    """
    for stem in sorted(images.keys() ^ labels.keys()):
        have, want = (images, place) if stem in images else (labels, next(iter(images.values())).parent)
        raise MissingFile(have[stem], f"a counterpart of the same name in {want}", "none")
