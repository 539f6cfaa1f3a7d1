"""Image and label are flipped and rotated in the same way, by every symmetry of a square or a cube."""

import numpy as np
import pytest

from maskzoo.data.augmentation.symmetries import groups_of, random_symmetry, slice_axis


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


@pytest.mark.parametrize(
    ("spacing", "count"),
    [((1, 1, 1), 48), ((0.5, 0.5, 3), 16), ((3, 0.5, 0.501), 16), ((0.5, 0.8, 3), 8), (None, 48)],
)
def test_axes_are_exchanged_only_where_pixels_are_as_large(spacing, count):
    label = np.arange(6**3).reshape(6, 6, 6)
    rng = np.random.default_rng(0)
    seen = {random_symmetry(label[..., None], label, rng, spacing)[1].tobytes() for _ in range(900)}
    assert len(seen) == count


def test_maps_with_pixels_of_two_lengths_are_only_mirrored():
    label = np.arange(16).reshape(4, 4)
    rng = np.random.default_rng(0)
    assert len({random_symmetry(label[..., None], label, rng, (10, 20))[1].tobytes() for _ in range(200)}) == 4


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        (None, 2),
        ((1, 1, 1), 2),
        ((0.5, 0.5, 3), 2),
        ((3, 0.5, 0.5), 0),
        ((0.5, 3, 0.5), 1),
        ((3, 3, 0.5), 2),
        ((1, 2, 3), 2),
    ],
)
def test_slices_lie_across_the_plane_of_equal_pixels(spacing, axis):
    assert slice_axis(spacing) == axis


def test_equal_spacings_may_be_rounded_differently():
    assert groups_of((0.5, 0.5004, 3), 3) == [0, 0, 2]
