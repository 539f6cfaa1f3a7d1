"""Which values images hold, whether those of others can be the same thing, and values stretched to another range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from maskzoo.errors import ImageError
from maskzoo.files import JSON

from ..windows import Window
from .cropped_source import beneath
from .measurement_cache import remembered
from .source import Source
from .statistics import extremes
from .wrapped_source import WrappedSource

# Types whose greatest value is white: an image of one looks like none of another.
FULL_SCALE = ("bool", "uint8", "uint16")
# How many times as large the values of an image of another type may be, or those of a floating point image.
LARGEST_RATIO = 32
MEASURED_PIXELS, MEASURED_IMAGES = 1 << 22, 64


@dataclass(frozen=True)
class ValueRange:
    """The values of an image, or of all images of a set.

    Attributes:
        dtypes: Their types, such as `uint8`.
        low: The least value, of a sample of large images.
        high: The greatest value.
        bits: Bits per value that all files declare, where they are fewer than those of the type.
    """

    dtypes: tuple[str, ...]
    low: float
    high: float
    bits: int | None = None

    @classmethod
    def of(cls, sources: Sequence[Source], pixels: int = MEASURED_PIXELS) -> ValueRange:
        """Measures the values of images: some of many, large ones on windows spread over them.

        Args:
            sources: The images.
            pixels: How many pixels of all of them together are looked at.
        """
        bits = {source.bits for source in sources}
        some = [sources[n] for n in np.unique(np.linspace(0, len(sources) - 1, MEASURED_IMAGES).round().astype(int))]
        found = remembered(f"extremes {pixels}", some, lambda: [np.array(extremes(some, pixels))])
        low, high = found[0].tolist()
        dtypes = tuple(sorted({str(source.dtype) for source in sources}))
        return cls(dtypes, low, high, bits.pop() if len(bits) == 1 else None)

    @classmethod
    def from_dict(cls, values: Mapping[str, JSON]) -> ValueRange:
        """Reads back what `as_dict` returned."""
        return cls(tuple(values["dtypes"]), values["low"], values["high"], values.get("bits"))

    def as_dict(self) -> dict[str, JSON]:
        """Returns the range as values that JSON can hold."""
        return {**asdict(self), "dtypes": list(self.dtypes)}

    def __str__(self) -> str:
        bits = f" of {self.bits} bits" if self.bits else ""
        return f"{', '.join(self.dtypes)}{bits} from {self.low:g} to {self.high:g}"

    @property
    def magnitude(self) -> float:
        """The greatest distance of a value from 0."""
        return max(abs(self.low), abs(self.high))

    @property
    def is_fraction(self) -> bool:
        """Whether they are floating point values between -1 and 1, such as those of images divided by 255."""
        return all(dtype.startswith("float") for dtype in self.dtypes) and self.magnitude <= 1

    @property
    def full(self) -> tuple[float, float]:
        """The least and the greatest value that the type holds; of floating point values 0 and 1, or their range."""
        dtype = np.dtype(self.dtypes[0])
        if dtype.kind == "b":
            return 0, 1
        if dtype.kind == "f":
            return (0, 1) if self.is_fraction else (self.low, self.high)
        if self.bits and dtype.kind == "u":
            return 0, 2**self.bits - 1
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)

    @property
    def fills_sign(self) -> bool:
        """Whether the type says which range the values have: it has no sign, or they go more than halfway down."""
        dtype = np.dtype(self.dtypes[0])
        return dtype.kind != "i" or self.low < np.iinfo(dtype).min / 2

    def can_be(self, other: ValueRange) -> bool:
        """Says whether values may be the same thing as others: not those of another type of images, nor 0 to 1.

        Args:
            other: The values of the image that is to be like these, or of one of its kind.
        """
        mine, others = set(self.dtypes), set(other.dtypes)
        same_type = others <= mine
        if same_type and not any(dtype.startswith("float") for dtype in others):
            # Of 12 bits in 16, as far as the files say it.
            return all(two.bits is None or one.high < 2**two.bits for one, two in ((self, other), (other, self)))
        if not same_type and mine <= set(FULL_SCALE) and others <= set(FULL_SCALE):
            return False
        if not min(self.magnitude, other.magnitude):
            return True
        ratio = self.magnitude / other.magnitude
        if self.is_fraction != other.is_fraction and max(self.magnitude, other.magnitude) > 8:
            return False
        return 1 / LARGEST_RATIO <= ratio <= LARGEST_RATIO


class RescaledSource(WrappedSource):
    """Shows an image with values of another type and range, the old ones stretched to it.

    Args:
        source: The image.
        trained: Whose type and range it gets.

    Raises:
        ImageError: If it is of floating point values beyond 0 and 1, or of signed numbers whose range their type does
            not say.
    """

    def __init__(self, source: Source, trained: ValueRange) -> None:
        super().__init__(source)
        own = ValueRange.of([source])
        require_stretchable(source, own)
        if not trained.fills_sign:
            raise ImageError(source.name, f"values such as {trained}: `rescale` stretches none to signed numbers", own)
        (low, high), (new_low, new_high) = (0, 1) if source.dtype.kind == "f" else own.full, trained.full
        self._factor = (new_high - new_low) / (high - low)
        self._shift = new_low - low * self._factor
        self.dtype, self.bits = np.dtype(trained.dtypes[0]), trained.bits
        self.nodata, self.value_step, self.palette_colors = None, 0.0, None
        self.notes = (*source.notes, f"{low:g} to {high:g} rescaled to {new_low:g} to {new_high:g}")

    def read(self, window: Window) -> np.ndarray:
        """Returns the pixels of a window as an array `(*size, channels)`, mirrored outside the image."""
        values = self.source.read(window).astype(np.float64) * self._factor + self._shift
        values = (values if self.dtype.kind == "f" else np.rint(values)).astype(self.dtype)
        valid = self.source.valid(window)
        if valid is not None:
            values[~valid] = 0
        return values


def require_stretchable(source: Source, own: ValueRange) -> None:
    """Refuses an image whose type says nothing of its range: signed numbers, and real ones beyond 0 and 1.

    Raises:
        ImageError: If it has such values.
    """
    if source.dtype.kind == "f" and (own.low < 0 or own.high > 1):
        raise ImageError(source.name, "floating point values from 0 to 1, which `rescale` can stretch", own)
    if not own.fills_sign:
        raise ImageError(
            source.name, "numbers without sign, or over all of their type, which `rescale` can stretch", own
        )


def rescaled(source: Source, trained: ValueRange) -> Source:
    """Returns an image with the type and the range of others; itself if it has them."""
    if (str(source.dtype), source.bits) == (trained.dtypes[0], trained.bits):
        return source
    return beneath(source, lambda image: RescaledSource(image, trained))


def require_same_kind(source: Source, trained: ValueRange, whose: str) -> None:
    """Refuses an image whose values cannot be the same thing as those of others.

    Args:
        source: The image.
        trained: The values of the others.
        whose: What the others are, for the message.

    Raises:
        ImageError: If they cannot.
    """
    if str(source.dtype) in trained.dtypes and source.dtype.kind != "f" and source.bits == trained.bits:
        return
    own = ValueRange.of([source])
    if not trained.can_be(own):
        (low, high), (new_low, new_high) = own.full, trained.full
        expected = f"values such as those of {whose}, {trained}"
        hint = f"{own}: convert it, or let `rescale` bring {low:g} to {high:g} to {new_low:g} to {new_high:g}"
        raise ImageError(source.name, expected, hint)


def in_one_range(sources: Sequence[Source], *, rescale: bool) -> list[Source]:
    """Returns images whose values are the same kind of thing.

    Args:
        sources: The images of a set.
        rescale: Bring images of other types to that which holds most: `uint16` before `uint8`, 0 to 1 if some are of
            floating point values.

    Raises:
        ImageError: If images of different types cannot be the same thing, and `rescale` is not asked for.
    """
    groups: dict[tuple[str, int | None], list[Source]] = {}
    for source in sources:
        groups.setdefault((str(source.dtype), source.bits), []).append(source)
    if len(groups) < 2:
        return list(sources)
    if not rescale:
        first, *others = groups.values()
        trained = ValueRange.of(first)
        for group in others:
            for source in group:
                require_same_kind(source, trained, first[0].name)
        return list(sources)
    widest = max(groups, key=lambda kind: (np.dtype(kind[0]).kind == "f", np.dtype(kind[0]).itemsize, kind[1] or 99))
    is_fraction = np.dtype(widest[0]).kind == "f"
    target = ValueRange(("float32",), 0, 1) if is_fraction else ValueRange((widest[0],), 0, 0, widest[1])
    for source in groups[widest]:
        require_stretchable(source, ValueRange.of([source]))
    return [rescaled(source, target) for source in sources]
