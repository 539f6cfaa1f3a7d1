"""Distances between the surfaces of two masks, in the units of the voxel spacing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from maskzoo.errors import OptionError

# Size of an element along all axes, or along each; 1 by default.
Spacing = float | Sequence[float] | None


def surface_distances(
    truth: ArrayLike, prediction: ArrayLike, spacing: Spacing = None
) -> tuple[np.ndarray, np.ndarray]:
    """Measures how far each border element of one mask is from the nearest border element of the other.

    A border element belongs to the mask and has a neighbour along an axis that does not, or lies at the image's edge.

    Args:
        truth: Mask, any number of axes; not 0 is inside.
        prediction: Mask of the same shape.
        spacing: Size of an element along each axis, one number or one per axis; 1 by default.

    Returns:
        Two float arrays: from the truth's border to the prediction's, and back. Infinite if the other has no border.

    Raises:
        OptionError: The shapes differ, or the spacing does not fit.
    """
    truth, prediction = np.asarray(truth).astype(bool), np.asarray(prediction).astype(bool)
    if truth.shape != prediction.shape or truth.ndim == 0:
        raise OptionError("prediction", f"the shape of the truth, {truth.shape}", prediction.shape)
    sizes = np.asarray(1.0 if spacing is None else spacing, float)
    if sizes.shape not in ((), (truth.ndim,)) or not (sizes > 0).all():
        raise OptionError("spacing", f"{truth.ndim} numbers above 0, or one", spacing)
    sizes = np.broadcast_to(sizes, truth.ndim)
    # Outside the box of both masks there is nothing, and distances do not depend on it.
    boxes = ndimage.find_objects((truth | prediction).astype(np.uint8))
    if boxes:
        truth, prediction = truth[boxes[0]], prediction[boxes[0]]
    true_border, predicted_border = (
        mask & ~np.asarray(ndimage.binary_erosion(mask), bool) for mask in (truth, prediction)
    )
    return _distances(true_border, predicted_border, sizes), _distances(predicted_border, true_border, sizes)


def _distances(border: np.ndarray, other: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    if not other.any():
        return np.full(border.sum(), np.inf)
    return np.asarray(ndimage.distance_transform_edt(~other, sampling=sizes))[border]


def hausdorff_distance(
    truth: ArrayLike, prediction: ArrayLike, spacing: Spacing = None, percentile: float = 95
) -> float:
    """Returns a percentile of the distances of both surfaces together; 100 is the Hausdorff distance.

    Two empty masks have distance 0, one empty mask infinity. Arguments as in `surface_distances`.

    Source: the definition of MedPy's `hd95`; others take the larger of the two one-sided percentiles.
    """
    return _hausdorff(surface_distances(truth, prediction, spacing), percentile)


def average_surface_distance(truth: ArrayLike, prediction: ArrayLike, spacing: Spacing = None) -> float:
    """Returns the mean of the distances of both surfaces together (ASSD).

    Two empty masks have distance 0, one empty mask infinity. Arguments as in `surface_distances`.

    Source: Heimann et al., "Comparison and Evaluation of Methods for Liver Segmentation From CT Datasets", IEEE TMI
    2009, section II-D; the definition of MedPy's `assd`. Others take the mean of the two one-sided means.
    """
    return _average(surface_distances(truth, prediction, spacing))


def surface_dice(truth: ArrayLike, prediction: ArrayLike, tolerance: float, spacing: Spacing = None) -> float:
    """Returns the fraction of the border elements of both masks that lie within a tolerance of the other border.

    Two empty masks have 1, one empty mask 0. Arguments as in `surface_distances`.

    Args:
        tolerance: The largest distance that counts as agreement, in the units of `spacing`.

    Source: Nikolov et al., "Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy", JMIR 2021;
    every border element counts once here, instead of by its area.
    """
    return _within(surface_distances(truth, prediction, spacing), tolerance)


def surface_scores(
    truth: ArrayLike, prediction: ArrayLike, tolerance: float, spacing: Spacing = None
) -> dict[str, float]:
    """Returns a dict of `hausdorff95`, `average_surface_distance` and `surface_dice`; the distances are measured once.

    Arguments as in `surface_dice`.
    """
    distances = surface_distances(truth, prediction, spacing)
    return {
        "hausdorff95": _hausdorff(distances, 95),
        "average_surface_distance": _average(distances),
        "surface_dice": _within(distances, tolerance),
    }


def _hausdorff(distances: tuple[np.ndarray, np.ndarray], percentile: float) -> float:
    both = np.concatenate(distances)
    if not np.isfinite(both).all():
        return float("inf")
    return float(np.percentile(both, percentile)) if both.size else 0.0


def _average(distances: tuple[np.ndarray, np.ndarray]) -> float:
    both = np.concatenate(distances)
    return float(both.mean()) if both.size else 0.0


def _within(distances: tuple[np.ndarray, np.ndarray], tolerance: float) -> float:
    both = np.concatenate(distances)
    return float((both <= tolerance).mean()) if both.size else 1.0
