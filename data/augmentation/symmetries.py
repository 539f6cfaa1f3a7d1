"""Flips and right-angle rotations of an image and its label together, in 2D and 3D alike; and which axes are alike."""

from collections.abc import Sequence

import numpy as np

# Spacings that differ by less than this fraction are equal: files round them.
TOLERANCE = 0.01


def random_symmetry(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator, spacing: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Flips and rotates an image and its label in the same way, chosen at random.

    Every axis is mirrored or not; axes of equal spacing on which both image and label are equally long are exchanged or
    not. In 2D these are the eight symmetries of a square, in 3D the 48 of a cube, or the 16 of a cube whose slices are
    thicker than its pixels, all equally likely.

    Args:
        image: Array `(*spatial, channels)`.
        label: Array whose leading axes are spatial; it may be smaller than the image but has the same centre.
        rng: Generator that the choice follows from.
        spacing: Size of a pixel along each spatial axis; `None` where it is not known: all are then taken for equal.

    Returns:
        Image and label, as views.
    """
    spatial_dims = image.ndim - 1
    order = list(range(spatial_dims))
    alike = groups_of(spacing, spatial_dims)
    kinds = [(image.shape[axis], label.shape[axis], alike[axis]) for axis in range(spatial_dims)]
    for kind in set(kinds):
        equal = [axis for axis in range(spatial_dims) if kinds[axis] == kind]
        for axis, other in zip(equal, rng.permutation(equal), strict=True):
            order[axis] = int(other)
    mirror = tuple(slice(None, None, -1) if flip else slice(None) for flip in rng.integers(0, 2, spatial_dims))
    image, label = (np.transpose(a, order + list(range(spatial_dims, a.ndim)))[mirror] for a in (image, label))
    return image, label


def groups_of(spacing: Sequence[float] | None, spatial_dims: int) -> list[int]:
    """Returns for each axis the number of the first axis that has the same spacing.

    Args:
        spacing: Size of a pixel along each spatial axis, or `None`: all alike.
        spatial_dims: Number of spatial axes.
    """
    if spacing is None:
        return [0] * spatial_dims
    return [
        next(other for other in range(axis + 1) if np.isclose(spacing[other], spacing[axis], rtol=TOLERANCE))
        for axis in range(spatial_dims)
    ]


def slice_axis(spacing: Sequence[float] | None) -> int:
    """Returns the axis of a volume across its slices: the last, unless only two other axes have equal spacing.

    Args:
        spacing: Size of a voxel along each of three axes, or `None`.
    """
    groups = groups_of(spacing, 3)
    alone = [axis for axis in range(3) if groups.count(groups[axis]) == 1]
    return alone[0] if len(alone) == 1 else 2
