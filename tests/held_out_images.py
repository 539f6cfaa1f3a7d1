"""Predictions of images that a model has not seen, made up."""

import numpy as np
from scipy import ndimage

from maskzoo.evaluation import SearchSpace
from maskzoo.evaluation.held_out import HeldOutImage, rows_of_array


def held_out(name, truth, logits):
    """An image as a model predicts it, from arrays."""
    logits = np.asarray(logits, np.float32)
    return HeldOutImage(name, logits.shape[:-1], rows_of_array(np.asarray(truth)), rows_of_array(logits))


def random_images(number=4, classes=1, shape=(19, 23), seed=0, ignore=None):
    """Predictions that know something of the truth and are not sure enough: thresholds below 0.5 are better."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(number):
        truth = ndimage.gaussian_filter(rng.normal(size=(*shape, classes)), (2, 2, 0)) > rng.normal(0, 0.05, classes)
        logits = 2.5 * truth - 2 - rng.random(classes) + rng.normal(0, 1, truth.shape)
        labels = truth.astype(np.uint8)
        if ignore is not None:
            labels[rng.random(labels.shape) < 0.1] = ignore
        images.append(held_out(f"{'ab'[index % 2]}{index}", labels, logits))
    return images


def space_of(classes=1, task="binary", **options):
    """A search of thresholds alone."""
    return SearchSpace(task, [f"class{number}" for number in range(classes)], areas=False, **options)
