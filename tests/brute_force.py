"""Scores of masks by looking at every pair of pixels or objects."""

import itertools

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree


def border_points(mask, spacing):
    """Where the pixels of a mask lie that have a neighbour outside."""
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis, shift in itertools.product(range(mask.ndim), (1, -1)):
        inside &= np.roll(padded, shift, axis)[(slice(1, -1),) * mask.ndim]
    return np.argwhere(mask & ~inside) * spacing


def surface_scores(truth, guess, spacing, tolerance):
    """Hausdorff, average distance and surface Dice, by looking for the nearest of all border points."""
    points = [border_points(mask, spacing) for mask in (truth, guess)]
    both = np.concatenate([cKDTree(points[1 - i]).query(points[i])[0] for i in (0, 1)])
    return np.percentile(both, 95), both.mean(), (both <= tolerance).mean()


def matched_objects(truth, guess, threshold):
    """Matched IoUs, invented and missed objects, by comparing every pair."""
    (truth, true_count), (guess, guess_count) = ndimage.label(truth), ndimage.label(guess)
    matched = []
    for t, g in itertools.product(range(1, true_count + 1), range(1, guess_count + 1)):
        a, b = truth == t, guess == g
        if (a & b).any() and (iou := (a & b).sum() / (a | b).sum()) > threshold:
            matched.append(iou)
    return matched, guess_count - len(matched), true_count - len(matched)
