"""Thresholds are the best of all, tried one by one on small predictions."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from held_out_images import held_out, random_images, space_of

from maskzoo import metrics
from maskzoo.errors import OptionError
from maskzoo.evaluation import METRICS, SearchSpace
from maskzoo.evaluation.thresholds import threshold_counts
from maskzoo.evaluation.tuning import search
from maskzoo.inference.predictor import thresholds_for

THRESHOLDS = np.arange(1, 1024) / 1024


def logit(p):
    return np.log(p / (1 - p))


def brute_scores(space, images, thresholds):
    """The scores of each class by thresholding the images, and counting with the metrics of `evaluate`."""
    counts = [
        metrics.confusion_counts(
            image.truth(0, image.shape[0]),
            metrics.predicted_labels(image.logits(0, image.shape[0]), space.task, thresholds),
            len(space.class_names),
            space.ignore_index,
            task=space.task,
        )
        for image in images
    ]
    measure = metrics.dice_from_counts if "dice" in space.metric else metrics.iou_from_counts
    return np.mean([measure(c) for c in counts], axis=0) if "mean" in space.metric else measure(sum(counts))


@pytest.mark.parametrize("ignore", [None, 9])
@pytest.mark.parametrize("metric", METRICS)
def test_thresholds_are_the_best_of_all(metric, ignore):
    images = random_images(classes=2, ignore=ignore)
    space = space_of(2, "multilabel", metric=metric, ignore_index=ignore)
    result = search(space, images)
    curves = np.stack([brute_scores(space, images, t) for t in THRESHOLDS], axis=1)
    np.testing.assert_allclose(result.curves[""], curves, atol=1e-12)
    np.testing.assert_allclose(result.at_thresholds, curves.max(axis=1), atol=1e-12)
    np.testing.assert_allclose(result.at_half, curves[:, 511], atol=1e-12)
    chosen = brute_scores(space, images, result.decision.thresholds)
    np.testing.assert_allclose(chosen, curves.max(axis=1), atol=1e-12)
    assert result.decision.gain > 0.005
    assert all(0 < threshold < 0.5 for threshold in result.decision.thresholds)


def test_a_shared_threshold_is_the_best_for_the_mean_of_the_classes():
    images = random_images(classes=2)
    space = space_of(2, "multilabel", shared=True)
    means = [brute_scores(space, images, t).mean() for t in THRESHOLDS]
    result = search(space, images)
    assert len(set(result.decision.thresholds)) == 1
    assert result.decision.score == pytest.approx(max(means), abs=1e-12)


def test_each_group_of_images_gets_its_own_thresholds():
    images = random_images(6)
    images = [
        held_out(image.name, image.truth(0, 99), image.logits(0, 99) + 2 * image.name.startswith("a"))
        for image in images
    ]
    space = space_of(groups="^[ab]")
    result = search(space, images)
    run = SimpleNamespace(thresholds=result.decision.thresholds, decision=result.decision)
    for group in "ab":
        mine = [image for image in images if image.name.startswith(group)]
        best = max(brute_scores(space, mine, t)[0] for t in THRESHOLDS)
        thresholds = thresholds_for(run, f"{group}7")
        assert brute_scores(space, mine, thresholds)[0] == pytest.approx(best, abs=1e-12)
    overall = tuple(result.decision.thresholds)
    assert thresholds_for(run, "c0") == overall
    single = search(space_of(), images)
    assert overall == tuple(single.decision.thresholds)
    assert result.decision.score > single.decision.score


@pytest.mark.parametrize("metric", ["mean_dice", "iou"])
def test_left_out_is_what_the_other_images_would_choose(metric):
    images = random_images(5)
    space = space_of(metric=metric)
    counts = []
    for index, image in enumerate(images):
        others = images[:index] + images[index + 1 :]
        scores = np.array([brute_scores(space, others, t)[0] for t in THRESHOLDS])
        best = min(np.flatnonzero(scores > scores.max() - 1e-12), key=lambda k: abs(THRESHOLDS[k] - 0.5))
        guess = metrics.predicted_labels(image.logits(0, 99), "binary", THRESHOLDS[best])
        counts.append(metrics.confusion_counts(image.truth(0, 99), guess))
    result = search(space, images)
    np.testing.assert_allclose(result.left_out, space.score(np.stack(counts)), atol=1e-12)
    assert result.left_out[0] <= result.at_thresholds[0]


def test_a_monotone_function_of_the_probabilities_gives_the_same_masks():
    images = random_images()
    doubled = [held_out(image.name, image.truth(0, 99), 2 * image.logits(0, 99) + 0.7) for image in images]
    plain, other = (search(space_of(), part).decision for part in (images, doubled))
    # The thresholds lie on a grid, which falls between other pixels.
    assert other.score == pytest.approx(plain.score, abs=2e-3)
    moved = 1 / (1 + np.exp(-(2 * logit(plain.thresholds[0]) + 0.7)))
    assert other.thresholds[0] == pytest.approx(moved, abs=0.03)


def test_empty_and_full_images():
    """Nothing true: the score is 1 as soon as nothing is predicted. Everything true: as soon as everything is."""
    logits = np.linspace(-2, 0.4, 64).reshape(8, 8, 1)
    nothing = held_out("nothing", np.zeros((8, 8, 1), np.uint8), logits)
    found = search(space_of(), [nothing]).decision
    # The least threshold above the largest probability, 0.5987: of all that score 1 the nearest to 0.5.
    assert found.thresholds == (614 / 1024,)
    assert (found.score, found.score_at_half, found.gain_of_thresholds_left_out) == (1, 0, None)
    everything = held_out("everything", np.ones((8, 8, 1), np.uint8), logits)
    # The largest threshold that the least probability, 0.1192, reaches.
    assert search(space_of(), [everything]).decision.thresholds == (122 / 1024,)
    sure = held_out("sure", np.eye(8, dtype=np.uint8)[..., None], 30 * (2 * np.eye(8)[..., None] - 1))
    assert search(space_of(), [sure]).decision.thresholds == (0.5,)
    void = held_out("void", np.full((8, 8, 1), 7, np.uint8), logits)
    assert search(space_of(ignore_index=7), [void]).decision.gain == 0


def test_counts_at_every_threshold_by_hand():
    histogram = np.zeros((1024, 2), int)
    histogram[100], histogram[700] = (3, 1), (2, 5)
    counts = threshold_counts(histogram)
    for threshold, expected in ((1, (6, 5, 0)), (100, (6, 5, 0)), (101, (5, 2, 1)), (700, (5, 2, 1)), (701, (0, 0, 6))):
        assert tuple(counts[threshold - 1]) == expected


def test_mistakes():
    with pytest.raises(OptionError, match="metric: expected one of mean_dice"):
        space_of(metric="accuracy")
    with pytest.raises(ValueError, match="expected q to be found in every name"):
        search(space_of(groups="q"), random_images())
    for options in ({"shared": True}, {"groups": "a"}):
        with pytest.raises(OptionError, match="expected a task with thresholds; received multiclass, which has none"):
            space_of(3, "multiclass", **options)


def test_thresholds_do_not_depend_on_the_order_of_images():
    images = random_images(3)
    found = [search(space_of(), order).decision.thresholds for order in itertools.permutations(images)]
    assert all(thresholds == found[0] for thresholds in found)


@pytest.mark.parametrize("metric", METRICS)
def test_an_image_whose_class_is_unknown_has_no_part_in_its_score(metric):
    images = random_images(5, classes=2, ignore=9)
    unknown = images[3].truth(0, 99).copy()
    unknown[..., 1] = 9
    images[3] = held_out(images[3].name, unknown, images[3].logits(0, 99))
    known = [image for number, image in enumerate(images) if number != 3]
    space = SearchSpace("multilabel", ["class0", "class1"], 9, metric, areas=True)
    found, without = search(space, images), search(space, known)
    for name in ("at_half", "at_thresholds", "decided", "left_out"):
        np.testing.assert_allclose(getattr(found, name)[1], getattr(without, name)[1], atol=1e-12)
        assert getattr(found, name)[0] != pytest.approx(getattr(without, name)[0], abs=1e-6)
    for name in ("thresholds", "holes", "minimum_area"):
        assert getattr(found.decision, name)[1] == getattr(without.decision, name)[1]
    np.testing.assert_allclose(found.curves[""][1], without.curves[""][1], atol=1e-12)


def test_images_of_which_nothing_counts_have_no_part_in_scores_of_a_class_map():
    rng = np.random.default_rng(0)
    images = [held_out(f"{n}", rng.integers(0, 3, (9, 8)), rng.normal(size=(9, 8, 3))) for n in range(3)]
    blank = held_out("blank", np.full((9, 8), 255), rng.normal(size=(9, 8, 3)))
    space = SearchSpace("multiclass", ["a", "b", "c"], 255, areas=True)
    found, without = search(space, [*images, blank]), search(space, images)
    np.testing.assert_allclose(found.at_half, without.at_half, atol=1e-12)
    np.testing.assert_allclose(found.decided, without.decided, atol=1e-12)
    assert found.decision.score == pytest.approx(without.decision.score, abs=1e-12)
