"""Segments, objects and calibration of images by hand."""

import itertools

import numpy as np
import pytest
from exact_run import exact_run, row_of, sure_run


def test_segments_between_membranes_by_hand(tmp_path, evaluated):
    cross = np.zeros((11, 11), int)
    cross[4:7] = cross[:, 4:7] = 1
    # Without one arm two of the four segments are one; the others lie where they did, behind thinner membranes.
    broken = np.zeros_like(cross)
    broken[5] = broken[5:, 5] = 1
    scores = evaluated(sure_run(tmp_path, [(broken, cross), (cross, cross)]), "--metrics", "membrane")
    merged, right = (image["membrane"] for image in scores["images"])
    assert set(itertools.chain(*right.values())) == {1}
    # Shares of the truth 1/4 each; of the prediction 1/2, 1/4, 1/4; together 1/4 each.
    assert merged["rand_split"] == pytest.approx([1])
    assert merged["rand_merge"] == pytest.approx([(4 / 16) / (1 / 4 + 2 / 16)])
    assert merged["rand"] == pytest.approx([0.8])
    # Entropies: log 4 of the truth, 1.5 log 2 of the prediction, which the truth determines.
    assert merged["information_split"] == pytest.approx([1])
    assert merged["information_merge"] == pytest.approx([1.5 / 2])
    assert merged["information"] == pytest.approx([2 * 1.5 / 3.5])
    assert scores["membrane"]["mean_rand"] == pytest.approx([0.9])


def test_objects_by_hand(tmp_path, evaluated):
    truth, guess = np.zeros((2, 3, 30), int)
    truth[1, 0:4] = truth[1, 6:10] = truth[1, 12:16] = 1
    # One exact, one with three of its four pixels, one missed, one invented.
    guess[1, 0:4] = guess[1, 6:9] = guess[1, 20:23] = 1
    one = row_of(30, 3, 4)
    scores = evaluated(sure_run(tmp_path, [(guess, truth), (one, one)]), "--metrics", "objects")
    image = scores["images"][0]["objects"]
    assert (image["true_objects"], image["predicted_objects"]) == ([3], [3])
    assert image["f1_50"] == image["f1_70"] == pytest.approx([2 / 3])
    # At exactly the threshold there is no match.
    assert image["f1_75"] == image["f1_95"] == pytest.approx([1 / 3])
    assert image["f1"] == pytest.approx([(5 * 2 / 3 + 5 * 1 / 3) / 10])
    assert image["panoptic_quality"] == pytest.approx([1.75 / 3])
    pooled = scores["objects"]
    assert pooled["true_objects"] == [4]
    assert pooled["f1_50"] == pytest.approx([3 / 4])
    assert pooled["panoptic_quality"] == pytest.approx([2.75 / 4])
    assert pooled["segmentation_quality"] == pytest.approx([2.75 / 3])
    assert pooled["mean_panoptic_quality"] == pytest.approx([(1.75 / 3 + 1) / 2])


def test_calibration_by_hand(tmp_path, evaluated):
    def logit(p):
        return np.log(p) - np.log1p(-np.asarray(p))

    # 0.3 in four pixels with one event, 0.9 in four with two; 0.9 in eight more images' pixels, all events.
    first = np.repeat(logit([0.3, 0.9]), 4).reshape(2, 4, 1), np.array([[1, 0, 0, 0], [1, 1, 0, 0]])[..., None]
    second = np.full((2, 4, 1), logit(0.9)), np.ones((2, 4, 1))
    scores = evaluated(exact_run(tmp_path, [first, second]), "--metrics", "calibration")
    error = [image["calibration"]["expected_calibration_error"] for image in scores["images"]]
    assert error == pytest.approx([(4 * 0.05 + 4 * 0.4) / 8, 0.1])
    # Together 0.9 in twelve pixels with ten events.
    pooled = (4 * abs(0.3 - 1 / 4) + 12 * abs(0.9 - 10 / 12)) / 16
    assert scores["calibration"]["expected_calibration_error"] == pytest.approx(pooled)


def test_ignored_pixels_are_membrane_on_both_sides(tmp_path, evaluated):
    truth = row_of(9)
    truth[0, 4] = 255
    scores = evaluated(sure_run(tmp_path, [(row_of(9), truth)]), "--metrics", "membrane")["images"][0]["membrane"]
    assert set(itertools.chain(*scores.values())) == {1}
