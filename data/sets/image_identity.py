"""What an image is, whatever it is called: known by its pixels and their size, and by the place of its file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskzoo.errors import MaskzooError
from maskzoo.files import JSON

from ..images.channel_source import ChannelSource
from ..images.cropped_source import CroppedSource, whole
from ..images.measurement_cache import remembered
from ..images.opening import open_source
from ..images.placement import SAME_SIZE
from ..images.source import Frame, Source
from ..images.statistics import measured_windows
from ..images.turning import TurnedSource
from ..images.wrapped_source import WrappedSource

# Images up to this size are compared by all of their pixels, larger ones by windows spread over them.
HASHED_PIXELS = 1 << 22
# Whole numbers are hashed in the smallest of these types that holds them: a copy may be stored in a larger one.
COMPACT = ("<u1", "<u2", "<u4", "<i8")
# Copies from 0 to 1 are stretched by the greatest value of the type that they were made from, rounded in 32 bits.
SCALES = (1, 255, 65535)
ROUNDING = 1e-2
# Fractions of an image that are closer than this are equal.
EDGE = 1e-9


@dataclass(frozen=True)
class ImageIdentity:
    """What tells one image from another.

    Attributes:
        path: Its file, resolved, of several channels that of the first; `None` of what lies in memory.
        content: Hash of its size and pixels in all channels, the same for a copy in another lossless format; `None` of
            an image of one value, which has nothing to be known by, and where it could not be read.
        spacing: Size of a pixel per axis, where a volume or map says it: see `stated_spacing`.
        region: For each axis of the file where a part of the image begins and ends, from 0 to 1; `None` of all of it.
    """

    path: str | None = None
    content: str | None = None
    spacing: tuple[float, ...] | None = None
    region: tuple[tuple[float, float], ...] | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, JSON]) -> ImageIdentity:
        """Reads back what `as_mapping` returned, in this version or an earlier one."""
        spacing, region = values.get("spacing"), values.get("region")
        return cls(
            path=values.get("path"),
            content=values.get("content"),
            spacing=None if spacing is None else tuple(map(float, spacing)),
            region=None if region is None else tuple((float(start), float(stop)) for start, stop in region),
        )

    def as_mapping(self) -> dict[str, JSON]:
        """Returns them as values that JSON can hold."""
        spacing = {} if self.spacing is None else {"spacing": list(self.spacing)}
        region = {} if self.region is None else {"region": [list(ends) for ends in self.region]}
        return {"path": self.path, "content": self.content, **spacing, **region}

    def meets(self, other: ImageIdentity) -> bool:
        """Says whether another part of the same image has pixels of this one."""
        if self.region is None or other.region is None or len(self.region) != len(other.region):
            return True
        axes = zip(self.region, other.region, strict=True)
        return all(start < end - EDGE and first < stop - EDGE for (start, stop), (first, end) in axes)

    def shows_the_same(self, other: ImageIdentity) -> bool:
        """Says whether another image has the same pixels, of the same size as far as both say it."""
        if self.content is None or self.content != other.content:
            return False
        if self.spacing is None or other.spacing is None:
            return True
        return len(self.spacing) == len(other.spacing) and bool(np.allclose(self.spacing, other.spacing, SAME_SIZE, 0))


class KnownImages:
    """Images, or regions of images, which can be asked whether another one is among them, or shares pixels with one.

    Pixels and their size decide where they are known of both images; else the path of the file does.

    Args:
        images: The images.
    """

    def __init__(self, images: Iterable[ImageIdentity]) -> None:
        self.images = tuple(images)
        self._by_content: dict[str, list[ImageIdentity]] = {}
        self._by_path: dict[str, list[ImageIdentity]] = {}
        for image in self.images:
            if image.content is not None:
                self._by_content.setdefault(image.content, []).append(image)
            if image.path is not None:
                self._by_path.setdefault(image.path, []).append(image)

    def __len__(self) -> int:
        return len(self.images)

    def __contains__(self, image: ImageIdentity) -> bool:
        here = self._by_path.get(image.path or "", [])
        if image.content is None:
            return any(image.meets(other) for other in here)
        like = [other for other in self._by_content.get(image.content, []) if image.shows_the_same(other)]
        return any(image.meets(other) for other in (*like, *(other for other in here if other.content is None)))

    def any_of(self, others: Iterable[ImageIdentity]) -> bool:
        """Says whether any of some images is among these."""
        return any(image in self for image in others)


def identities_of(sources: Sequence[Source]) -> list[ImageIdentity]:
    """Returns what opened images are known by: their files at full resolution, however they were opened."""
    if not sources:
        return []
    images = [at_full_resolution(whole(source)) for source in sources]
    hashes = remembered("image identities", images, lambda: [content_hash(source) for source in images])
    return [
        ImageIdentity(
            None if image.path is None else str(Path(image.path).resolve()),
            found.tobytes().hex() or None,
            stated_spacing(image.frame),
            region_of(source),
        )
        for source, image, found in zip(sources, images, hashes, strict=True)
    ]


def region_of(source: Source) -> tuple[tuple[float, float], ...] | None:
    """Returns which part of its file a box of an image is: see `ImageIdentity.region`; `None` of a whole image."""
    if not isinstance(source, CroppedSource):
        return None
    image: Source = source.source
    axes = zip(source.box.offset, source.box.stop, image.shape, strict=True)
    ends = [(start / length, stop / length) for start, stop, length in axes]
    while isinstance(image, WrappedSource):
        if isinstance(image, TurnedSource):
            turn = image.turn
            ends = [
                (1 - stop, 1 - start) if flip else (start, stop)
                for (start, stop), flip in zip(ends, turn.flips, strict=True)
            ]
            ends = [ends[turn.axes.index(axis)] for axis in range(len(ends))]
        image = image.source
    return tuple(ends)


def at_full_resolution(source: Source) -> Source:
    """Returns the image of a source as its files are opened without any options; the source itself if it has none."""
    stored = source
    while isinstance(stored, WrappedSource):
        stored = stored.source
    try:
        if isinstance(stored, ChannelSource):
            return ChannelSource([at_full_resolution(part) for part in stored.sources], stored.name)
        return source if source.path is None else open_source(source.path, spatial_dims=len(source.shape))
    except MaskzooError:
        return source


def stated_spacing(frame: Frame) -> tuple[float, ...] | None:
    """Returns the size of a pixel per axis of a volume or map; `None` where it tells nothing of an image.

    The size that pictures and slides state is often that of a printer, or lost by a conversion; a size of 1 along every
    axis is what is written where none is known.
    """
    if frame.spacing is None or (frame.affine is None and frame.transform is None):
        return None
    return None if all(size == 1 for size in frame.spacing) else tuple(map(float, frame.spacing))


def content_hash(source: Source) -> np.ndarray:
    """Returns a hash of size and pixels of an image as `uint8`; an empty one if all of its pixels are alike.

    Bands that are all equal count as one, and numbers are the same in every type, also stretched to its range or
    shifted: a grey PNG, its RGB copy, a 16-bit TIFF of the same numbers or of 257 times each, and floats from 0 to 1
    are one image.
    """
    all_bands, first_band = (hashlib.sha256(repr(tuple(source.shape)).encode()) for _ in range(2))
    grey, pixel, flat = True, None, True
    for window in measured_windows(source.shape, HASHED_PIXELS):
        values = source.read(window)
        pixel = values.reshape(-1, values.shape[-1])[0] if pixel is None else pixel
        flat = flat and bool((values == pixel).all())
        grey = grey and bool((values == values[..., :1]).all())
        first_band.update(canonical_bytes(values[..., :1]))
        if values.shape[-1] > 1:
            all_bands.update(canonical_bytes(values))
    if flat:
        return np.zeros(0, np.uint8)
    return np.frombuffer((first_band if grey else all_bands).digest()[:16], np.uint8)


def canonical_bytes(values: np.ndarray) -> bytes:
    """Returns bytes that are equal for equal numbers, whatever their type, where they begin and their smallest step."""
    numbers = whole_numbers(values)
    if numbers is None:
        return b"<f8" + np.ascontiguousarray(values, "<f8").tobytes()
    numbers -= numbers.min()
    # A few values say of most images that they are not stretched.
    if np.gcd.reduce(numbers.ravel()[:4096]) != 1 and (step := int(np.gcd.reduce(numbers, axis=None))) > 1:
        numbers //= step
    kind = next(kind for kind in COMPACT if numbers.max() <= np.iinfo(kind).max)
    return kind.encode() + np.ascontiguousarray(numbers, kind).tobytes()


def whole_numbers(values: np.ndarray) -> np.ndarray | None:
    """Returns values as `int64`, those from 0 to 1 in steps of 8 or 16 bits as steps; `None` if they are neither."""
    if values.dtype.kind in "bui":
        return None if values.max() > np.iinfo(np.int64).max else values.astype(np.int64)
    if not np.isfinite(values).all() or np.abs(values).max() > np.iinfo(np.int32).max:
        return None
    for scale in SCALES:
        scaled = values.astype(np.float64) * scale
        rounded = np.rint(scaled)
        if np.abs(scaled - rounded).max() < ROUNDING and rounded.max() > rounded.min():
            return rounded.astype(np.int64)
    return None
