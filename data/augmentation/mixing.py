"""Samples put together from several: CutMix and mosaic, in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from maskzoo.errors import OptionError
from maskzoo.names import one_of

METHODS = ("cutmix", "mosaic")


def check_mix(probabilities: Mapping[str, float] | None, spatial_dims: int = 2) -> dict[str, float]:
    """Returns how likely a sample is mixed in each way, by name of the way.

    Args:
        probabilities: Mapping from `cutmix` or, in 2D, `mosaic` to a probability; `None`: never.
        spatial_dims: Number of spatial axes.

    Raises:
        OptionError: If a name is unknown, mosaic is asked for in 3D, or the probabilities are out of range.
    """
    checked = dict(probabilities or {})
    known = METHODS if spatial_dims == 2 else METHODS[:1]
    for name, probability in checked.items():
        if name in METHODS and name not in known:
            raise OptionError("mix_probabilities", f"{', '.join(known)} for volumes", name)
        if name not in known:
            raise OptionError("mix_probabilities", one_of(name, known), name)
        if not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise OptionError("mix_probabilities", f"a probability between 0 and 1 for {name}", probability)
    if sum(checked.values()) > 1:
        raise OptionError("mix_probabilities", "probabilities that sum to at most 1", checked)
    return checked


def mix_in(
    read_another: Callable[[], tuple[np.ndarray, np.ndarray]],
    image: np.ndarray,
    label: np.ndarray,
    halo: Sequence[tuple[int, int]],
    probabilities: Mapping[str, float],
    rng: np.random.Generator,
) -> None:
    """Puts parts of other samples into an image and its label, in place, or leaves them alone, by chance.

    Args:
        read_another: Function that returns the image and the label of another sample.
        image: Array `(*spatial, channels)`.
        label: Array whose leading axes are spatial.
        halo: Pairs (before, after) of pixels that the image shows around the label, one per axis.
        probabilities: What `check_mix` returned.
        rng: Generator that all choices follow from.

    Source: Yun et al., "CutMix", ICCV 2019, section 3.1 with alpha 1; mosaic, without its change of scale: Bochkovskiy
    et al., "YOLOv4", 2020, section 3.3.
    """
    size = label.shape[: len(halo)]
    chance = rng.random()
    if chance < probabilities.get("cutmix", 0):
        parts = [cutmix_box(size, halo, rng)]
    elif chance < probabilities.get("cutmix", 0) + probabilities.get("mosaic", 0):
        parts = mosaic_quarters(size, halo, rng)
    else:
        return
    for label_part, image_part in parts:
        other_image, other_label = read_another()
        image[image_part], label[label_part] = other_image[image_part], other_label[label_part]


# A part of the label, and the part of the image that shows it.
Part = tuple[tuple[slice, ...], tuple[slice, ...]]


def cutmix_box(size: tuple[int, ...], halo: Sequence[tuple[int, int]], rng: np.random.Generator) -> Part:
    """Returns a box whose share of the window is uniform between 0 and 1, cut at the window's border."""
    side = (1 - rng.random()) ** (1 / len(size))
    box = []
    for length in size:
        start = rng.integers(length) - side * length / 2
        box.append((max(0, round(start)), min(length, max(0, round(start + side * length)))))
    shown = tuple(slice(start + n, stop + n) for (start, stop), (n, _) in zip(box, halo, strict=True))
    return tuple(slice(start, stop) for start, stop in box), shown


def mosaic_quarters(size: tuple[int, ...], halo: Sequence[tuple[int, int]], rng: np.random.Generator) -> list[Part]:
    """Returns all quarters around a random point but the upper left one."""
    row, column = (int(rng.integers(length + 1)) for length in size)
    (top, _), (left, _) = halo
    # The image's halo belongs to the quarter beside it.
    upper, lower = (slice(0, row), slice(0, row + top)), (slice(row, None), slice(row + top, None))
    first, second = (slice(0, column), slice(0, column + left)), (slice(column, None), slice(column + left, None))
    quarters = [(upper, second), (lower, first), (lower, second)]
    return [((rows[0], columns[0]), (rows[1], columns[1])) for rows, columns in quarters]
