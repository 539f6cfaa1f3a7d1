"""`open_source`: the reader that fits an image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from maskzoo.errors import ImageError, MissingFile, OptionError, UnreadableFile, readable

from .array_source import ArraySource
from .image_files import (
    DICOM_SUFFIXES,
    RASTER_SUFFIXES,
    SCAN_SUFFIXES,
    SUFFIXES,
    VOLUME_SUFFIXES,
    file_suffix,
    holds_slices,
    is_dicom_file,
)
from .nibabel_source import NibabelSource
from .orientation import as_seen
from .pixel_meaning import PixelOptions, of_channels
from .pyramid import at_resolution, chosen_level
from .rasterio_source import RasterioSource, needs_tifffile
from .selected_bands import SelectedSource
from .simpleitk_source import SimpleITKSource
from .source import Source
from .tifffile_source import TifffileSource


def open_source(
    image: np.ndarray | str | os.PathLike[str],
    *,
    spatial_dims: int | None = None,
    palette: str = "rgb",
    alpha: bool | str = False,
    bands: Sequence[int] | None = None,
    band_names: Sequence[str] | None = None,
    level: int | None = None,
    resolution: float | None = None,
) -> Source:
    """Opens an image or volume so that its windows can be read.

    Images have rows before columns. Volumes are as NIfTI stores them, `(x, y, z)`, from DICOM, MHD and NRRD; stacks
    of TIFF pages are rows, columns, sections. Sections are the last axis of both.

    Args:
        image: Path of a TIFF (also OME and BigTIFF), SVS, PNG, JPEG, JPEG 2000, WebP, BMP, GIF, NIfTI, MHD, MHA, NRRD,
            DICOM or NPY file, or of a folder with the DICOM files of one series, which need no suffix; or an array
            `(*spatial)` or `(*spatial, channels)`.
        spatial_dims: Number of spatial axes, 2 or 3; `None` for that of the file. An array of three axes is then an
            image if its last axis is at most 4 long, else a volume.
        palette: `"rgb"` turns the indices of a palette into colours. `"index"`, for label images, keeps them, all bands
            in their order, and pixels marked as nodata.
        alpha: What a band is that is tagged as transparency. `False`: transparency, which is no channel, if it holds
            nothing but clear and opaque pixels, else data. `"mask"`: transparency (also the last of two or four bands
            that is tagged as something else); `"data"`: data. `True`: transparency, and a channel as well. All channels
            are 0 where an image is transparent.
        bands: Numbers of the bands to read, counted from 1, in the order of the channels; by default all, red before
            green before blue.
        band_names: Names of the channels. Bands that the file describes by these names, in another order, are read in
            this one; others as they lie.
        level: Number of the level to read of those in `source.levels`, 0 the finest.
        resolution: Size of a pixel to read at instead: micrometres in slides, units of the coordinate system in maps,
            millimetres in volumes. The nearest finer level is averaged to it unless it is within 1 % of it.

    Raises:
        MissingFile: If there is no such file.
        UnreadableFile: If the file is damaged.
        ImageError: If its format or its number of axes is not one that can be read.
        OptionError: If an option has an impossible value.
    """
    names = None if band_names is None else tuple(band_names)
    pixels = PixelOptions(palette, alpha, None if bands is None else tuple(bands), names)
    if level is not None and resolution is not None:
        raise OptionError("level", "either `level` or `resolution`", f"{level} and {resolution}")

    def open_level(number: int) -> Source:
        if isinstance(image, np.ndarray):
            return at_only_level(with_bands(ArraySource(image, spatial_dims), pixels), number)
        return open_file(Path(image), spatial_dims, pixels, number)

    with readable("array" if isinstance(image, np.ndarray) else image, "a readable image"):
        return open_level(level or 0) if resolution is None else at_resolution(open_level, resolution)


def open_file(path: Path, spatial_dims: int | None, pixels: PixelOptions, level: int) -> Source:
    """Opens one level of an image file: see `open_source`."""
    if holds_slices(path):
        return at_only_level(with_bands(SimpleITKSource(path, spatial_dims), pixels), level)
    suffix = file_suffix(path)
    if suffix not in SUFFIXES and is_dicom_file(path):
        suffix = DICOM_SUFFIXES[0]
    if suffix not in SUFFIXES:
        raise ImageError(path, f"a file of type {' '.join(SUFFIXES)}", suffix or "no suffix")
    if not path.exists():
        raise MissingFile(path, "an existing file", "a path where there is none")
    if not path.is_file():
        raise UnreadableFile(path, "a file", "a folder")
    if not os.access(path, os.R_OK):
        raise UnreadableFile(path, "a readable file", "one that this user may not read")
    if suffix in RASTER_SUFFIXES:
        reader = TifffileSource if needs_tifffile(path) else RasterioSource
        return as_seen(reader(path, spatial_dims, pixels, level=level))
    reader = {**dict.fromkeys(VOLUME_SUFFIXES, NibabelSource), **dict.fromkeys(SCAN_SUFFIXES, SimpleITKSource)}.get(
        suffix, ArraySource
    )
    return at_only_level(with_bands(reader(path, spatial_dims), pixels), level)


def with_bands(source: Source, pixels: PixelOptions) -> Source:
    """Returns a source of which only some channels are read, if that is asked for."""
    meaning = of_channels(source.name, source.channels, pixels)
    return source if meaning is None else SelectedSource(source, meaning)


def at_only_level(source: Source, level: int) -> Source:
    """Returns a source that has one level, and refuses another."""
    if level:
        chosen_level(source.name, source.levels, level)
    return source
