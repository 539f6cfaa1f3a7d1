"""Masks with soft edges are known by their values, and read as what is nearer to black or white."""

import cv2
import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.labels.soft_masks import SoftMaskSource, are_soft_masks

MASK = np.zeros((40, 50), np.uint8)
cv2.circle(MASK, (20, 18), 11, 255, -1)


def smoothed(mask, sigma=1.0):
    return cv2.GaussianBlur(mask, (0, 0), sigma)


def as_jpeg(mask, quality=75):
    return cv2.imdecode(cv2.imencode(".jpg", mask, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("soften", [smoothed, as_jpeg, lambda mask: as_jpeg(np.dstack([mask] * 3))])
def test_soft_edges_are_cut_at_the_middle(soften):
    label = open_source(soften(MASK), spatial_dims=2, palette="index")
    hard = open_source(MASK, palette="index")
    assert are_soft_masks([hard, label])
    read = SoftMaskSource(label).read(Window((0, 0), MASK.shape))
    assert read.dtype == np.uint8
    assert np.mean(read[..., 0] == (MASK > 0)) > 0.995


def discs(values):
    label = np.zeros((60, 100), np.uint8)
    for number, value in enumerate(values):
        cv2.circle(label, (8 + 18 * (number % 5), 8 + 14 * (number // 5)), 5, int(value), -1)
    return label


@pytest.mark.parametrize(
    "label",
    [
        MASK,
        MASK // 255,
        discs([128] * 5 + [255] * 5),
        discs(range(1, 16)),
        discs(range(236, 251)),
        discs(range(10, 250, 16)),
        np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8),
        MASK.astype(np.uint16),
    ],
    ids=["0 and 255", "0 and 1", "two greys", "ids", "high ids", "greys of classes", "noise", "16 bits"],
)
def test_other_labels_are_none(label):
    assert not are_soft_masks([open_source(label, palette="index")])
