"""Slides and stacks: TIFFs whose codec GDAL lacks or whose planes it does not join, tile by tile through tifffile."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from maskzoo.errors import ImageError, readable

from ..windows import Window
from .image_files import file_version
from .nibabel_source import nifti_frame
from .pixel_meaning import DEFAULT_PIXELS, PixelOptions, StoredPixels, clear_and_opaque, meaning_of
from .pyramid import chosen_level, pixel_scale, with_downsample
from .reader_cache import ReaderCache
from .reading import read_mirrored, require_finite, require_numbers, unreadable_window
from .source import Frame, Level, Source
from .statistics import MEASURED_PIXELS, measured_windows
from .tiff_pages import Planes, TiffFacts, from_ycbcr, is_ycbcr, read_facts, read_planes

if TYPE_CHECKING:
    from tifffile import TiffPage

TILE_BYTES_PER_PROCESS = 1 << 26
LEVELS_PER_PROCESS = 16

_levels: ReaderCache[Planes] = ReaderCache(LEVELS_PER_PROCESS)
_tiles: ReaderCache[np.ndarray] = ReaderCache(TILE_BYTES_PER_PROCESS, lambda tile: tile.nbytes)


class TifffileSource(Source):
    """Reads one level of an OME-TIFF, a stack of pages, or a TIFF with a codec that GDAL lacks: see `open_source`.

    Channels are channels, whether they are samples of a page or pages of their own. Sections come last, `(Y, X, Z)`, as
    slices do in NIfTI: a section of the volume is the image of its page.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        spatial_dims: int | None = None,
        pixels: PixelOptions = DEFAULT_PIXELS,
        *,
        level: int = 0,
    ) -> None:
        self.path = self._file = Path(path)
        self.name = str(path)
        self._version = file_version(path)
        facts = self._facts()
        # Rows, columns and sections of every level.
        self._shapes = [(height, width, sections) for sections, _, height, width, _ in facts.shapes]
        if level:
            chosen_level(path, [(shape, None) for shape in self._shapes], level)
        self._level = level
        sections, channels, height, width, samples = facts.shapes[level]
        wanted = spatial_dims or (3 if sections > 1 else 2)
        if wanted == 2 and sections > 1:
            raise ImageError(path, "an image with 2 spatial axes", f"a stack of {sections} sections, a volume")
        if wanted == 3 and sections == 1:
            raise ImageError(path, "a volume with 3 spatial axes", "an image with 2")
        self.shape = (height, width, sections)[:wanted]
        stored_type = require_numbers(self.name, facts.dtype)
        self._scale = pixel_scale(self._shapes[0][:wanted], self.shape)
        self._samples, self._planes_per_section = samples, channels
        # The samples of a page tell nothing about pages that are channels.
        roles = facts.roles if channels == 1 else ("undefined",) * (channels * samples)
        self._stored_type, self._is_lossy = stored_type, facts.is_lossy
        stored = StoredPixels(
            self.name, stored_type, roles, facts.bits, facts.min_is_white, facts.colors, (), self._is_transparency
        )
        self._meaning = meaning = meaning_of(stored, pixels)
        self._keeps_missing = pixels.palette == "index"
        self.roles, self.channels, self.notes = meaning.roles, meaning.channels, meaning.notes
        self.bits = None if meaning.colors is not None else facts.bits
        self.dtype = meaning.dtype(stored_type)
        self.frame = self._framed(facts.spacing[:wanted])
        if self._keeps_missing:
            self.palette_colors = facts.colors

    def _is_transparency(self, band: int) -> bool:
        # Coarser levels may average it.
        full = self if not self._level else TifffileSource(self._file, len(self.shape), PixelOptions("index"))
        windows = measured_windows(full.shape, MEASURED_PIXELS)
        return all(clear_and_opaque(full._stored(window)[..., band], is_lossy=self._is_lossy) for window in windows)

    def _framed(self, full: list[float | None]) -> Frame:
        sizes = [size * scale for size, scale in zip(full, self._scale, strict=True) if size is not None]
        if len(sizes) < len(self.shape):
            return Frame(self.shape, scale=self._scale)
        if len(self.shape) == 3:
            frame = nifti_frame(self.shape, np.diag([*sizes, 1.0]), "micron", has_place=False)
            return replace(frame, scale=self._scale)
        return Frame(self.shape, tuple(sizes), scale=self._scale)

    @property
    def levels(self) -> list[Level]:
        """Shape and downsample of the levels that the file holds, the finest first."""
        return with_downsample([shape[: len(self.shape)] for shape in self._shapes])

    def close(self) -> None:
        """Forgets what this process holds of the pages."""
        for level in range(len(self._shapes)):
            _levels.drop((self._version, level))

    def _facts(self) -> TiffFacts:
        with readable(self.name, "a readable image"):
            return read_facts(self._file)

    def _planes(self) -> Planes:
        return _levels.get((self._version, self._level), lambda: read_planes(self._file, self._level))

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        return require_finite(read_mirrored(self, window, self._read), self.name, window)

    def valid(self, window: Window) -> np.ndarray | None:
        """Returns which values of a window the file holds: see `Source.valid`."""
        if self._meaning.alpha is None:
            return None
        return read_mirrored(self, window, self._valid)

    def _valid(self, window: Window) -> np.ndarray:
        alpha = self._stored(window)[..., self._meaning.alpha]
        return np.broadcast_to(alpha[..., None] != 0, (*alpha.shape, self.channels))

    def _read(self, window: Window) -> np.ndarray:
        stored, meaning = self._stored(window), self._meaning
        kept = stored if meaning.bands == tuple(range(stored.shape[-1])) else stored[..., list(meaning.bands)]
        pixels = meaning.shown(kept)
        if meaning.alpha is not None and not self._keeps_missing:
            pixels = pixels * (stored[..., meaning.alpha, None] != 0)
        return pixels

    def _stored(self, window: Window) -> np.ndarray:
        with readable(self.name, unreadable_window(window)):
            return self._read_planes(window)

    def _read_planes(self, window: Window) -> np.ndarray:
        """Returns the stored values of a window, `(*size, bands)`."""
        planes = self._planes()
        volume = len(self.shape) == 3
        sections = range(window.offset[2], window.stop[2]) if volume else range(1)
        samples, channels = self._samples, self._planes_per_section
        out = np.empty((*window.size[:2], len(sections), channels * samples), self._stored_type)
        with open(self._file, "rb") as file:
            for place, section in enumerate(sections):
                for channel in range(channels):
                    plane = self._plane(file, planes, section, channel, window)
                    out[:, :, place, channel * samples : (channel + 1) * samples] = plane
        return out if volume else out[:, :, 0]

    def _plane(self, file: BinaryIO, planes: Planes, section: int, channel: int, window: Window) -> np.ndarray:
        rows, columns = window.slices[:2]
        if planes.array is not None:
            return planes.array[section, channel, rows, columns]
        page, key = planes.pages[section, channel], planes.key
        out = np.zeros((*window.size[:2], self._samples), key.dtype)
        if page is None:
            return out
        separate, _, height, width, _ = key.shaped
        tile = (key.tilelength, key.tilewidth) if key.is_tiled else (key.rowsperstrip, width)
        down, across = -(-height // tile[0]), -(-width // tile[1])
        for sample in range(separate):
            band = slice(None) if separate == 1 else slice(sample, sample + 1)
            for row in range(rows.start // tile[0], -(-rows.stop // tile[0])):
                for column in range(columns.start // tile[1], -(-columns.stop // tile[1])):
                    index = (sample * down + row) * across + column
                    if page.databytecounts[index] == 0:
                        continue
                    pixels = self._tile(file, page, key, (section, channel, index))
                    top, left = row * tile[0], column * tile[1]
                    bottom, right = (min(top + pixels.shape[0], rows.stop), min(left + pixels.shape[1], columns.stop))
                    y, x = max(top, rows.start), max(left, columns.start)
                    out[y - rows.start : bottom - rows.start, x - columns.start : right - columns.start, band] = pixels[
                        y - top : bottom - top, x - left : right - left
                    ]
        return out

    def _tile(self, file: BinaryIO, page: TiffPage, key: TiffPage, place: tuple[int, int, int]) -> np.ndarray:
        def make() -> np.ndarray:
            index = place[-1]
            file.seek(page.dataoffsets[index])
            content = file.read(page.databytecounts[index])
            if len(content) < page.databytecounts[index]:
                raise OSError("a file that is cut off")
            decoded = key.decode(content, index, jpegtables=page.jpegtables, jpegheader=key.jpegheader)[0]
            if decoded is None:
                raise OSError("a tile without pixels")
            return from_ycbcr(decoded[0]) if is_ycbcr(key) else decoded[0]

        return _tiles.get((self._version, self._level, place), make)
