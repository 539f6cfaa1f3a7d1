"""Random changes of an image and its label together, for two and three spatial axes alike."""

from __future__ import annotations

import numpy as np


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
    rank = image.ndim - 1
    order = list(range(rank))
    kinds = [(image.shape[axis], label.shape[axis]) for axis in range(rank)]
    for kind in set(kinds):
        alike = [axis for axis in range(rank) if kinds[axis] == kind]
        for axis, other in zip(alike, rng.permutation(alike), strict=True):
            order[axis] = int(other)
    mirror = tuple(slice(None, None, -1) if flip else slice(None) for flip in rng.integers(0, 2, rank))
    return tuple(np.transpose(array, order + list(range(rank, array.ndim)))[mirror] for array in (image, label))


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
