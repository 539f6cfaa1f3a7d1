"""Colour-coded labels: masks whose colours say the class, and palettes whose order differs between files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maskzoo.errors import LabelError, OptionError

from ..images.source import Source
from ..images.statistics import measured_windows
from ..images.wrapped_source import WrappedSource
from ..windows import Window

Color = tuple[int, int, int]
# As a specification has them: `[255, 0, 0]`, `"#ff0000"`, or several of these.
Colors = Mapping[str, str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]]]

BLACK: Color = (0, 0, 0)
# The value of pixels in a colour that does not count.
IGNORED_COLOR = 255
SHOWN_COLORS = 12
MEASURED_PIXELS = 1 << 22


@dataclass(frozen=True)
class ColorTable:
    """Which label value a colour stands for.

    Attributes:
        names: The classes in their order; black is the background, value 0, unless it is a class or does not count.
        values: The label value of each class.
        codes: The colours, as `code_of` numbers them, in rising order.
        labels: The label value of each of those.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    codes: tuple[int, ...]
    labels: tuple[int, ...]

    @classmethod
    def of(cls, colors: Colors, ignore: Iterable[str | Sequence[int]] = ()) -> ColorTable:
        """Reads the colours of classes, and those of pixels that do not count.

        Raises:
            OptionError: If something is no colour, or a colour stands for two things.
        """
        groups = {name: parsed_colors("colors", value) for name, value in colors.items()}
        ignored = [color for value in ignore for color in parsed_colors("ignore", value)]
        every = [color for group in groups.values() for color in group] + ignored
        if not groups or len(set(every)) < len(every):
            raise OptionError("colors", "every colour once", colors)
        first = int(BLACK not in every)
        values = tuple(range(first, first + len(groups)))
        table = {code_of(BLACK): 0} if first else {}
        for value, group in zip(values, groups.values(), strict=True):
            table.update({code_of(color): value for color in group})
        table.update({code_of(color): IGNORED_COLOR for color in ignored})
        codes = sorted(table)
        return cls(tuple(groups), values, tuple(codes), tuple(table[code] for code in codes))

    @property
    def expected(self) -> str:
        """The colours in words."""
        return f"the colours of `colors`, {', '.join(map(color_name, self.codes))}"


class ColorSource(WrappedSource):
    """Reads a colour-coded label as label values: `uint8` `(*size, 1)`.

    Args:
        source: The label: red, green and blue, perhaps with transparency; grey; or indices of a palette.
        table: What its colours stand for.
    """

    def __init__(self, source: Source, table: ColorTable) -> None:
        super().__init__(source)
        self._table, self.dtype, self.channels = table, np.dtype(np.uint8), 1
        self.roles, self.palette_colors, self.nodata, self.value_step = (), None, None, 0.0

    @property
    def reading(self) -> str:
        """How the file is read, in text that differs if that does."""
        return repr(self._table)

    def read(self, window: Window) -> np.ndarray:
        """Returns the label values of a window as `uint8` `(*size, 1)`.

        Raises:
            LabelError: If a colour stands for nothing.
        """
        codes = color_codes(self.source, window)
        known = np.array(self._table.codes)
        place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
        if (wrong := known[place] != codes).any():
            found, counts = np.unique(codes[wrong], return_counts=True)
            others = [int(code) for code in found[np.argsort(-counts)]]
            raise LabelError(self.name, self._table.expected, named_colors(others))
        return np.array(self._table.labels, np.uint8)[place][..., None]


class RemappedSource(WrappedSource):
    """Reads the indices of a palette as those that the same colours have in another.

    Args:
        source: The label, one band of indices.
        table: The new index of each, `uint8` `(indices,)`.
        palette: The other palette, `uint8` `(indices, 3)`.
    """

    def __init__(self, source: Source, table: np.ndarray, palette: np.ndarray | None = None) -> None:
        super().__init__(source)
        self._table, self.dtype, self.channels = table, table.dtype, 1
        self.roles, self.palette_colors, self.nodata, self.value_step = (), palette, None, 0.0

    @property
    def reading(self) -> str:
        """How the file is read, in text that differs if that does."""
        return repr(self._table.tolist())

    def read(self, window: Window) -> np.ndarray:
        """Returns the indices of a window as an array `(*size, 1)`."""
        return self._table[self.source.read(window)]


