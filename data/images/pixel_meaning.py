"""What the stored bands of a raster mean: photometric interpretation, palette, transparency, order of colours.

Decided here once for every reader of rasters, for images and for labels alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maskzoo.errors import ImageError, OptionError

PALETTES = ("rgb", "index")
ALPHAS = ("data", "mask")
COLORS = ("red", "green", "blue")
# Of transparency compressed with losses: pixels that may be neither clear nor opaque, and how near the two they are.
LOSSY_SHARE, LOSSY_NEAR = 0.01, 0.7
LOSSY = ("jpeg", "webp", "lerc", "jpeg2000", "jpegxl")

INVERTED = "0 is white: inverted"


@dataclass(frozen=True)
class PixelOptions:
    """What a caller says about the pixels of an image: see `open_source`.

    Raises:
        OptionError: If a value is none of those.
    """

    palette: str = "rgb"
    alpha: bool | str = False
    bands: tuple[int, ...] | None = None
    band_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.palette not in PALETTES:
            raise OptionError("palette", "rgb or index", self.palette)
        if not isinstance(self.alpha, bool) and self.alpha not in ALPHAS:
            raise OptionError("alpha", "data or mask", self.alpha)
        if self.bands is not None:
            check_bands(self.bands)


DEFAULT_PIXELS = PixelOptions()


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """What a file says about its bands.

    Attributes:
        name: The file, for messages.
        dtype: Type of the stored values.
        roles: What each band is, such as `gray`, `red` or `alpha`.
        bits: Bits per value, where they are fewer than those of the type.
        min_is_white: The least value is white, the greatest black.
        colors: The palette, `uint8` `(indices, 3)`; `None` without one.
        names: How the file describes each band, such as `B8`; empty if it does not describe all, each otherwise.
        is_transparency: Function from a band, counted from 0, to whether it holds nothing but clear and opaque pixels;
            it reads the band.
    """

    name: str
    dtype: np.dtype
    roles: tuple[str, ...]
    bits: int | None = None
    min_is_white: bool = False
    colors: np.ndarray | None = None
    names: tuple[str, ...] = ()
    is_transparency: Callable[[int], bool] = lambda band: True


@dataclass(frozen=True, eq=False)
class PixelMeaning:
    """How stored bands become channels.

    Attributes:
        bands: The stored band of each channel, counted from 0; with colours, that of the indices alone.
        roles: What each channel is.
        colors: Colours of the indices; `None` where bands are channels.
        white: Value that a stored 0 stands for, where the least value is white; `None` elsewhere.
        alpha: The stored band that says which pixels are there; `None` if none does.
        names: How the file describes the channels; empty if it does not.
        notes: What was decided, in words.
    """

    bands: tuple[int, ...]
    roles: tuple[str, ...]
    colors: np.ndarray | None = None
    white: int | None = None
    alpha: int | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Number of values per pixel."""
        return len(self.bands) if self.colors is None else 3

    def dtype(self, stored: np.dtype) -> np.dtype:
        """Returns the type of the channels of stored values."""
        return stored if self.colors is None else self.colors.dtype

    def shown(self, pixels: np.ndarray) -> np.ndarray:
        """Returns channels `(*size, channels)` of stored values `(*size, bands)`, which are those of `bands`."""
        if self.colors is not None:
            return self.colors[pixels[..., 0]]
        return pixels if self.white is None else np.subtract(self.white, pixels, dtype=pixels.dtype)

    def value(self, stored: float | None) -> float | None:
        """Returns the value that a stored one stands for, such as that of missing pixels."""
        return stored if stored is None or self.white is None else self.white - stored


def meaning_of(stored: StoredPixels, options: PixelOptions = DEFAULT_PIXELS) -> PixelMeaning:
    """Decides what the bands of a file mean.

    A band that is tagged as transparency is transparency where it holds nothing but clear and opaque pixels, else it is
    data: satellites' infrared is stored so. Labels keep all of their bands in their order.

    Raises:
        ImageError: If the file lacks a band that is asked for.
    """
    notes: list[str] = []
    # Values of one bit have colours, black and white in the one order or the other.
    bilevel = stored.bits == 1 and stored.colors is not None and options.palette == "rgb"
    white = None if bilevel else white_of(stored, notes)
    colors = None if stored.min_is_white and not bilevel else stored.colors
    roles = tuple("gray" if role == "palette" and colors is None else role for role in stored.roles)
    every = tuple(range(len(roles)))
    if options.palette == "index":
        return PixelMeaning(every, roles, white=white, notes=tuple(notes))
    alpha = alpha_band(stored, roles, options, notes)
    if options.bands is not None:
        if colors is not None or max(options.bands) > len(roles):
            have = "a palette" if colors is not None else f"{len(roles)}"
            raise ImageError(stored.name, f"bands {listed(options.bands)}, as `bands` says", have)
        notes.append(f"bands {listed(options.bands)} in this order")
        bands = tuple(number - 1 for number in options.bands)
        alpha = None if alpha in bands else alpha
    else:
        kept = tuple(band for band in every if band != alpha or options.alpha is True)
        bands = in_color_order(kept, roles, notes)
        if stored.names and options.band_names:
            bands = in_described_order(bands, stored.names, options.band_names, notes)
    names = tuple(stored.names[band] for band in bands) if stored.names else ()
    if colors is not None:
        notes.append("colours of a palette")
        return PixelMeaning(bands[:1], COLORS, colors, alpha=alpha, notes=tuple(notes))
    return PixelMeaning(bands, tuple(roles[band] for band in bands), None, white, alpha, names, tuple(notes))


