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
from ..images.measurement_cache import remembered
from ..images.opening import open_source
from ..images.placement import SAME_SIZE
from ..images.source import Frame, Source
from ..images.statistics import measured_windows
from ..images.wrapped_source import WrappedSource

# Images up to this size are compared by all of their pixels, larger ones by windows spread over them.
HASHED_PIXELS = 1 << 22
# Whole numbers are hashed in the smallest of these types that holds them: a copy may be stored in a larger one.
COMPACT = ("<u1", "<u2", "<i4")


@dataclass(frozen=True)
class ImageIdentity:
    """What tells one image from another.

    Attributes:
        path: Its file, resolved, of several channels that of the first; `None` of what lies in memory.
        content: Hash of its size and pixels in all channels, the same for a copy in another lossless format; `None` of
            an image of one value, which has nothing to be known by, and where it could not be read.
        spacing: Size of a pixel per axis, where a volume or map says it: see `stated_spacing`.
    """

    path: str | None = None
    content: str | None = None
    spacing: tuple[float, ...] | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, JSON]) -> ImageIdentity:
        """Reads back what `as_mapping` returned, in this version or an earlier one."""
        spacing = values.get("spacing")
        return cls(values.get("path"), values.get("content"), None if spacing is None else tuple(map(float, spacing)))

    def as_mapping(self) -> dict[str, JSON]:
        """Returns them as values that JSON can hold."""
        spacing = {} if self.spacing is None else {"spacing": list(self.spacing)}
        return {"path": self.path, "content": self.content, **spacing}

    def shows_the_same(self, other: ImageIdentity) -> bool:
        """Says whether another image has the same pixels, of the same size as far as both say it."""
        if self.content is None or self.content != other.content:
            return False
        if self.spacing is None or other.spacing is None:
            return True
        return len(self.spacing) == len(other.spacing) and bool(np.allclose(self.spacing, other.spacing, SAME_SIZE, 0))


class KnownImages:
    """Images, which can be asked whether another one is among them.

    Pixels and their size decide where they are known of both images; else the path of the file does.

    Args:
        images: The images.
    """

    def __init__(self, images: Iterable[ImageIdentity]) -> None:
        self.images = tuple(images)
        self._by_content: dict[str, list[ImageIdentity]] = {}
        for image in self.images:
            if image.content is not None:
                self._by_content.setdefault(image.content, []).append(image)
        self._paths = {image.path for image in self.images} - {None}
        self._without_content = {image.path for image in self.images if image.content is None} - {None}

    def __len__(self) -> int:
        return len(self.images)

    def __contains__(self, image: ImageIdentity) -> bool:
        if image.content is None:
            return image.path in self._paths
        like = self._by_content.get(image.content, [])
        return any(image.shows_the_same(other) for other in like) or image.path in self._without_content

    def any_of(self, others: Iterable[ImageIdentity]) -> bool:
        """Says whether any of some images is among these."""
        return any(image in self for image in others)


def identities_of(sources: Sequence[Source]) -> list[ImageIdentity]:
    """Returns what opened images are known by: their files at full resolution, however they were opened."""
    if not sources:
        return []
    whole = [at_full_resolution(source) for source in sources]
    hashes = remembered("identities", whole, lambda: [content_hash(source) for source in whole])
    return [
        ImageIdentity(
            None if source.path is None else str(Path(source.path).resolve()),
            found.tobytes().hex() or None,
            stated_spacing(source.frame),
        )
        for source, found in zip(whole, hashes, strict=True)
    ]


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

    Bands that are all equal count as one, and whole numbers are the same in every type: a grey PNG, its RGB copy and a
    16-bit TIFF of the same numbers are one image.
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
    """Returns bytes that are equal for equal numbers, whatever their type."""
    whole = values.dtype.kind in "bui" or bool((np.isfinite(values) & (np.rint(values) == values)).all())
    if whole:
        least, greatest = values.min(), values.max()
        for kind in COMPACT:
            limits = np.iinfo(kind)
            if limits.min <= least and greatest <= limits.max:
                return kind.encode() + np.ascontiguousarray(values, kind).tobytes()
    return b"<f8" + np.ascontiguousarray(values, "<f8").tobytes()
