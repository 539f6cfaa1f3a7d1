"""`evaluate` by hand, by brute force and by independent implementations: runs whose logits are the image itself."""

import csv
import dataclasses
import json
import math
import tracemalloc

import numpy as np
import pytest
import rasterio
from brute_force import matched_objects, surface_scores
from exact_run import NO, YES, exact_run, row_of, sure_run
from run_verb import run
from scipy import ndimage
from skimage.metrics import contingency_table

from maskzoo import data, evaluation, inference, metrics
from maskzoo.data.images.source import Frame
from maskzoo.errors import OptionError

ALL = "overlap,presence,calibration,surface,membrane,objects"
NORTH_UP = rasterio.Affine(0.5, 0, 733601, 0, -0.25, 3725139)
TASKS = [("binary", 1), ("multilabel", 3), ("multiclass", 3)]
KINDS = {"dice": "Dice", "iou": "IoU", "precision": "Precision", "recall": "Recall"}


def read_rows(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_overlap_presence_and_csv_by_hand(tmp_path, evaluated):
    # Rightly empty; half found, half invented; wrongly filled; 2 of 3 found.
    pairs = [
        (row_of(8), row_of(8)),
        (row_of(8, 0, 1), row_of(8, 1, 2)),
        (row_of(8, 0, 1, 2), row_of(8)),
        (row_of(8, 4, 5), row_of(8, 4, 5, 6)),
    ]
    folder = sure_run(tmp_path, pairs)
    scores = evaluated(folder, "--metrics", "presence", "--csv", tmp_path / "scores.csv")
    assert scores["classes"] == ["cell"]
    assert [image["dice"] for image in scores["images"]] == [[1], [0.5], [0], [0.8]]
    assert [image["precision"] for image in scores["images"]] == [[1], [0.5], [0], [1]]
    assert [image["recall"] for image in scores["images"]] == [[1], [0.5], [0], pytest.approx([2 / 3])]
    # Together: 3 found, 4 invented, 2 missed.
    assert scores["dice"] == pytest.approx([6 / 12])
    assert scores["iou"] == pytest.approx([3 / 9])
    assert scores["precision"] == pytest.approx([3 / 7])
    assert scores["recall"] == pytest.approx([3 / 5])
    assert scores["mean_dice"] == pytest.approx([2.3 / 4])
    assert scores["competition_dice"] == pytest.approx(2.3 / 4)
    # Present with 2 and 2 predicted pixels, absent with 0 and 3: of 4 pairs 2 are in the right order.
    assert scores["presence"] == {"auc": [0.5], "precision": pytest.approx([2 / 3]), "recall": [1]}
    rows = read_rows(tmp_path / "scores.csv")
    assert [row["name"] for row in rows] == ["2", "1", "3", "0"]
    assert [float(row["dice"]) for row in rows] == [0, 0.5, 0.8, 1]
    assert [int(row["true_pixels"]) for row in rows] == [0, 2, 3, 0]
    assert [int(row["predicted_pixels"]) for row in rows] == [3, 2, 2, 0]


def test_the_keys_of_scores_are_those_that_train_writes(tmp_path, evaluated):
    folder = sure_run(tmp_path, [(row_of(8, 1), row_of(8, 1))])
    scores = evaluated(folder)
    trained = inference.load_run(folder)
    found = evaluation.evaluate(trained, data.labelled_cases(trained.data.as_mapping()))
    found.write(tmp_path / "scores.json")
    assert scores == json.loads((tmp_path / "scores.json").read_text())
    assert scores.keys() >= {"classes", "dice", "iou", "mean_dice", "images"}
    assert scores["images"][0].keys() >= {"name", "dice"}
    # Nothing that was not asked for.
    assert not scores.keys() & set(ALL.split(","))


def test_classes_of_a_multilabel_task_may_overlap_and_be_as_many_as_columns(tmp_path, evaluated):
    scheme = data.LabelScheme("multilabel", ("a", "b"), ((0,), (1,)), bands=(0, 1))
    label = np.array([[[1, 1], [1, 0]], [[0, 0], [0, 1]]])
    logits = np.where(np.array([[[1, 1], [0, 0]], [[0, 1], [0, 1]]]), YES, NO)
    folder = exact_run(tmp_path, [(logits, label)], scheme)
    scores = evaluated(folder, "--metrics", "presence,objects", "--csv", tmp_path / "s.csv")
    # a: one of two found; b: two found, one invented.
    assert scores["dice"] == pytest.approx([2 / 3, 4 / 5])
    assert scores["precision"] == pytest.approx([1, 2 / 3])
    assert scores["recall"] == pytest.approx([1 / 2, 1])
    assert scores["images"][0]["presence"] == {"true_pixels": [2, 2], "predicted_pixels": [1, 3]}
    # a: one part on both sides with IoU 1/2, which is no match; b: the two true parts touch at a corner only.
    assert scores["objects"]["true_objects"] == [1, 2]
    assert scores["objects"]["predicted_objects"] == [1, 1]
    assert scores["objects"]["f1_50"] == [0, 0]
    (row,) = read_rows(tmp_path / "s.csv")
    assert float(row["dice"]) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert [float(row[f"dice_{name}"]) for name in "ab"] == pytest.approx([2 / 3, 4 / 5])


def test_a_class_that_is_unknown_in_an_image_is_left_out(tmp_path):
    scheme = data.LabelScheme("multilabel", ("a", "b"), ((0,), (1,)), bands=(0, 1))
    label = np.array([[[1, 1], [1, 0]], [[0, 0], [0, 1]]])
    logits = np.where(np.array([[[1, 1], [0, 0]], [[0, 1], [0, 1]]]), YES, NO)
    trained = inference.load_run(exact_run(tmp_path, [(logits, label)] * 2, scheme))
    known = data.labelled_cases(trained.data.as_mapping())[0]
    unknown = label.copy()
    unknown[..., 1] = -1
    reader = dataclasses.replace(scheme, ignore=(-1,)).reader(data.open_source(unknown, spatial_dims=2))
    partly = dataclasses.replace(known, name="partly", read_label=reader, ignore_index=255, unknown=(1,))
    scores = evaluation.evaluate(trained, [partly, known], measures=ALL.split(","))
    first = scores.images[0]
    assert first.dice == [pytest.approx(2 / 3), pytest.approx(math.nan, nan_ok=True)]
    assert np.isnan(first.measures["surface"]["surface_dice"][1])
    assert len(first.measures["surface"]["spacing"]) == 2
    # The mean of `b` is that of the image that is known.
    assert scores.mean_dice == pytest.approx([2 / 3, 4 / 5])
    assert scores.competition_dice == pytest.approx((2 / 3 + 2 / 3 + 4 / 5) / 3)
    assert scores.measures["surface"]["mean_surface_dice"][1] == scores.images[1].measures["surface"]["surface_dice"][1]
    assert scores.measures["surface"]["one_sided"] == [0, 0]


def test_the_background_of_a_multiclass_task_is_left_out(tmp_path, evaluated):
    scheme = data.LabelScheme("multiclass", ("ground", "a", "b"), ((0,), (1,), (2,)), ignore=(9,))
    label = np.array([[0, 1, 1], [2, 2, 9], [0, 0, 0]])
    guess = np.array([[0, 1, 2], [2, 0, 1], [0, 0, 0]])
    folder = exact_run(tmp_path, [(8.0 * np.eye(3)[guess], label[..., None])], scheme)
    scores = evaluated(folder, "--metrics", ALL)
    assert scores["classes"] == ["a", "b"]
    assert scores["dice"] == pytest.approx([2 / 3, 1 / 2])
    assert scores["competition_dice"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert all(len(values) == 2 for values in scores["objects"].values())
    # 6 of the 8 pixels that count are right, all with the same probability.
    sure = 1 / (1 + 2 * np.exp(-8))
    assert scores["calibration"]["expected_calibration_error"] == pytest.approx(sure - 6 / 8)


def test_a_class_on_one_side_only_is_infinitely_far_and_counted_apart(tmp_path, evaluated, capsys):
    pairs = [(row_of(9, 3), row_of(9, 5)), (row_of(9), row_of(9, 5)), (row_of(9), row_of(9))]
    folder = sure_run(tmp_path, pairs)
    scores = evaluated(folder, "--metrics", "surface", "--csv", tmp_path / "s.csv")
    assert [image["surface"]["hausdorff95"] for image in scores["images"]] == [[2], [None], [0]]
    # Two pixels apart, on one side only, empty on both.
    assert scores["surface"]["mean_hausdorff95"] == [1]
    assert scores["surface"]["one_sided"] == [1]
    assert scores["surface"]["mean_surface_dice"] == pytest.approx([1 / 3])
    assert {row["name"]: float(row["hausdorff95"]) for row in read_rows(tmp_path / "s.csv")} == {
        "0": 2,
        "1": np.inf,
        "2": 0,
    }
    assert run("evaluate", folder, "--metrics", "surface") == 0
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert table[0] == "surface, mean over images; distances in px, tolerance 1"
    assert table[2].split() == ["cell", "1.0000", "1.0000", "0.3333", "1"]
    (tmp_path / "never").mkdir()
    never = sure_run(tmp_path / "never", pairs[1:2])
    assert evaluated(never, "--metrics", "surface")["surface"]["mean_hausdorff95"] == [None]
    assert run("evaluate", never, "--metrics", "surface") == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["cell", "-", "-", "0.0000", "1"]


def random_pairs(task, rng, classes=3, shape=(40, 37), count=3):
    """Smooth logits and labels that resemble them, one pixel in ten without a label."""
    pairs = []
    for _ in range(count):
        logits = 3 * ndimage.gaussian_filter(rng.normal(size=(*shape, classes)), (1.5, 1.5, 0)) * 4
        other = logits + 2 * ndimage.gaussian_filter(rng.normal(size=logits.shape), (1, 1, 0))
        label = other.argmax(-1)[..., None] if task == "multiclass" else (other > 0).astype(int)
        # Where classes have bands of their own, each is without a label elsewhere.
        label[rng.random(label.shape) < 0.1] = 9
        pairs.append((logits, label))
    return pairs


def scheme_of(task, classes):
    names = tuple("abc"[:classes])
    values = tuple((value,) for value in range(classes)) if task == "multiclass" else ((0,), (1,))
    bands = tuple(range(classes)) if task == "multilabel" else None
    return data.LabelScheme(task, names, values, ignore=(9,), bands=bands)


@pytest.mark.parametrize(("task", "classes"), TASKS)
def test_ignored_pixels_and_tiles_change_nothing(tmp_path, evaluated, task, classes):
    rng = np.random.default_rng(0)
    pairs, scheme = random_pairs(task, rng, classes), scheme_of(task, classes)
    changed = [(np.where(label == 9, rng.normal(scale=5, size=logits.shape), logits), label) for logits, label in pairs]
    first = evaluated(exact_run(tmp_path / "first", pairs, scheme), "--metrics", ALL)
    other = exact_run(tmp_path / "other", changed, scheme)
    assert evaluated(other, "--metrics", ALL) == first
    tiled = evaluated(other, "--metrics", ALL, "--tile", 16)
    # The sums of probabilities in the calibration are added up in another order.
    calibration = first.pop("calibration"), tiled.pop("calibration")
    assert calibration[0] == pytest.approx(calibration[1])
    for image in first["images"] + tiled["images"]:
        del image["calibration"]
    assert tiled == first
    assert 0.3 < min(first["dice"]) <= max(first["dice"]) < 0.98


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize(("task", "classes"), TASKS)
def test_streaming_metrics_over_batches_equal_the_command(tmp_path, evaluated, task, classes, batch):
    """12 windows: with batches of 7 the last is filled up with samples that do not count."""
    pairs = random_pairs(task, np.random.default_rng(1), classes, shape=(32, 32), count=3)
    folder = exact_run(tmp_path, pairs, scheme_of(task, classes))
    trained = inference.load_run(folder)
    cases = data.labelled_cases(trained.data.as_mapping())
    scores = evaluated(folder)
    options = {"task": task, "num_classes": classes, "ignore_index": 255}
    streaming = {name: getattr(metrics, kind)(**options) for name, kind in KINDS.items()}
    batches = data.WindowDataset(cases, 16, batch, shuffle=False)
    for index in range(len(batches)):
        images, labels, weights = batches[index]
        for metric in streaming.values():
            metric.update_state(labels, trained.model(images), sample_weight=weights)
    for name, metric in streaming.items():
        np.testing.assert_allclose(scores[name], metric.per_class()[-len(scores["classes"]) :], rtol=1e-6)
        assert float(metric.result()) == pytest.approx(np.mean(scores[name]), rel=1e-6)


def test_scores_are_those_of_what_predict_writes(tmp_path, evaluated):
    """All images through `predict`; what it wrote, scored by other means, is what `evaluate` says."""
    pairs = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        field = ndimage.gaussian_filter(rng.normal(size=(60, 70)), 2.5)
        truth = field + 0.4 * ndimage.gaussian_filter(rng.normal(size=(60, 70)), 1.5) > 0.02
        pairs.append((25 * field[..., None], truth[..., None]))
    folder = exact_run(tmp_path, pairs, suffix=".tif", crs="EPSG:32616", transform=NORTH_UP)
    images, labels = (tmp_path / "data" / name for name in ("images", "labels"))
    assert run("predict", folder, images, tmp_path / "masks") == 0
    assert run("predict", folder, images, tmp_path / "p", "--probabilities", "float32") == 0
    scores = evaluated(folder, "--metrics", ALL, "--tile", 32, "--csv", tmp_path / "s.csv")
    tp, fp, fn, hits, wrong, frequencies = 0, 0, 0, 0, 0, []
    for image in scores["images"]:
        truth, guess, p = (
            data.open_source(place / f"{image['name']}.tif").read(data.Window((0, 0), (60, 70)))[..., 0]
            for place in (labels, tmp_path / "masks", tmp_path / "p")
        )
        truth, guess = truth > 0, guess > 0
        assert image["dice"] == pytest.approx([2 * (truth & guess).sum() / (truth.sum() + guess.sum())])
        tp, fp, fn = tp + (truth & guess).sum(), fp + (guess & ~truth).sum(), fn + (truth & ~guess).sum()
        distances = surface_scores(truth, guess, (0.25, 0.5), 1)
        names = ("hausdorff95", "average_surface_distance", "surface_dice")
        assert [image["surface"][name] for name in names] == [pytest.approx([value]) for value in distances]
        matched, invented, missed = matched_objects(truth, guess, 0.5)
        quality = sum(matched) / (len(matched) + invented / 2 + missed / 2)
        assert image["objects"]["panoptic_quality"] == pytest.approx([quality])
        hits, wrong = hits + sum(matched), wrong + len(matched) + invented / 2 + missed / 2
        pairs = contingency_table(
            metrics.membrane.segments_from_membrane(truth, thin=False),
            metrics.membrane.segments_from_membrane(guess),
            ignore_labels=[0],
            normalize=True,
        ).toarray()
        both, ones, others = ((part**2).sum() for part in (pairs, pairs.sum(1), pairs.sum(0)))
        assert image["membrane"]["rand"] == pytest.approx([2 * both / (ones + others)])
        frequencies.append((p.ravel(), truth.ravel()))
    assert 0.2 < scores["dice"][0] < 1
    assert scores["dice"] == pytest.approx([2 * tp / (2 * tp + fp + fn)])
    assert scores["objects"]["panoptic_quality"] == pytest.approx([hits / wrong])
    p, events = (np.concatenate(values) for values in zip(*frequencies, strict=True))
    error = 0
    for low in np.arange(15) / 15:
        chosen = (p > low) & (p <= low + 1 / 15)
        error += abs(p[chosen].sum() - events[chosen].sum()) / p.size
    assert scores["calibration"]["expected_calibration_error"] == pytest.approx(error, rel=1e-4)
    rows = read_rows(tmp_path / "s.csv")
    assert [float(row["dice"]) for row in rows] == sorted(image["dice"][0] for image in scores["images"])
    assert {row["spacing"] for row in rows} == {"0.25 x 0.5"}
    assert not list(tmp_path.glob(".*"))


def test_a_wrong_measure_or_no_case_is_refused_by_the_function(tmp_path):
    trained = inference.load_run(sure_run(tmp_path, [(row_of(8, 1), row_of(8, 1))]))
    cases = data.labelled_cases(trained.data.as_mapping())
    with pytest.raises(OptionError, match=r"measures: expected surface \(of overlap, .*; received 'surfaces'"):
        evaluation.evaluate(trained, cases, measures=["surfaces"])
    with pytest.raises(OptionError, match="cases: expected at least one labelled image"):
        evaluation.evaluate(trained, [])


def test_overlap_presence_and_calibration_take_the_memory_of_a_tile(tmp_path):
    """An image 16 times as large, which is made while it is read, takes no more."""
    trained = inference.load_run(sure_run(tmp_path, [(row_of(8, 1), row_of(8, 1))]))

    class Stripes:
        channels, dtype, name = 1, np.dtype(np.float32), "stripes"

        def __init__(self, side):
            self.shape = (side, side)
            self.frame = Frame(self.shape)

        def read(self, window):
            values = np.where(np.arange(window.offset[0], window.stop[0]) % 4 < 2, YES, NO).astype(np.float32)
            return np.broadcast_to(values[:, None, None], (*window.size, 1))

    def label(window):
        return (Stripes(1).read(window) > 0).astype(np.uint8)

    def peak(side):
        case = data.Case(str(side), None, Stripes(side), None, label)
        tracemalloc.start()
        scores = evaluation.evaluate(
            trained, [case], measures=["presence", "calibration"], tiles=inference.TileOptions(tile=512)
        )
        assert scores.images[0].measures["presence"]["true_pixels"] == [side * side // 2]
        assert scores.dice == [1]
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(1024)
    small, large = peak(1024), peak(4096)
    assert large < small + (4096**2 - 1024**2) / 2, "a byte for each further pixel"