def parsed_colors(name: str, value: object) -> list[Color]:
    """Returns the colours that a value of a specification names, one or several.

    Raises:
        OptionError: If it names none.
    """
    if isinstance(value, str) and re.fullmatch(r"#?[0-9a-fA-F]{6}", value):
        text = value.removeprefix("#")
        return [(int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16))]
    if isinstance(value, Sequence) and not isinstance(value, str):
        numbers = [part for part in value if type(part) is int and 0 <= part <= 255]
        if len(value) == len(numbers) == 3:
            return [(numbers[0], numbers[1], numbers[2])]
        if value and not numbers:
            return [color for part in value for color in parsed_colors(name, part)]
    raise OptionError(name, "colours such as [255, 0, 0] or '#ff0000'", f"{value!r:.60}")


def code_of(color: Sequence[int]) -> int:
    """Returns the number of a colour, whose parts may have 16 bits."""
    red, green, blue = (int(part) for part in color)
    return (red << 32) | (green << 16) | blue


def color_name(code: int) -> str:
    """Returns the colour of a number in words, such as `[255, 0, 0]`."""
    return f"[{code >> 32}, {(code >> 16) & 0xFFFF}, {code & 0xFFFF}]"


def named_colors(codes: Sequence[int]) -> str:
    """Returns colours in words: the first twelve."""
    more = [f"and {len(codes) - SHOWN_COLORS} others"] if len(codes) > SHOWN_COLORS else []
    return ", ".join([*map(color_name, codes[:SHOWN_COLORS]), *more])


def color_bands(source: Source) -> list[int]:
    """Returns the bands of red, green and blue, by what the file says, else the first three; a grey one three times."""
    roles = list(source.roles) if len(source.roles) == source.channels else []
    if {"red", "green", "blue"} <= set(roles):
        return [roles.index(name) for name in ("red", "green", "blue")]
    colored = source.channels - ("alpha" in roles)
    return [0, 1, 2] if colored >= 3 else [0, 0, 0]


def has_colors(source: Source) -> bool:
    """Says whether a file says of a label image that it has red, green and blue, and nothing else."""
    return sorted(source.roles) == ["blue", "green", "red"]


def color_codes(source: Source, window: Window) -> np.ndarray:
    """Returns the numbers of the colours in a window of a label, `int64` `(*size,)`; transparent ones are black."""
    pixels = source.read(window).astype(np.int64)
    if source.dtype == np.uint16 and (pixels % 257 == 0).all():
        pixels //= 257  # 8 bits that were saved as 16
    if source.palette_colors is not None:
        red, green, blue = np.moveaxis(source.palette_colors.astype(np.int64)[pixels[..., 0]], -1, 0)
    else:
        red, green, blue = (pixels[..., band] for band in color_bands(source))
    codes = (red << 32) | (green << 16) | blue
    if len(source.roles) == source.channels and "alpha" in source.roles:
        codes[pixels[..., source.roles.index("alpha")] == 0] = code_of(BLACK)
    return codes


def found_colors(source: Source, most: int = 1000) -> list[int]:
    """Returns the numbers of the colours of a label, the most frequent first, of windows spread over a large one."""
    counts: Counter[int] = Counter()
    for window in measured_windows(source.shape, MEASURED_PIXELS):
        found, number = np.unique(color_codes(source, window), return_counts=True)
        counts.update(dict(zip(found.tolist(), number.tolist(), strict=True)))
        if len(counts) > most:
            break
    return [code for code, _ in counts.most_common()]


def colors_expected(source: Source) -> LabelError:
    """Returns the error for a label in colours whose meaning nobody has declared, which names the colours found."""
    return LabelError(
        source.name,
        "one band of label values, or in the data set's YAML `colors` such as {road: [255, 0, 0]}, or "
        "`task: multilabel` for a band per class",
        f"bands that differ, in the colours {named_colors(found_colors(source))}",
    )
