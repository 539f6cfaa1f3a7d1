"""Boxes and quarters lie where they should; impossible mixtures are refused."""

import numpy as np
import pytest

from maskzoo.data.augmentation.mixing import check_mix, cutmix_box, mix_in, mosaic_quarters
from maskzoo.errors import OptionError

HALO = ((1, 2), (2, 0))


def test_boxes_cover_half_of_the_window_where_they_are_not_cut():
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(2000):
        label, image = cutmix_box((40, 40), HALO, rng)
        for part, shown, (before, _) in zip(label, image, HALO, strict=True):
            assert 0 <= part.start <= part.stop <= 40
            assert (shown.start, shown.stop) == (part.start + before, part.stop + before)
        areas.append(np.prod([(part.stop - part.start) / 40 for part in label]))
    # A box of uniform area a and side s = sqrt(a) about a uniform centre keeps (1 - s / 4) of each side on average:
    # the integral of 2 s * s^2 * (1 - s / 4)^2 over s from 0 to 1 is 1/2 - 1/5 + 1/48.
    assert np.mean(areas) == pytest.approx(1 / 2 - 1 / 5 + 1 / 48, abs=0.02)


def test_quarters_and_the_rest_are_the_whole_window_once():
    rng = np.random.default_rng(0)
    for _ in range(50):
        label, image = np.zeros((10, 12), int), np.zeros((13, 14), int)
        for label_part, image_part in mosaic_quarters((10, 12), HALO, rng):
            label[label_part] += 1
            image[image_part] += 1
        assert max(label.max(), image.max()) <= 1
        rows, columns = (np.flatnonzero(label.min(axis=axis) == 0) for axis in (1, 0))
        assert label[: len(rows), : len(columns)].sum() == 0
        assert (label == 0).sum() == len(rows) * len(columns)
        np.testing.assert_array_equal(label, image[1:-2, 2:])


def test_nothing_is_mixed_by_a_probability_of_0():
    image, label = np.zeros((8, 8, 1)), np.zeros((8, 8, 1))
    for seed in range(10):
        mix_in(pytest.fail, image, label, ((0, 0),) * 2, {"cutmix": 0.0}, np.random.default_rng(seed))


@pytest.mark.parametrize(("probabilities", "spatial_dims", "message"), [
    ({"cutmix": 1.5}, 2, "a probability between 0 and 1 for cutmix; received 1.5"),
    ({"cutmix": "often"}, 2, "a probability between 0 and 1 for cutmix; received often"),
    ({"cutmix": 0.7, "mosaic": 0.7}, 2, "probabilities that sum to at most 1; received"),
    ({"mixup": 0.1}, 2, "cutmix, mosaic.*; received mixup"),
    ({"mosaic": 0.1}, 3, "cutmix for volumes; received mosaic"),
])  # fmt: skip
def test_impossible_mixtures_are_refused(probabilities, spatial_dims, message):
    with pytest.raises(OptionError, match=f"mix_probabilities: expected .*{message}"):
        check_mix(probabilities, spatial_dims)


def test_none_is_never():
    assert check_mix(None) == {}
