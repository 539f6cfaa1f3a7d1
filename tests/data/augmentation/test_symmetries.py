"""Image and label are flipped and rotated in the same way, by every symmetry of a square or a cube."""

import numpy as np
import pytest

from maskzoo.data.augmentation.symmetries import random_symmetry


@pytest.mark.parametrize("shape", [(12, 12), (12, 9), (8, 8, 8), (8, 8, 6)])
def test_symmetries_turn_image_and_label_in_the_same_way(shape):
    rng = np.random.default_rng(0)
    label = np.arange(np.prod(shape)).reshape(shape)
    image = np.pad(label, 2, constant_values=-1)[..., None]
    seen = set()
    for _ in range(600):
        turned, turned_label = random_symmetry(image, label, rng)
        inner = tuple(slice(2, -2) for _ in shape)
        np.testing.assert_array_equal(turned[inner][..., 0], turned_label)
        assert turned_label.shape == shape
        seen.add(turned_label.tobytes())
    # The symmetries of a square, a rectangle, a cube and a square prism.
    assert len(seen) == {(12, 12): 8, (12, 9): 4, (8, 8, 8): 48, (8, 8, 6): 16}[shape]


def test_symmetries_keep_the_multilabel_axis():
    label = np.random.default_rng(0).integers(0, 2, (8, 8, 5))
    image = label.astype(np.float32)
    for seed in range(20):
        turned, turned_label = random_symmetry(image, label, np.random.default_rng(seed))
        np.testing.assert_array_equal(turned, turned_label)
