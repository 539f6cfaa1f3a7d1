"""How the images of a data set, or new images for a run that was trained on it, are opened: channels and scale."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maskzoo.errors import DataError, ImageError, MisplacedLabel, MissingFile
from maskzoo.files import sidecars

from ..images.image_files import file_stem, is_image, parts_of_file
from ..images.opening import open_source
from ..images.placement import brought_onto, places_in_words
from ..images.scale import Scale
from ..images.source import Source
from .channels import are_endings, case_name, channel_files, joined, place_of
from .folders import image_files, inner_folders, unread, with_channels
from .specification import MEDIAN, SYNTHETIC, DataSpec

logger = logging.getLogger(__name__)

# What a specification says of the meaning of pixels.
MEANING = ("channels", "bands", "band_names", "alpha")


def open_image(path: Path, spec: DataSpec, spatial_dims: int) -> Source:
    """Opens an image of a data set with all its channels, at the scale at which the set is read.

    Args:
        path: Its file; of several channels that of any.
        spec: The data set, its channels and spacing settled: see `settled`.
        spatial_dims: Number of spatial axes.
    """
    image = open_stored(path, spec, spatial_dims)
    return image if spec.spacing == MEDIAN else spec.scale.applied(image)


def open_stored(path: Path, spec: DataSpec, spatial_dims: int) -> Source:
    """Opens an image with all its channels on the grid of its file."""

    def opened(file: Path) -> Source:
        return open_source(file, spatial_dims=spatial_dims, **spec.reading)

    if spec.channels is None:
        return opened(path)
    return joined([opened(file) for file in channel_files(path, spec.channels)], path, spec.channels)


def open_as_trained(
    path: str | os.PathLike[str],
    trained: Mapping[str, Any],  # JSON values
    spatial_dims: int,
    changes: Mapping[str, Any] | None = None,  # values of the fields of `Scale`, which checks them
) -> Source:
    """Opens an image as a run reads those that it was trained on: with its channels, at its scale.

    Args:
        path: File of the image, of several channels that of any; or a folder of DICOM slices.
        trained: The specification in the `data.json` of the run; what it does not say is as in version 0.1.
        spatial_dims: Number of spatial axes.
        changes: `level`, `resolution`, `spacing` and `resize` to read at instead.
    """
    scale = scale_as_trained(trained, changes)
    meaning = {name: trained[name] for name in MEANING if trained.get(name) is not None}
    spec = DataSpec(**meaning, **scale.as_dict())
    return open_image(Path(path), spec, spatial_dims)


def scale_as_trained(trained: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> Scale:  # JSON values
    """Returns the scale at which a run reads images.

    Args:
        trained: The specification in its `data.json`.
        changes: What is asked for instead: a level, resolution, spacing or size replaces those of the run.
    """
    scale = Scale.of(trained)
    asked = {name: value for name, value in (changes or {}).items() if value is not None}
    return replace(Scale(orientation=scale.orientation), **asked) if asked else scale


def images_as_trained(folder: Path, trained: Mapping[str, Any]) -> list[Path]:  # JSON values
    """Returns the images of a folder that a run can take, sorted; of those with several channels the first file.

    Raises:
        MissingFile: If there is none.
    """
    channels = trained.get("channels")
    if channels and not are_endings(channels):
        place = folder / next(iter(channels.values()))
        folder = place if place.is_dir() else folder
    images = sorted(path for path in folder.iterdir() if is_image(path))
    if channels and are_endings(channels):
        first = next(iter(channels.values()))
        images = [path for path in images if file_stem(path).endswith(first)]
    if not images:
        raise MissingFile(folder, "a folder with images", "one without any")
    for line in unread(folder, inner_folders(folder)):
        logger.warning("left out: %s", line)
    return images


def files_as_trained(path: Path, trained: Mapping[str, Any]) -> list[Path]:  # JSON values
    """Returns the files that make up an image for a run: of all channels, with what lies beside each under its name.

    Args:
        path: File of the image, of several channels that of any; or a folder of DICOM slices.
        trained: As in `open_as_trained`.
    """
    channels = trained.get("channels")
    try:
        files = channel_files(path, channels) if channels else [path]
    except (MissingFile, DataError):  # which is said where it is opened
        files = [path]
    return [part for file in files for part in (*parts_of_file(file), *sidecars(file))]


def name_as_trained(path: Path, trained: Mapping[str, Any]) -> str:  # JSON values
    """Returns the name of an image for a run, without what says its channel."""
    return case_name(path, trained.get("channels"))


def place_as_trained(file: Path, trained: Mapping[str, Any]) -> Path:  # JSON values
    """Returns where a file of an image lies in a data set like that of a run: in `images`, or its channel's folder.

    Raises:
        DataError: If it is in the folder of no channel.
    """
    channels = trained.get("channels")
    return place_of(file, channels) if channels and not are_endings(channels) else Path("images")


def settled(spec: DataSpec, spatial_dims: int) -> DataSpec:
    """Returns a specification with the channels that its file names show, and the median spacing in numbers.

    Raises:
        ImageError: If an image does not say the size of its pixels, for the median; or in another unit than others.
    """
    if spec.path == SYNTHETIC or spec.sets is not None:
        return spec
    spec = with_channels(spec)
    if spec.spacing != MEDIAN:
        return spec
    spacings, units = [], {}
    turned = replace(spec, spacing=None)
    for path in image_files(spec).values():
        image = open_image(path, turned, spatial_dims)
        if image.frame.spacing is None:
            raise ImageError(
                image.name, "a file that says how large its pixels are, for `spacing`", "one that does not"
            )
        spacings.append(image.frame.spacing)
        units.setdefault(image.frame.unit or "mm", image.name)
    if len(units) > 1:
        first, other = list(units.items())[:2]
        raise ImageError(other[1], f"pixel sizes in the unit of {first[1]}, {first[0]}", other[0])
    median = [float(f"{size:.6g}") for size in np.median(spacings, axis=0)]
    logger.info("median spacing of %d images: %s", len(spacings), " x ".join(f"{size:g}" for size in median))
    return replace(spec, spacing=median)


def placed_label(label: Source, image: Source) -> Source:
    """Returns a label with the axes of its image, and refuses one that lies elsewhere.

    Args:
        label: Label of the size of the image, but for swapped axes.
        image: The image on the grid of its file.

    Raises:
        MisplacedLabel: If it lies elsewhere.
    """
    placed = brought_onto(label, image)
    if placed is None:
        wanted, received = places_in_words(image.frame, label.frame)
        raise MisplacedLabel(label.name, f"a label at the place of {image.name}, {wanted}", received)
    return placed
