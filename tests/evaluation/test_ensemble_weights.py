"""Weights against every mixture of two."""

import numpy as np
import pytest
from held_out_images import held_out, random_images, space_of

from maskzoo import metrics
from maskzoo.evaluation import SearchSpace
from maskzoo.evaluation.ensemble_weights import sample_pixels, search_weights, weighted_score

THRESHOLDS = np.arange(1, 1024) / 1024


def test_weights_find_the_members_that_help():
    images = random_images(seed=1, shape=(30, 31))
    rng = np.random.default_rng(5)
    noise = [held_out(image.name, image.truth(0, 99), rng.normal(size=(30, 31, 1))) for image in images]
    other = [held_out(i.name, i.truth(0, 99), i.logits(0, 99) + rng.normal(0, 1, (30, 31, 1))) for i in images]
    space = space_of()
    weights = search_weights(space, [images, noise])
    assert weights[1] < 0.1
    # Against every mixture of two by hundredths.
    weights = search_weights(space, [images, other])
    samples = [sample_pixels(space, pair, 1) for pair in zip(images, other, strict=True)]

    def score(weight):
        parts = [(weight * c[0] + (1 - weight) * c[1], labels) for c, labels in samples]
        return max(
            np.mean([metrics.dice_from_counts(metrics.confusion_counts(y, (p >= t).astype(int))) for p, y in parts])
            for t in THRESHOLDS[::8]
        )

    assert sum(weights) == pytest.approx(1)
    simple = [weighted_score(space, samples, start) for start in ((1, 0), (0.5, 0.5), (0, 1))]
    assert weighted_score(space, samples, weights) > max(simple) + 1e-4
    assert score(weights[0]) > max(map(score, np.linspace(0, 1, 21))) - 1e-3


def test_weights_of_a_class_map():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (20, 20))
    right = held_out("0", truth, 3.0 * (truth[..., None] == np.arange(3)))
    wrong = held_out("0", truth, 4.0 * ((truth[..., None] + 1) % 3 == np.arange(3)))
    space = SearchSpace("multiclass", ["background", "a", "b"], areas=False)
    assert search_weights(space, [[wrong], [right]])[1] > 0.5
