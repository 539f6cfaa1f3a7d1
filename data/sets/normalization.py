"""Normalisation: how pixels become the float32 values that a model sees, the same in training and in prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from maskzoo.errors import ImageError, OptionError
from maskzoo.names import counted, one_of

from ..augmentation.stain import StainedSource, stain_target
from ..images.cropped_source import beneath, whole
from ..images.measurement_cache import remembered
from ..images.source import Source
from ..images.statistics import moments, percentiles
from ..windows import Window

NORMALIZATIONS = ("dataset", "image", "percentile", "none")


@dataclass(frozen=True)
class Normalizer:
    """How images are normalised.

    Args:
        kind: `dataset` (mean 0 and standard deviation 1 per channel over the training images), `image` (the same over
            each image), `percentile` (each image's `low` and `high` percentiles become 0 and 1, values beyond are cut)
            or `none` (`uint8` divided by 255, `uint16` by 65535, others unchanged).
        channels: Number of channels of the training images.
        mean: Mean per channel, for `dataset`.
        std: Standard deviation per channel, for `dataset`.
        low: Lower percentile, for `percentile`.
        high: Upper percentile, for `percentile`.
        stain: Stain that images of stained tissue are brought to first, as `stain_target` returns it.

    Raises:
        OptionError: If the kind is unknown.
    """

    kind: str
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    low: float = 0.5
    high: float = 99.5
    stain: dict[str, Any] | None = None  # JSON values, which only the functions of `stain` look into

    def __post_init__(self) -> None:
        if self.kind not in NORMALIZATIONS:
            raise OptionError("normalization", one_of(self.kind, NORMALIZATIONS), self.kind)

    @classmethod
    def measured(cls, kind: str, sources: Sequence[Source], stain: str | None = None) -> Normalizer:
        """Measures what a kind of normalisation needs to know about the training images.

        Args:
            kind: See the class.
            sources: The training images.
            stain: `macenko`, `reinhard` or `vahadane`: images are brought to the mean stain of these; `None`: they stay
                as they are.
        """
        channels = sources[0].channels
        target = None if stain is None else stain_target(stain, sources)
        if kind != "dataset":
            return cls(kind, channels, stain=target)
        # The pixels are those that a model will see.
        plain = cls("none", channels, stain=target)
        mean, std = remembered(f"held moments {target}", sources, lambda: moments([plain(s).source for s in sources]))
        return cls(kind, channels, tuple(mean.tolist()), tuple(std.tolist()), stain=target)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Normalizer:  # JSON values
        """Reads back what `as_dict` returned."""
        measured = {name: tuple(values[name]) for name in ("mean", "std") if values.get(name) is not None}
        return cls(**{**values, **measured})

    def as_dict(self) -> dict[str, Any]:  # JSON values
        """Returns the normalisation as values that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def __call__(self, source: Source) -> NormalizedSource:
        """Returns the reader of an image: a function from a window to float32 values `(*size, channels)`.

        Raises:
            ImageError: If the image has another number of channels than the training images.
        """
        if source.channels != self.channels:
            raise ImageError(source.name, counted(self.channels, "channel"), source.channels)
        stain = self.stain
        shown = source if stain is None else beneath(source, lambda image: StainedSource(image, stain))
        return NormalizedSource(shown, self)


class NormalizedSource:
    """Reads normalised windows of one image; what must be measured on the image is measured at the first window.

    A region of an image is normalised as the image is.

    Attributes:
        source: The image as it is, or in the normaliser's stain.
    """

    def __init__(self, source: Source, normalizer: Normalizer) -> None:
        self.source = source
        self._normalizer = normalizer
        self._scale: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, window: Window, out: np.ndarray | None = None) -> np.ndarray:
        """Returns a window as float32 `(*size, channels)`; in `out` if that is given."""
        return self.normalize(self.source.read(window), out)

    def normalize(self, pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Returns pixels `(*size, channels)` of the image as float32, normalised; in `out` if that is given."""
        if self._scale is None:
            self._scale = self._measured_scale()
        out = np.empty(pixels.shape, np.float32) if out is None else out
        # Whole lines at a time: numpy is six times slower on an inner axis of three channels.
        lines = out.reshape(-1, pixels.shape[-2] * pixels.shape[-1])
        shift, scale = (np.tile(np.broadcast_to(part, pixels.shape[-1]), pixels.shape[-2]) for part in self._scale)
        np.copyto(lines, pixels.reshape(lines.shape))
        if shift.any():
            lines -= shift
        lines *= scale
        if self._normalizer.kind == "percentile":
            np.clip(lines, 0, 1, out=lines)
        return out

    def _measured_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns what is subtracted from each channel, and what it is then multiplied by, as float32."""
        kind = self._normalizer.kind
        if kind == "none":
            dtype = self.source.dtype
            greatest = np.iinfo(dtype).max if dtype in (np.uint8, np.uint16) else 1
            return np.zeros((), np.float32), np.array(1 / greatest, np.float32)
        if kind == "percentile":
            percents = (self._normalizer.low, self._normalizer.high)
            low, high = self._remembered(
                f"held percentiles {percents}", lambda: list(percentiles(whole(self.source), percents))
            )
            return low.astype(np.float32), (1 / np.where(high > low, high - low, 1)).astype(np.float32)
        if kind == "image":
            mean, std = self._remembered("held moments", lambda: moments([whole(self.source)]))
        else:
            mean, std = np.array(self._normalizer.mean), np.array(self._normalizer.std)
        return mean.astype(np.float32), (1 / np.where(std > 0, std, 1)).astype(np.float32)

    def _remembered(self, what: str, measure: Callable[[], Sequence[ArrayLike]]) -> list[np.ndarray]:
        return remembered(f"{what} {self._normalizer.stain}", [whole(self.source)], measure)
