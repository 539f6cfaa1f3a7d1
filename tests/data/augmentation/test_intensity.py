"""Contrast, brightness and noise change relative to the image's own deviation."""

import numpy as np
import pytest

from maskzoo.data.augmentation.intensity import add_noise, jitter


def test_jitter_changes_contrast_and_brightness_only():
    image = np.random.default_rng(0).normal(5, 2, (20, 20, 3)).astype(np.float32)
    changed = jitter(image, np.random.default_rng(1))
    assert changed.dtype == np.float32
    slope, _ = np.polyfit(image.ravel(), changed.ravel(), 1)
    assert np.corrcoef(image.ravel(), changed.ravel())[0, 1] > 0.99999
    scale, shift = np.random.default_rng(1).normal(0, 0.1, 2)
    assert slope == pytest.approx(1 + scale, rel=1e-4)
    assert changed.mean() - image.mean() == pytest.approx(shift * image.std(), rel=1e-3)


def test_bytes_stay_bytes():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 1), np.uint8)
    for seed in range(5):
        for change in (jitter, add_noise):
            changed = change(image, np.random.default_rng(seed), 0.5)
            assert changed.dtype == np.uint8
            # Values beyond 0 and 255 are cut off, not wrapped around.
            assert np.corrcoef(image.ravel().astype(float), changed.ravel().astype(float))[0, 1] > 0.7


def test_noise_is_relative_to_the_image():
    image = np.random.default_rng(0).normal(50, 10, (64, 64, 1)).astype(np.float32)
    added = np.concatenate([add_noise(image, np.random.default_rng(seed), 0.2) - image for seed in range(40)])
    assert 0.5 < added.std() < 2
    assert add_noise(np.full((4, 4, 1), 255, np.uint8), np.random.default_rng(0)).max() == 255