def white_of(stored: StoredPixels, notes: list[str]) -> int | None:
    """Returns the value that a stored 0 stands for where the least value is white; `None` elsewhere."""
    if not stored.min_is_white:
        return None
    if stored.dtype.kind == "f":
        notes.append("0 is white by its tag, which says nothing about floating point values: read as they are")
        return None
    notes.append(INVERTED)
    return -1 if stored.dtype.kind == "i" else 2 ** (stored.bits or 8 * stored.dtype.itemsize) - 1


def alpha_band(stored: StoredPixels, roles: Sequence[str], options: PixelOptions, notes: list[str]) -> int | None:
    """Returns the band, counted from 0, that is transparency; `None` if there is none."""
    tagged = [band for band, role in enumerate(roles) if role == "alpha"]
    if options.alpha == "mask":
        # The last of grey or red, green and blue, whatever it is tagged as.
        band = tagged[-1] if tagged else len(roles) - 1
        if not tagged and len(roles) not in (2, 4):
            return None
        notes.append(f"band {band + 1} is transparency, as `alpha` says")
        return band
    if not tagged:
        return None
    band = tagged[-1]
    if options.alpha == "data":
        notes.append(f"band {band + 1}, tagged as transparency, is data, as `alpha` says")
        return None
    if options.alpha is True or stored.is_transparency(band):
        notes.append(f"band {band + 1} is transparency")
        return band
    notes.append(
        f"band {band + 1} is tagged as transparency, but holds more than clear and opaque pixels: read as data "
        "(`alpha: mask` makes it transparency)"
    )
    return None


def in_color_order(bands: tuple[int, ...], roles: Sequence[str], notes: list[str]) -> tuple[int, ...]:
    """Returns bands with red, green and blue in this order at the places of the three, if each is there once."""
    places = [place for place, band in enumerate(bands) if roles[band] in COLORS]
    found = [roles[bands[place]] for place in places]
    if sorted(found) != sorted(COLORS) or found == list(COLORS):
        return bands
    ordered = list(bands)
    for place, color in zip(places, COLORS, strict=True):
        ordered[place] = next(band for band in bands if roles[band] == color)
    notes.append(f"stored as {', '.join(found)}: read as red, green, blue")
    return tuple(ordered)


def in_described_order(
    bands: tuple[int, ...], names: Sequence[str], wanted: Sequence[str], notes: list[str]
) -> tuple[int, ...]:
    """Returns bands in the order of wanted names, if they have these names in another one.

    Args:
        bands: The bands, counted from 0.
        names: How the file describes each of all bands.
        wanted: Names of the channels.
        notes: Gets what was decided.
    """
    found = [names[band] for band in bands]
    if found == list(wanted) or sorted(found) != sorted(wanted):
        return bands
    notes.append(f"described as {', '.join(found)}: read as {', '.join(wanted)}")
    return tuple(bands[found.index(name)] for name in wanted)


def clear_and_opaque(values: np.ndarray, *, is_lossy: bool = False) -> bool:
    """Says whether values of a transparency band are all clear (0) or all opaque: 255, the greatest of their type, 1.0.

    Args:
        values: The values, of any shape.
        is_lossy: They were compressed with losses, which leave a few other values near those two.
    """
    opaque = {1.0, 255.0} if values.dtype.kind == "f" else {255, int(np.iinfo(values.dtype).max)}
    top = values.max()
    if is_lossy and values.dtype == np.uint8:
        between = values[(values > 0) & (values < 255)]
        return between.size <= LOSSY_SHARE * values.size and bool((np.abs(between - 127.5) > 127.5 * LOSSY_NEAR).all())
    return not top or (top in opaque and bool(((values == 0) | (values == top)).all()))


def check_bands(bands: object) -> None:  # a value of a YAML file
    """Refuses what are not the numbers of bands.

    Raises:
        OptionError: If they are not.
    """
    if (
        not isinstance(bands, (list, tuple))
        or not bands
        or any(type(band) is not int or band < 1 for band in bands)
        or len(set(bands)) < len(bands)
    ):
        raise OptionError("bands", "numbers of bands, counted from 1, each once, such as [4, 1, 2]", bands)


def listed(bands: Sequence[int]) -> str:
    """Returns numbers of bands in words."""
    return ", ".join(map(str, bands))


def of_channels(name: str, channels: int, options: PixelOptions) -> PixelMeaning | None:
    """Returns what the channels of a file of another kind than a raster mean; `None` if they are all as they are.

    Raises:
        ImageError: If the file lacks a band that is asked for.
    """
    if options.bands is None or options.palette == "index":
        return None
    stored = StoredPixels(name, np.dtype(np.float32), ("undefined",) * channels)
    return meaning_of(stored, replace(options, alpha=False))
