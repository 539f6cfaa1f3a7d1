"""What `decide` finds is the best of all possibilities, tried one by one on small predictions."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from maskzoo import metrics
from maskzoo.evaluation import tuning as decisions
from maskzoo.evaluation.tuning import HeldOut, Question
from maskzoo.inference.run import thresholds_for
from maskzoo.inference.run_files import Decision

THRESHOLDS = np.arange(1, 1024) / 1024


def logit(chances):
    return np.log(chances / (1 - chances))


def held_out(name, truth, logits):
    logits = np.asarray(logits, np.float32)
    return HeldOut(name, logits.shape[:-1], decisions.slicer(np.asarray(truth)), decisions.slicer(logits))


def random_images(number=4, classes=1, shape=(19, 23), seed=0, ignore=None):
    """Predictions that know something of the truth and are not sure enough: thresholds below 0.5 are better."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(number):
        truth = ndimage.gaussian_filter(rng.normal(size=(*shape, classes)), (2, 2, 0)) > rng.normal(0, 0.05, classes)
        logits = 2.5 * truth - 2 - rng.random(classes) + rng.normal(0, 1, truth.shape)
        labels = truth.astype(np.uint8)
        if ignore is not None:
            labels[rng.random(labels.shape) < 0.1] = ignore
        images.append(held_out(f"{'ab'[index % 2]}{index}", labels, logits))
    return images


def brute_scores(question, images, thresholds):
    """The scores of each class by thresholding the images, and counting with the metrics of `evaluate`."""
    counts = [
        metrics.confusion_counts(
            image.truth(0, image.shape[0]),
            metrics.predicted_labels(image.logits(0, image.shape[0]), question.task, thresholds),
            len(question.class_names),
            question.ignore_index,
            task=question.task,
        )
        for image in images
    ]
    measure = metrics.dice_from_counts if "dice" in question.metric else metrics.iou_from_counts
    return np.mean([measure(c) for c in counts], axis=0) if "mean" in question.metric else measure(sum(counts))


def question_of(classes=1, task="binary", **options):
    return Question(task, [f"class{number}" for number in range(classes)], areas=False, **options)


@pytest.mark.parametrize("ignore", [None, 9])
@pytest.mark.parametrize("metric", decisions.METRICS)
def test_thresholds_are_the_best_of_all(metric, ignore):
    images = random_images(classes=2, ignore=ignore)
    question = question_of(2, "multilabel", metric=metric, ignore_index=ignore)
    finding = decisions.search(question, images)
    curves = np.stack([brute_scores(question, images, t) for t in THRESHOLDS], axis=1)
    np.testing.assert_allclose(finding.curves[""], curves, atol=1e-12)
    np.testing.assert_allclose(finding.scores["threshold"], curves.max(axis=1), atol=1e-12)
    np.testing.assert_allclose(finding.scores["half"], curves[:, 511], atol=1e-12)
    chosen = brute_scores(question, images, finding.decision["thresholds"])
    np.testing.assert_allclose(chosen, curves.max(axis=1), atol=1e-12)
    assert finding.decision["gain"] > 0.005
    assert all(0 < threshold < 0.5 for threshold in finding.decision["thresholds"])


def test_a_shared_threshold_is_the_best_for_the_mean_of_the_classes():
    images = random_images(classes=2)
    question = question_of(2, "multilabel", shared=True)
    means = [brute_scores(question, images, t).mean() for t in THRESHOLDS]
    finding = decisions.search(question, images)
    assert len(set(finding.decision["thresholds"])) == 1
    assert finding.decision["score"] == pytest.approx(max(means), abs=1e-12)


def test_each_group_of_images_gets_its_own_thresholds():
    images = random_images(6)
    images = [
        held_out(image.name, image.truth(0, 99), image.logits(0, 99) + 2 * image.name.startswith("a"))
        for image in images
    ]
    question = question_of(pattern="^[ab]")
    finding = decisions.search(question, images)
    decided = Decision.from_mapping(finding.decision)
    run = SimpleNamespace(thresholds=decided.thresholds, decision=decided)
    for group in "ab":
        mine = [image for image in images if image.name.startswith(group)]
        best = max(brute_scores(question, mine, t)[0] for t in THRESHOLDS)
        thresholds = thresholds_for(run, f"{group}7")
        assert brute_scores(question, mine, thresholds)[0] == pytest.approx(best, abs=1e-12)
    overall = tuple(finding.decision["thresholds"])
    assert thresholds_for(run, "c0") == overall
    single = decisions.search(question_of(), images)
    assert overall == tuple(single.decision["thresholds"])
    assert finding.decision["score"] > single.decision["score"]


