"""Options of training windows: which ones are drawn, how they are changed, and how their batches are loaded."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from maskzoo.errors import OptionError
from maskzoo.names import one_of
from maskzoo.options import setting

from ..augmentation.mixing import check_mix
from ..augmentation.transforms import PRESETS

AUGMENTATIONS = ("none", "flips", *PRESETS)
PLACEMENTS = ("random", "all", "tissue", "positive")


@dataclass(frozen=True)
class SamplingOptions:
    """Which windows are drawn for training, and how they are changed: what recipes and Python callers share.

    Attributes:
        augment: `none`; `flips`: flips, right-angle rotations and slight changes of contrast; a preset (`light`,
            `pathology`, `xray`, `volume`) or a list of transforms: see `transforms.Augmentation`.
        balance: Mapping from class name to the fraction of windows that show the class; `None`: left to chance.
            Requires `windows="random"`.
        windows: `random`: any place in any image; `all`: every window of a grid over every image, in a new order each
            epoch; `tissue`: windows whose centre is not background in an overview of the image; `positive`: windows
            that show a class other than the background.
        overlap: Fraction of a window, from 0 to below 1, by which neighbours in the grid overlap.
        hard_example_fraction: Fraction of the windows that is drawn from the grid in proportion to its hardness: see
            `WindowDataset.set_hardness`.
        scales: Scales at which images are shown, each 1 divided by a whole number, such as `[1, 0.5, 0.25]`. One is
            chosen per sample, which keeps its size in pixels and so shows more of the image.
        mix_probabilities: How likely a sample is combined from several: `{"cutmix": 0.3}` (a box of another sample)
            and, in 2D, `mosaic` (four samples that meet at a point).
        mask_sigma: Standard deviation in pixels of a Gaussian over binary or multilabel masks, for lines thinner than
            their position is known; labels are then float32 between 0 and 1, or 255 where they are ignored.

    Raises:
        OptionError: If a value is out of range.
    """

    # Any: a transform is a name, or a mapping from a name to options that albumentations defines.
    augment: str | list[Any] = setting(
        "flips",
        "random changes of the training windows: none, flips (with right-angle rotations and slight changes of "
        "contrast), a preset (light, pathology, xray, volume), or a list of transforms",
    )
    balance: dict[str, float] | None = setting(
        None, "fraction of the training windows that contain a class: {foreground: 0.5}; by default left to chance"
    )
    windows: Literal["random", "all", "tissue", "positive"] = setting(
        "random",
        "training windows: anywhere, all windows of a grid, on tissue only, or only those with a foreground class",
    )
    overlap: float = setting(0.0, "fraction by which neighbouring windows of the grid overlap, below 1")
    hard_example_fraction: float = setting(
        0.0, "fraction of the windows drawn in proportion to their loss after the previous epoch"
    )
    scales: list[float] | None = setting(
        None,
        "scales at which images are shown in training, one of them per window: [1, 0.5, 0.25]; validation and "
        "prediction show them at scale 1",
    )
    mix_probabilities: dict[str, float] | None = setting(
        None, "fraction of the windows that are combined from several: {cutmix: 0.3, mosaic: 0.2}"
    )
    mask_sigma: float = setting(
        0.0, "standard deviation in pixels of a Gaussian blur of binary and multilabel masks, which makes soft labels"
    )

    def __post_init__(self) -> None:
        if isinstance(self.augment, str) and self.augment not in AUGMENTATIONS:
            raise OptionError("augment", one_of(self.augment, AUGMENTATIONS), self.augment)
        if self.windows not in PLACEMENTS:
            raise OptionError("windows", one_of(self.windows, PLACEMENTS), self.windows)
        if self.balance and self.windows != "random":
            raise OptionError("windows", "random, which `balance` needs", self.windows)
        for name, fraction in (self.balance or {}).items():
            if not 0 <= fraction <= 1:
                raise OptionError("balance", f"a fraction between 0 and 1 for {name}", fraction)
        if not 0 <= self.overlap < 1:
            raise OptionError("overlap", "a fraction from 0 to below 1", self.overlap)
        if not 0 <= self.hard_example_fraction <= 1:
            raise OptionError("hard_example_fraction", "a fraction between 0 and 1", self.hard_example_fraction)
        if not 0 <= self.mask_sigma < math.inf:
            raise OptionError("mask_sigma", "0 or more pixels", self.mask_sigma)
        shrink_factors(self.scales)
        check_mix(self.mix_probabilities)


@dataclass(frozen=True)
class WindowOptions(SamplingOptions):
    """The options of `WindowDataset` for training windows: those of `SamplingOptions`, how many, and the seed.

    Attributes:
        augment: See `SamplingOptions`; here windows stay as they are unless something is asked for.
        steps: Batches per epoch; `None`: as many as show every window of the grid once.
        seed: Seed of everything random.
    """

    augment: str | list[Any] = "none"
    steps: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class LoadingOptions:
    """How batches are loaded and divided among devices and hosts.

    Attributes:
        workers: Threads or processes that read ahead; 0 reads on demand.
        use_multiprocessing: Processes instead of threads. They are spawned, so a script that trains needs the guard
            `if __name__ == "__main__":`.
        max_queue_size: Batches that are read ahead.
        replicas: Number of devices that divide each batch among them.
        shard: `(index, count)`: each batch is only this one of `count` equal parts, as for one of several hosts.

    Raises:
        OptionError: If the shard is not one of its parts.
    """

    workers: int = 0
    use_multiprocessing: bool = False
    max_queue_size: int = 4
    replicas: int = 1
    shard: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        index, count = self.shard
        if not 0 <= index < count:
            raise OptionError("shard", "an index from 0 to below the number of shards", self.shard)


def shrink_factors(scales: Sequence[float] | None) -> list[int]:
    """Returns by how much each scale shrinks an image: 2 for 0.5; only 1 for `None`.

    Raises:
        OptionError: If a scale is not 1 divided by a whole number.
    """
    factors = []
    for scale in [1] if scales is None else scales:
        factor = round(1 / scale) if isinstance(scale, int | float) and 0 < scale <= 1 else 0
        # 0.33 means a third.
        if not factor or abs(factor * scale - 1) > 0.02:
            raise OptionError("scales", "1 divided by whole numbers, such as 1, 0.5, 0.25", scales)
        factors.append(factor)
    if not factors:
        raise OptionError("scales", "at least one, such as 1, 0.5, 0.25", "none")
    return factors
