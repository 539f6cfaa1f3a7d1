"""Random changes of an image and its label together, for two and three spatial axes alike."""

from __future__ import annotations

import numpy as np

from ..sets.normalization import unknown


def symmetries(image, label, rng):
    """Flips and turns an image and its label in the same way, chosen at random.

    Every axis is mirrored or not; axes on which both image and label are equally long are exchanged or not. In 2D these
    are the eight symmetries of a square, in 3D the 48 of a cube, all equally likely.

    Args:
        image: Array `(*spatial, channels)`.
        label: Array whose leading axes are spatial; it may be smaller than the image but has the same centre.
        rng: `numpy.random.Generator`.

    Returns:
        Image and label, as views.
    """
    spatial_dims = image.ndim - 1
    order = list(range(spatial_dims))
    kinds = [(image.shape[axis], label.shape[axis]) for axis in range(spatial_dims)]
    for kind in set(kinds):
        alike = [axis for axis in range(spatial_dims) if kinds[axis] == kind]
        for axis, other in zip(alike, rng.permutation(alike), strict=True):
            order[axis] = int(other)
    mirror = tuple(slice(None, None, -1) if flip else slice(None) for flip in rng.integers(0, 2, spatial_dims))
    return tuple(np.transpose(array, order + list(range(spatial_dims, array.ndim)))[mirror] for array in (image, label))


def jitter(image, rng, strength=0.1, out=None):
    """Changes contrast and brightness of an image a little.

    Args:
        image: Array `(*spatial, channels)`, float or `uint8`.
        rng: `numpy.random.Generator`.
        strength: Standard deviation of both changes, relative to the image's own deviation.
        out: Array for the result of a float image.
    """
    scale, shift = rng.normal(0, strength, 2)
    mean, std = level(image)
    result = np.multiply(image, np.float32(1 + scale), out=out)
    result += np.float32(shift * std - mean * scale)
    return of_type(result, image.dtype)


def noise(image, rng, strength=0.1):
    """Adds normal noise, of a standard deviation between 0 and `strength` times the image's own: see `jitter`."""
    deviation = rng.uniform(0, strength) * level(image)[1]
    return of_type(image + np.float32(deviation) * rng.standard_normal(image.shape, np.float32), image.dtype)


def level(image):
    """Returns mean and standard deviation of an image, of about 64 pixels along each axis where it is larger."""
    some = image[tuple(slice(None, None, max(1, length // 64)) for length in image.shape[:-1])]
    return some.mean(dtype=np.float64), some.std(dtype=np.float64)


def of_type(image, dtype):
    """Returns changed pixels in the type of the image that they come from."""
    return np.clip(np.rint(image), 0, 255).astype(dtype) if dtype == np.uint8 else image.astype(dtype, copy=False)


def check_mix(mix, spatial_dims) -> dict[str, float]:
    """Returns the shares of samples that are mixed in each way.

    Raises:
        ValueError: Where a way or a share is not one that can be had.
    """
    mix = dict(mix or {})
    known = ("cutmix", "mosaic")[: 4 - spatial_dims]
    for name, share in mix.items():
        if name not in known:
            raise ValueError(unknown("mix", name, known))
        if not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"mix: expected a share between 0 and 1 for {name}; received {share}")
    if sum(mix.values()) > 1:
        raise ValueError(f"mix: expected shares that sum to at most 1; received {mix}")
    return mix


def mix_in(another, image, label, halo, shares, rng):
    """Puts parts of other samples into an image and its label, in place, or leaves them alone, by chance.

    Args:
        another: Function that returns the image and the label of another sample.
        image: Array `(*spatial, channels)`.
        label: Array whose leading axes are spatial.
        halo: Pairs (before, after) of pixels that the image shows around the label, one per axis.
        shares: What `check_mix` returned.
        rng: `numpy.random.Generator`.

    Source: Yun et al., "CutMix", ICCV 2019, section 3.1 with alpha 1; mosaic, without its change of scale: Bochkovskiy
    et al., "YOLOv4", 2020, section 3.3.
    """
    size = label.shape[: len(halo)]
    chance = rng.random()
    if chance < shares.get("cutmix", 0):
        side = (1 - rng.random()) ** (1 / len(size))
        box = []
        for length in size:
            start = rng.integers(length) - side * length / 2
            box.append((max(0, round(start)), min(length, max(0, round(start + side * length)))))
        parts = [(tuple(slice(*part) for part in box), shifted(box, halo))]
    elif chance < shares.get("cutmix", 0) + shares.get("mosaic", 0):
        row, column = (int(rng.integers(length + 1)) for length in size)
        (top, _), (left, _) = halo
        # The image's halo belongs to the quarter beside it.
        upper, lower = (slice(0, row), slice(0, row + top)), (slice(row, None), slice(row + top, None))
        first, second = (slice(0, column), slice(0, column + left)), (slice(column, None), slice(column + left, None))
        quarters = [(upper, second), (lower, first), (lower, second)]
        parts = [((r[0], c[0]), (r[1], c[1])) for r, c in quarters]
    else:
        return
    for inside, shown in parts:
        other_image, other_label = another()
        image[shown], label[inside] = other_image[shown], other_label[inside]


def shifted(box, halo):
    """Returns slices of the image that show a box of the label."""
    return tuple(slice(start + n, stop + n) for (start, stop), (n, _) in zip(box, halo, strict=True))


def soften_masks(masks, deviation):
    """Returns masks after a Gaussian: float32 between 0 and 1; pixels that do not count stay 255 and lend nothing.

    Args:
        masks: `uint8` array `(*spatial, channels)` of 0, 1 and 255.
        deviation: Standard deviation of the Gaussian in pixels.
    """
    from scipy.ndimage import gaussian_filter

    sigmas = [deviation] * (masks.ndim - 1) + [0]
    counts = masks != 255
    blurred = gaussian_filter((masks * counts).astype(np.float32), sigmas, mode="nearest")
    if not counts.all():
        blurred /= np.maximum(gaussian_filter(counts.astype(np.float32), sigmas, mode="nearest"), 1e-6)
    return np.where(counts, np.clip(blurred, 0, 1), np.float32(255))