@pytest.mark.parametrize("metric", ["mean_dice", "iou"])
def test_left_out_is_what_the_other_images_would_choose(metric):
    images = random_images(5)
    question = question_of(metric=metric)
    counts = []
    for index, image in enumerate(images):
        others = images[:index] + images[index + 1 :]
        scores = np.array([brute_scores(question, others, t)[0] for t in THRESHOLDS])
        best = min(np.flatnonzero(scores > scores.max() - 1e-12), key=lambda k: abs(THRESHOLDS[k] - 0.5))
        guess = metrics.predicted_labels(image.logits(0, 99), "binary", THRESHOLDS[best])
        counts.append(metrics.confusion_counts(image.truth(0, 99), guess))
    finding = decisions.search(question, images)
    np.testing.assert_allclose(finding.scores["left_out"], question.score(np.stack(counts)), atol=1e-12)
    assert finding.scores["left_out"][0] <= finding.scores["threshold"][0]


def test_chances_sharpened_by_any_rising_function_decide_the_same_masks():
    images = random_images()
    doubled = [held_out(image.name, image.truth(0, 99), 2 * image.logits(0, 99) + 0.7) for image in images]
    plain, other = (decisions.search(question_of(), part).decision for part in (images, doubled))
    # The thresholds lie on a grid, which falls between other pixels.
    assert other["score"] == pytest.approx(plain["score"], abs=2e-3)
    moved = 1 / (1 + np.exp(-(2 * logit(plain["thresholds"][0]) + 0.7)))
    assert other["thresholds"][0] == pytest.approx(moved, abs=0.03)


def test_empty_and_full_images():
    """Nothing true: the score is 1 as soon as nothing is predicted. Everything true: as soon as everything is."""
    logits = np.linspace(-2, 0.4, 64).reshape(8, 8, 1)
    nothing = held_out("nothing", np.zeros((8, 8, 1), np.uint8), logits)
    found = decisions.search(question_of(), [nothing]).decision
    # The least threshold above the largest probability, 0.5987: of all that score 1 the nearest to 0.5.
    assert found["thresholds"] == [614 / 1024]
    assert (found["score"], found["score_at_half"], found["gain_of_thresholds_left_out"]) == (1, 0, None)
    everything = held_out("everything", np.ones((8, 8, 1), np.uint8), logits)
    # The largest threshold that the least probability, 0.1192, reaches.
    assert decisions.search(question_of(), [everything]).decision["thresholds"] == [122 / 1024]
    sure = held_out("sure", np.eye(8, dtype=np.uint8)[..., None], 30 * (2 * np.eye(8)[..., None] - 1))
    assert decisions.search(question_of(), [sure]).decision["thresholds"] == [0.5]
    void = held_out("void", np.full((8, 8, 1), 7, np.uint8), logits)
    assert decisions.search(question_of(ignore_index=7), [void]).decision["gain"] == 0


def speckled(number=3, seed=0, shape=(40, 44)):
    """Blobs with holes and specks in the prediction that are not in the truth."""
    rng = np.random.default_rng(seed)
    images = []
    for index in range(number):
        truth = ndimage.gaussian_filter(rng.normal(size=shape), 3) > 0.05
        guess = truth ^ (ndimage.gaussian_filter(rng.normal(size=shape), 0.7) > 0.75)
        images.append((f"{index}", truth, guess))
    return images


def brute_area_scores(images, metric, hole, area):
    question = question_of(metric=metric)
    counts = []
    for _, truth, guess in images:
        holes, _ = ndimage.label(ndimage.binary_fill_holes(guess) & ~guess)
        guess = guess | ((holes > 0) & (np.bincount(holes.ravel()) <= hole)[holes])
        objects, _ = ndimage.label(guess)
        guess = guess & (np.bincount(objects.ravel()) >= area)[objects]
        counts.append(metrics.confusion_counts(truth, guess))
    return question.score(np.stack(counts))[0]


