"""Two sets of images differ by what separates them, and not where nothing does."""

import cv2
import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from maskzoo import data
from maskzoo.data.inspection.shift import auc_interval, compare_images, logits
from maskzoo.errors import ImageError, OptionError


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """The interval of these small sets settles with fewer resamples than it takes by default."""
    monkeypatch.setattr("maskzoo.data.inspection.shift.RESAMPLES", 100)


def pictures(number, seed, brighter=0, blur=0, channels=3, shape=(90, 100)):
    """Images of cloudy noise, each of a brightness and contrast of its own."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        image = cv2.GaussianBlur(rng.normal(0, 1, (*shape, channels)), (0, 0), rng.uniform(1, 2)).reshape(
            *shape, channels
        )
        image = rng.uniform(90, 130) + brighter + rng.uniform(60, 100) * image + rng.normal(0, 4, image.shape)
        image = cv2.GaussianBlur(image, (0, 0), blur).reshape(*shape, channels) if blur else image
        made.append(np.clip(image, 0, 255).astype(np.uint8))
    return made


def sources(images, spatial_dims=2):
    return [data.open_source(image, spatial_dims=spatial_dims) for image in images]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_sets_of_one_kind_do_not_differ(seed):
    report = compare_images(sources(pictures(30, seed)), sources(pictures(20, seed + 100)), seed=seed).report
    low, high = report["interval"]
    assert low <= 0.5 <= high
    assert 0.3 < report["auc"] < 0.7
    assert report["images"] == [30, 20]


def test_a_set_does_not_differ_from_itself():
    same = sources(pictures(20, 0))
    report = compare_images(same, same).report
    assert report["auc"] == pytest.approx(0.5, abs=0.02)


def test_brighter_images_differ_in_brightness():
    shift = compare_images(sources(pictures(15, 0)), sources(pictures(15, 1, brighter=60)))
    assert shift.report["auc"] > 0.97
    assert shift.report["interval"][0] > 0.9
    assert any(what in shift.report["features"][0]["name"] for what in ("mean", "median", "5 %"))
    assert shift.report["features"][0]["deviations"] > 2
    first, second = shift.windows(False), shift.windows(True)
    assert (len(first), len(second)) == (6, 6)
    assert np.mean(second) > np.mean(first) + 30


def test_blurred_images_differ_in_edges_and_waves():
    shift = compare_images(sources(pictures(12, 0)), sources(pictures(12, 1, blur=2)))
    assert shift.report["auc"] > 0.97
    names = [row["name"] for row in shift.report["features"][:3]]
    assert all(name == "edges" or name.startswith("waves") for name in names)


def test_volumes_and_several_channels():
    rng = np.random.default_rng(0)
    one = sources([rng.normal(0, 1, (20, 24, 22)).astype(np.float32) for _ in range(6)], spatial_dims=3)
    other = sources([rng.normal(2, 1, (20, 24, 22)).astype(np.float32) for _ in range(6)], spatial_dims=3)
    assert compare_images(one, other).report["auc"] > 0.95
    many = sources(pictures(4, 0, channels=2))
    assert [row["name"] for row in compare_images(many, many).report["features"] if "channel 2" in row["name"]]


def test_the_area_is_that_of_mann_and_whitney():
    shift = compare_images(sources(pictures(6, 0)), sources(pictures(5, 1, brighter=10)))
    second, first = shift.scores[shift.second], shift.scores[~shift.second]
    assert shift.report["auc"] == pytest.approx(mannwhitneyu(second, first).statistic / (len(second) * len(first)))


def test_the_interval_is_that_of_images_drawn_with_replacement():
    # Two images in each set, all windows of an image alike: every resampling draws 1 of 4 x 4 pairs of images.
    scores = np.array([0, 0, 2, 2, 1, 1, 3, 3.0])
    of_second = np.array([False] * 4 + [True] * 4)
    images = np.array([(0, 0)] * 2 + [(0, 1)] * 2 + [(1, 0)] * 2 + [(1, 1)] * 2)
    low, high = auc_interval(scores, of_second, images, seed=0)
    # The worst draws the images of score 2 and 1 twice each, the best those of 0 and anything.
    assert (low, high) == (0, 1)
    one = auc_interval(scores, of_second, np.array([(0, 0)] * 4 + [(1, 0)] * 4), seed=0)
    assert one == (0.75, 0.75)


def test_the_regression_is_that_of_newtons_steps():
    rng = np.random.default_rng(0)
    features = rng.normal(0, 1, (200, 4))
    owners = features @ [1, -1, 0.5, 0] + rng.normal(0, 1, 200) > 0.5
    x = np.column_stack([np.ones(200), (features - features.mean(axis=0)) / features.std(axis=0)])
    weights = np.where(owners, 100 / owners.sum(), 100 / (~owners).sum())
    penalty, found = np.diag([0, 1, 1, 1, 1.0]), np.zeros(5)
    for _ in range(30):
        p = 1 / (1 + np.exp(-(x @ found)))
        hessian = x.T @ (x * (weights * p * (1 - p))[:, None]) + penalty
        found = found - np.linalg.solve(hessian, x.T @ (weights * (p - owners)) + penalty @ found)
    np.testing.assert_allclose(logits(features, owners, features), x @ found, atol=2e-3)


def test_sets_that_cannot_be_compared_are_refused():
    with pytest.raises(OptionError, match="against: expected at least 2 images in each set; received 1 and 3"):
        compare_images(sources(pictures(1, 0)), sources(pictures(3, 0)))
    with pytest.raises(ImageError, match="expected 2 spatial axes and 3 channels as in array; received 2 and 1"):
        compare_images(sources(pictures(2, 0)), sources(pictures(2, 0, channels=1)))
    with pytest.raises(ImageError, match="expected 2 spatial axes and 1 channel as in array; received 2 and 3"):
        compare_images(sources(pictures(2, 0, channels=1)), sources(pictures(2, 0)))
