"""Synthetic images are the same for the same seed, made in seconds, and too hard for a threshold."""

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from maskzoo.data import DataSpec, load_data, synthetic_cases
from maskzoo.errors import OptionError


def dice(truth, prediction):
    return 2 * (truth & prediction).sum() / (truth.sum() + prediction.sum())


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_no_threshold_separates_the_objects(spatial_dims):
    scores, best = [], []
    for _, image, label in synthetic_cases(spatial_dims):
        image, truth = image[..., 0], label > 0
        assert 0.05 < truth.mean() < 0.5
        scores.append(dice(truth, image > threshold_otsu(image)))
        best.append(max(dice(truth, image > level) for level in range(0, 255, 8)))
    assert np.mean(scores) < 0.5
    assert np.mean(best) < 0.5
    assert max(best) < 0.6


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("classes", [1, 3])
def test_the_same_seed_makes_the_same_images(spatial_dims, classes):
    size = (40, 30, 20)[:spatial_dims]
    first, again, other = (synthetic_cases(spatial_dims, 3, size, seed=seed, classes=classes) for seed in (1, 1, 2))
    for (name, image, label), (name2, image2, label2) in zip(first, again, strict=True):
        assert (image.shape, image.dtype, label.shape, label.dtype) == ((*size, 1), np.uint8, size, np.uint8)
        assert name == name2
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(label, label2)
    assert (first[0][1] != other[0][1]).any()
    assert set(np.unique(np.concatenate([label for _, _, label in first]))) == set(range(classes + 1))


def test_the_first_images_do_not_depend_on_how_many_follow():
    np.testing.assert_array_equal(synthetic_cases(2, 1, 32)[0][1], synthetic_cases(2, 5, 32)[0][1])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_synthetic_data_set_loads(spatial_dims):
    data = load_data(DataSpec(), spatial_dims=spatial_dims)
    assert (data.task, data.channels, data.num_classes) == ("binary", 1, 1)
    assert len(data.train) > len(data.validation) > 0
    assert load_data(DataSpec(), spatial_dims=spatial_dims).fingerprint == data.fingerprint
    several = load_data(DataSpec(task="multiclass", classes=["background", "a", "b"]), spatial_dims=spatial_dims)
    assert several.class_names == ["background", "a", "b"]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"spatial_dims": 4}, "spatial_dims: expected 2 or 3; received 4"),
    ({"spatial_dims": 2, "size": 4}, r"size: expected at least 8 pixels along each of 2 axes; received \(4, 4\)"),
    ({"spatial_dims": 2, "size": (9, 9, 9)}, "size: expected at least 8 pixels along each of 2 axes"),
    ({"spatial_dims": 2, "classes": 0}, "classes: expected 1 to 4; received 0"),
])  # fmt: skip
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        synthetic_cases(**arguments)