@pytest.mark.parametrize("metric", ["mean_dice", "iou"])
@pytest.mark.parametrize("strip", [7, 10_000])
def test_holes_and_minimum_areas_are_the_best_of_all(metric, strip, monkeypatch):
    monkeypatch.setattr("maskzoo.postprocessing.cleaning.STRIP_PIXELS", strip * 44)
    images = speckled()
    question = Question("binary", ["cell"], metric=metric)
    parts = [held_out(name, truth[..., None], np.where(guess, 4.0, -4)[..., None]) for name, truth, guess in images]
    found = decisions.search(question, parts).decision
    assert found["thresholds"] == [0.5]
    by_hole = [brute_area_scores(images, metric, hole, 0) for hole in range(60)]
    assert found["holes"] == [int(np.argmax(by_hole))]
    by_area = [brute_area_scores(images, metric, found["holes"][0], area) for area in range(200)]
    assert found["minimum_area"] == [int(np.argmax(by_area))]
    assert found["holes"][0] > 0
    assert found["minimum_area"][0] > 1
    assert found["score"] == pytest.approx(max(by_area), abs=1e-12)


def test_areas_of_a_class_map():
    """Class 2 inside class 1 is no hole of it; a speck of class 1 is removed; the background is not scored."""
    truth = np.zeros((12, 12), np.uint8)
    truth[1:9, 1:9] = 1
    truth[3:5, 3:5] = 2
    guess = truth.copy()
    guess[6, 6] = 0
    guess[10:, 11] = 1
    images = [held_out("0", truth, 9.0 * (guess[..., None] == np.arange(3)))]
    found = decisions.search(Question("multiclass", ["background", "cell", "core"]), images)
    assert found.decision["holes"] == [0, 1, 0]
    assert found.decision["minimum_area"] == [0, 3, 0]
    np.testing.assert_array_equal(found.scores["decided"], [1, 1])


def test_weights_find_the_members_that_help():
    images = random_images(seed=1, shape=(30, 31))
    rng = np.random.default_rng(5)
    noise = [held_out(image.name, image.truth(0, 99), rng.normal(size=(30, 31, 1))) for image in images]
    other = [held_out(i.name, i.truth(0, 99), i.logits(0, 99) + rng.normal(0, 1, (30, 31, 1))) for i in images]
    question = question_of()
    weights = decisions.search_weights(question, [images, noise])
    assert weights[1] < 0.1
    # Against every mixture of two by hundredths.
    weights = decisions.search_weights(question, [images, other])
    samples = [decisions.sampled(question, pair, 1) for pair in zip(images, other, strict=True)]

    def score(weight):
        parts = [(weight * c[0] + (1 - weight) * c[1], labels) for c, labels in samples]
        return max(
            np.mean([metrics.dice_from_counts(metrics.confusion_counts(y, (p >= t).astype(int))) for p, y in parts])
            for t in THRESHOLDS[::8]
        )

    assert sum(weights) == pytest.approx(1)
    assert score(weights[0]) > max(map(score, np.linspace(0, 1, 21))) - 1e-3


def test_weights_of_a_class_map():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (20, 20))
    right = held_out("0", truth, 3.0 * (truth[..., None] == np.arange(3)))
    wrong = held_out("0", truth, 4.0 * ((truth[..., None] + 1) % 3 == np.arange(3)))
    question = Question("multiclass", ["background", "a", "b"], areas=False)
    assert decisions.search_weights(question, [[wrong], [right]])[1] > 0.5


def test_counts_at_every_threshold_by_hand():
    histogram = np.zeros((1024, 2), int)
    histogram[100], histogram[700] = (3, 1), (2, 5)
    counts = decisions.threshold_counts(histogram)
    for threshold, expected in ((1, (6, 5, 0)), (100, (6, 5, 0)), (101, (5, 2, 1)), (700, (5, 2, 1)), (701, (0, 0, 6))):
        assert tuple(counts[threshold - 1]) == expected


def test_mistakes():
    with pytest.raises(ValueError, match="--metric: expected one of mean_dice"):
        question_of(metric="accuracy")
    with pytest.raises(ValueError, match="group: expected q to be found in every name"):
        decisions.search(question_of(pattern="q"), random_images())


def test_thresholds_do_not_depend_on_the_order_of_images():
    images = random_images(3)
    found = [decisions.search(question_of(), order).decision["thresholds"] for order in itertools.permutations(images)]
    assert all(thresholds == found[0] for thresholds in found)
