"""The label images of one folder, opened alike: what transparency and palettes mean is decided over all of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from maskzoo.errors import LabelError, MaskzooError

from ..images.opening import open_source
from ..images.source import Source
from ..images.statistics import measured_windows
from ..images.wrapped_source import WrappedSource
from ..windows import Window
from .colors import BLACK, ColorSource, ColorTable, RemappedSource, code_of, color_name
from .masked_labels import with_missing
from .scheme import Palette

logger = logging.getLogger(__name__)

MEASURED_PIXELS = 1 << 26


class LabelFiles:
    """The label images of a folder, or of one class.

    Args:
        files: Their paths by name.
        spatial_dims: Number of spatial axes, 2 or 3.
        colors: What their colours stand for, if those say the class.
        bands: Number of bands that are classes, if that was declared: then transparency may be one.
        palette: What label values look like in the labels that a run was trained on. Where any of the colours occurs,
            colours say the label values.

    Attributes:
        remarks: What was found out that the user should know, one line each; filled as files are opened.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        spatial_dims: int,
        *,
        colors: ColorTable | None = None,
        bands: int | None = None,
        palette: Palette = (),
    ) -> None:
        self._files, self._spatial_dims = files, spatial_dims
        self._trained = {value: bytes(color) for value, *color in palette}
        self._colors, self._bands = colors, bands
        self.remarks: list[str] = []

    def open(self, name: str) -> Source:
        """Opens a label.

        Raises:
            OSError: If it cannot be read.
            LabelError: If it is a mask in transparency alone, or its palette does not fit those of the others.
        """
        source = self._sources.get(name) or self._opened(name)
        if self._colors is not None:
            return ColorSource(source, self._colors)
        if "alpha" in source.roles and len(source.roles) == source.channels > 1 and not self._alpha_is_class:
            source = OpaqueSource(source)
        elif source.palette_colors is not None and self._meaning is not None:
            source = self._remapped(source, source.palette_colors)
        return with_missing(source)

    def _opened(self, name: str) -> Source:
        return open_source(self._files[name], spatial_dims=self._spatial_dims, palette="index")

    @cached_property
    def _sources(self) -> dict[str, Source]:
        """The labels that can be opened; the others say what is wrong with them when they are asked for."""
        sources = {}
        for name in self._files:
            try:
                sources[name] = self._opened(name)
            except MaskzooError:
                continue
        return sources

    @cached_property
    def _alpha_is_class(self) -> bool:
        """Whether what is marked as transparency is a class, as in masks of four bands that were written as colours.

        Raises:
            LabelError: If nothing but transparency shows a mask.
        """
        sources = [
            source
            for source in self._sources.values()
            if "alpha" in source.roles and len(source.roles) == source.channels > 1
        ]
        if sources and self._bands == max(source.channels for source in sources) > 2:
            return True
        facts = AlphaFacts()
        for source in sources:
            try:
                facts.add(source, max(MEASURED_PIXELS // len(sources), 1 << 18))
            except MaskzooError:
                continue
        if facts.is_class:
            self.remarks.append("the band marked as alpha is a class: it does not say what is transparent")
            return True
        if facts.is_mask:
            raise LabelError(sources[0].name, "a mask in a band that is not alpha", "one in alpha alone")
        if facts.hides_values:
            raise LabelError(
                sources[0].name,
                "an alpha band that says what is transparent, or `classes` with a name for every band",
                "one that hides label values",
            )
        return False

    @cached_property
    def _meaning(self) -> dict[int, bytes] | None:
        """The colour of each label value, `None` if indices are label values, since the palettes of all files agree.

        It is that of the labels that a run was trained on, if any of its colours occurs; else that of a palette that
        begins with black, if there is any, and of those the most frequent. Where black and one other colour are all
        that is used, black is 0 even if no palette begins with it.
        """
        if self._trained:
            used = self._used_colors()
            if used & set(self._trained.values()):
                return self._trained
            if used:
                self.remarks.append("no colour is one of those that the run was trained on: indices are label values")
        if (mask := self._mask_palette()) is not None:
            return mask
        palettes = [source.palette_colors for source in self._sources.values() if source.palette_colors is not None]
        counts = Counter(palette.tobytes() for palette in palettes)
        if len(counts) < 2 or self._used_agree():
            return None
        best = max(counts, key=lambda key: (key[:3] == bytes(BLACK), counts[key]))
        first, other = (
            next(
                Path(source.name).name
                for source in self._sources.values()
                if source.palette_colors is not None and (source.palette_colors.tobytes() == best) == agrees
            )
            for agrees in (True, False)
        )
        self.remarks.append(
            f"palettes differ between label files, such as {first} and {other}: label values are those that their "
            f"colours have in {first}"
        )
        return {value: best[3 * value : 3 * value + 3] for value in range(len(best) // 3)}

    def _used_colors(self) -> set[bytes]:
        """Returns the colours other than black that occur in any file with a palette."""
        found: set[bytes] = set()
        for source in self._sources.values():
            if source.palette_colors is None:
                continue
            try:
                found |= {source.palette_colors[index].tobytes() for index in used_values(source)}
            except MaskzooError:
                continue
        return found - {bytes(BLACK)}

    def _mask_palette(self) -> dict[int, bytes] | None:
        """Returns black and the other colour of masks whose palettes all begin with the other; `None` for others."""
        palettes = [(source, source.palette_colors) for source in self._sources.values()]
        used: set[bytes] = set()
        for source, palette in palettes:
            if palette is None:
                continue
            if (palette[0] == BLACK).all():
                return None
            try:
                used |= {palette[index].tobytes() for index in used_values(source)}
            except MaskzooError:
                continue
        if len(used) != 2 or bytes(BLACK) not in used:
            return None
        self.remarks.append("palettes that begin with another colour than black: black is 0, the other 1")
        return dict(enumerate([bytes(BLACK), *(used - {bytes(BLACK)})]))

    def _used_agree(self) -> bool:
        """Says whether every index that occurs has one colour in all files."""
        colors: dict[int, bytes] = {}
        for source in self._sources.values():
            if source.palette_colors is None:
                continue
            try:
                used = used_values(source)
            except MaskzooError:
                continue
            for index in used:
                color = source.palette_colors[index].tobytes()
                if colors.setdefault(index, color) != color:
                    return False
        return True

    def _remapped(self, source: Source, palette: np.ndarray) -> Source:
        """Returns a label whose values are those that its colours have in the labels that decide."""
        meaning = self._meaning
        if meaning is None:
            return source
        known: dict[bytes, int] = {}
        for value, color in meaning.items():
            known.setdefault(color, value)
        colors = [color.tobytes() for color in palette]
        table = np.array([n if meaning.get(n) == color else known.get(color, -1) for n, color in enumerate(colors)])
        for index in used_values(source):
            if table[index] < 0:
                other = color_name(code_of(palette[index]))
                raise LabelError(source.name, "the colours that the palettes of the other labels have", other)
        if ((table == np.arange(len(table))) | (table < 0)).all():
            return source
        shown = np.zeros((max(meaning) + 1, 3), np.uint8)
        for value, color in meaning.items():
            shown[value] = list(color)
        return RemappedSource(source, np.maximum(table, 0).astype(source.dtype), shown)


class OpaqueSource(WrappedSource):
    """Reads a label without its transparency; what is transparent is 0.

    Args:
        source: The label, one of whose bands is marked as alpha.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._alpha = source.roles.index("alpha")
        self._kept = [band for band in range(source.channels) if band != self._alpha]
        self.channels, self.palette_colors = len(self._kept), None
        self.roles = tuple(source.roles[band] for band in self._kept)

    def read(self, window: Window) -> np.ndarray:
        """Returns the label of a window as an array `(*size, bands)`."""
        pixels = self.source.read(window)
        return pixels[..., self._kept] * (pixels[..., self._alpha, None] != 0)


class AlphaFacts:
    """What the bands marked as alpha of some labels look like beside the others."""

    def __init__(self) -> None:
        self._alpha: set[int] = set()
        self._shown: set[bytes] = set()
        self._hidden: set[bytes] = set()
        self._overlap = False

    def add(self, source: Source, pixels: int) -> None:
        """Looks at one label, at windows spread over it if it has more than a number of pixels."""
        alpha = source.roles.index("alpha")
        for window in measured_windows(source.shape, pixels):
            array = source.read(window)
            transparency, others = array[..., alpha], np.delete(array, alpha, axis=-1)
            self._alpha |= set(np.unique(transparency).tolist())
            self._overlap |= bool(((transparency != 0) & (others != 0).any(axis=-1)).any())
            for shown, part in ((self._shown, others[transparency != 0]), (self._hidden, others[transparency == 0])):
                shown |= {row.tobytes() for row in np.unique(part.reshape(-1, part.shape[-1]), axis=0)[:3]}

    @property
    def _varies(self) -> bool:
        return len(self._alpha) > 1

    @property
    def _others_vary(self) -> bool:
        return len(self._shown | self._hidden) > 1

    @property
    def is_class(self) -> bool:
        """It holds 0 and 1, or it is there only where all other bands are 0."""
        return self._alpha == {0, 1} or (self._varies and self._others_vary and not self._overlap)

    @property
    def is_mask(self) -> bool:
        """It is the only band that shows anything."""
        return self._varies and not self._others_vary

    @property
    def hides_values(self) -> bool:
        """Different values of the other bands lie where it is 0."""
        return len(self._hidden) > 1


def used_values(source: Source) -> list[int]:
    """Returns the values that occur in one band, of windows spread over a large label."""
    found: set[int] = set()
    for window in measured_windows(source.shape, MEASURED_PIXELS):
        found |= set(np.unique(source.read(window)[..., 0]).tolist())
    return sorted(found)
