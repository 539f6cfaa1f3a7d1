"""Normalisation: what is measured on images of any size in bounded memory, and how a window is scaled by it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from math import prod

import numpy as np

from ..windows import window_grid
from .measurement_cache import remembered

NORMALIZATIONS = ("dataset", "image", "percentile", "none")

# Images up to this size are measured whole, larger ones on windows spread over them.
MEASURED_PIXELS = 1 << 26
SAMPLED_PIXELS = 1 << 24
SAMPLED_VALUES = 1 << 22


@dataclass(frozen=True)
class Normalizer:
    """How pixels become the float32 values that a model sees; the same in training and in prediction.

    Args:
        kind: `dataset` (mean 0 and standard deviation 1 per channel over the training images), `image` (the same over
            each image), `percentile` (each image's `low` and `high` percentiles become 0 and 1, values beyond are cut)
            or `none` (`uint8` divided by 255, `uint16` by 65535, others unchanged).
        channels: Number of channels of the training images.
        mean: Mean per channel, for `dataset`.
        std: Standard deviation per channel, for `dataset`.
        low: Lower percentile, for `percentile`.
        high: Upper percentile, for `percentile`.
        stain: What images of stained tissue are brought to before: see `stain.stain_target`.
    """

    kind: str
    channels: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    low: float = 0.5
    high: float = 99.5
    stain: dict | None = None

    def __post_init__(self):
        if self.kind not in NORMALIZATIONS:
            raise ValueError(unknown("normalization", self.kind, NORMALIZATIONS))

    @classmethod
    def measured(cls, kind, sources, stain=None):
        """Measures the training images as far as a kind of normalisation needs it.

        Args:
            kind: See the class.
            sources: The training images.
            stain: `macenko`, `reinhard` or `vahadane`: images are brought to the mean stain of these; None: they stay
                as they are.
        """
        channels = sources[0].channels
        target = None
        if stain is not None:
            from ..augmentation.stain import stain_target

            target = stain_target(stain, sources)
        if kind != "dataset":
            return cls(kind, channels, stain=target)
        # The pixels are those that a model will see.
        plain = cls("none", channels, stain=target)
        mean, std = remembered(f"moments {target}", sources, lambda: moments([plain(s).source for s in sources]))
        return cls(kind, channels, tuple(mean.tolist()), tuple(std.tolist()), stain=target)

    @classmethod
    def from_dict(cls, values):
        """Reads back what `as_dict` returned."""
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**values)

    def as_dict(self):
        """Returns the normalisation as values that JSON can hold."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def __call__(self, source):
        """Returns the reader of a source: a function from a window to float32 values `(*size, channels)`.

        Raises:
            ValueError: Where the source has another number of channels than the training images.
        """
        if source.channels != self.channels:
            raise ValueError(f"{source.name}: expected {self.channels} channels; received {source.channels}")
        if self.stain is not None:
            from ..augmentation.stain import StainedSource

            source = StainedSource(source, self.stain)
        return NormalizedSource(source, self)


class NormalizedSource:
    """Reads normalised windows of one image; what must be measured on the image is measured at the first window.

    Attributes:
        source: The image as it is, or in the normaliser's stain.
    """

    def __init__(self, source, normalizer):
        self.source = source
        self._normalizer = normalizer
        self._scale = None

    def __call__(self, window, out=None):
        return self.normalize(self.source.read(window), out)

    def normalize(self, pixels, out=None):
        """Returns pixels of the image as float32, normalised; in `out` where that is given."""
        if self._scale is None:
            self._scale = self._measure()
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

    def _measure(self):
        kind = self._normalizer.kind
        if kind == "none":
            dtype = self.source.dtype
            return np.float32(0), np.float32(1 / np.iinfo(dtype).max if dtype in (np.uint8, np.uint16) else 1)
        if kind == "percentile":
            percents = (self._normalizer.low, self._normalizer.high)
            low, high = self._remembered(f"percentiles {percents}", lambda: list(percentiles(self.source, percents)))
            return low.astype(np.float32), (1 / np.where(high > low, high - low, 1)).astype(np.float32)
        if kind == "image":
            mean, std = self._remembered("moments", lambda: moments([self.source]))
        else:
            mean, std = np.array(self._normalizer.mean), np.array(self._normalizer.std)
        return mean.astype(np.float32), (1 / np.where(std > 0, std, 1)).astype(np.float32)

    def _remembered(self, what, measure):
        return remembered(f"{what} {self._normalizer.stain}", [self.source], measure)


def moments(sources):
    """Returns mean and standard deviation per channel over all pixels of some images, as float64 arrays.

    Images beyond `MEASURED_PIXELS` (all together beyond four times that) are represented by windows spread over them;
    the same image always by the same windows.
    """
    budget = max(4 * MEASURED_PIXELS // len(sources), 1 << 18)
    count, mean, deviations = 0, 0.0, 0.0
    for source in sources:
        for window in measured_windows(source.shape, min(budget, MEASURED_PIXELS)):
            values = source.read(window).reshape(-1, source.channels).astype(np.float64)
            window_mean = values.mean(axis=0)
            difference = window_mean - mean
            total = count + len(values)
            # Chan's update: exact also where the mean is far larger than the deviation.
            deviations = (
                deviations + ((values - window_mean) ** 2).sum(axis=0) + difference**2 * (count * len(values) / total)
            )
            mean = mean + difference * (len(values) / total)
            count = total
    return mean, np.sqrt(deviations / count)


def percentiles(source, percents):
    """Returns percentiles per channel of one image, one row for each of `percents`, of a sample where it is large."""
    windows = measured_windows(source.shape, MEASURED_PIXELS)
    stride = max(1, -(-sum(prod(window.size) for window in windows) // SAMPLED_VALUES))
    values = [source.read(window).reshape(-1, source.channels)[::stride] for window in windows]
    return np.percentile(np.concatenate(values), percents, axis=0)


def measured_windows(shape, budget):
    """Returns windows that stand for an image: all of it up to `budget` pixels, else a fixed random choice."""
    side = {2: 1024, 3: 96}[len(shape)]
    if prod(shape) <= budget:
        return list(window_grid(shape, side))
    windows = window_grid(shape, side // 2)
    share = max(4, min(budget, SAMPLED_PIXELS) // (side // 2) ** len(shape))
    chosen = np.random.default_rng(shape).choice(len(windows), min(share, len(windows)), replace=False)
    return [windows[int(index)] for index in np.sort(chosen)]


def unknown(what, received, known):
    """Returns the message for an unknown name: the nearest right one and all of them."""
    nearest = get_close_matches(str(received), known, n=1, cutoff=0)
    return f"{what}: expected {nearest[0]} (or one of {', '.join(known)}); received {received}"
