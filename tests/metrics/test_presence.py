"""Presence of foreground against counting pairs of images."""

import numpy as np
import pytest

from maskzoo.errors import OptionError
from maskzoo.metrics import presence


def test_presence_equals_counting_pairs():
    rng = np.random.default_rng(0)
    truth, score = rng.integers(0, 3, 40), rng.integers(0, 9, 40)
    pairs = [(s > t) + 0.5 * (s == t) for s in score[truth > 0] for t in score[truth == 0]]
    scores = presence.presence_scores(truth, score, minimum=4)
    assert scores["auc"] == pytest.approx(np.mean(pairs))
    assert scores["precision"] == pytest.approx(np.mean(truth[score >= 4] > 0))
    assert scores["recall"] == pytest.approx(np.mean(score[truth > 0] >= 4))


def test_presence_when_all_images_are_of_one_kind():
    assert np.isnan(presence.presence_scores([0, 0], [0, 3])["auc"])
    assert presence.presence_scores([0, 0], [0, 0])["precision"] == 1
    assert presence.presence_scores([0, 0], [0, 3])["recall"] == 0
    assert presence.presence_scores([5, 5], [0, 0])["precision"] == 0
    with pytest.raises(OptionError, match="predicted_pixels: expected a finite sum per image, as `truth_pixels` has"):
        presence.presence_scores([], [])
