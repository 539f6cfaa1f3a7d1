"""Flips and right-angle rotations of an image and its label together, in 2D and 3D alike."""

import numpy as np


def random_symmetry(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Flips and rotates an image and its label in the same way, chosen at random.

    Every axis is mirrored or not; axes on which both image and label are equally long are exchanged or not. In 2D these
    are the eight symmetries of a square, in 3D the 48 of a cube, all equally likely.

    Args:
        image: Array `(*spatial, channels)`.
        label: Array whose leading axes are spatial; it may be smaller than the image but has the same centre.
        rng: Generator that the choice follows from.

    Returns:
        Image and label, as views.
    """
    spatial_dims = image.ndim - 1
    order = list(range(spatial_dims))
    lengths = [(image.shape[axis], label.shape[axis]) for axis in range(spatial_dims)]
    for pair in set(lengths):
        equal = [axis for axis in range(spatial_dims) if lengths[axis] == pair]
        for axis, other in zip(equal, rng.permutation(equal), strict=True):
            order[axis] = int(other)
    mirror = tuple(slice(None, None, -1) if flip else slice(None) for flip in rng.integers(0, 2, spatial_dims))
    image, label = (np.transpose(a, order + list(range(spatial_dims, a.ndim)))[mirror] for a in (image, label))
    return image, label
