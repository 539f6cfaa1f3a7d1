"""`evaluate` by hand, by brute force and by independent implementations: models whose logits are the image itself."""

import csv
import itertools
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio
from exact_run import exact_run, write_image
from run_verb import run
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.metrics import contingency_table

from maskzoo import data, inference, metrics
from maskzoo.cli import evaluate as verb
from maskzoo.evaluation import scores as evaluation

ROOT = Path(__file__).resolve().parents[2]
ALL = "overlap,presence,calibration,surface,membrane,objects"
YES, NO = 4.0, -4.0


def refuse(constant):
    raise AssertionError(f"JSON has no {constant}")


@pytest.fixture
def evaluated(capsys):
    """A function that evaluates a run through the command line and returns the JSON."""

    def evaluate(folder, *arguments):
        capsys.readouterr()
        assert run("evaluate", folder, "--json", *arguments) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out, parse_constant=refuse)

    return evaluate


def logits_of(mask):
    """Logits `(*shape, 1)` of a mask that they are sure of."""
    return np.where(np.asarray(mask)[..., None] > 0, YES, NO)


def sure_run(root, pairs, **options):
    """An exact run of one class, from `(predicted mask, true mask)` pairs."""
    return exact_run(root, [(logits_of(guess), np.asarray(truth)[..., None]) for guess, truth in pairs], **options)


def row_of(length, *filled):
    """A mask `(1, length)` of 1 in some places."""
    mask = np.zeros((1, length), int)
    mask[0, list(filled)] = 1
    return mask


def blobs(shape, seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    moved = field + 0.4 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    return field > 0.05, moved > 0.05


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
    assert scores == evaluation.evaluate(trained, data.labelled_cases(trained.data.as_mapping()))
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


def border_points(mask, spacing):
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis, shift in itertools.product(range(mask.ndim), (1, -1)):
        inside &= np.roll(padded, shift, axis)[(slice(1, -1),) * mask.ndim]
    return np.argwhere(mask & ~inside) * spacing


def surfaces(truth, guess, spacing, tolerance):
    """Hausdorff, average distance and surface Dice, by looking for the nearest of all border points."""
    points = [border_points(mask, spacing) for mask in (truth, guess)]
    both = np.concatenate([cKDTree(points[1 - i]).query(points[i])[0] for i in (0, 1)])
    return np.percentile(both, 95), both.mean(), (both <= tolerance).mean()


TILTED = np.array([[0, -0.7, 0, 5], [0, 0, 0.4, 6], [3, 0, 0, 7], [0, 0, 0, 1]])
NORTH_UP = rasterio.Affine(0.5, 0, 733601, 0, -0.25, 3725139)


@pytest.mark.parametrize(
    ("shape", "suffix", "georeference", "spacing", "unit"),
    [
        ((9, 14, 12), ".nii", {"affine": np.diag([3, 0.7, 0.4, 1])}, (3, 0.7, 0.4), "mm"),
        # The axes of the array lie along those of the body in another order, one of them backwards.
        ((9, 14, 12), ".nii", {"affine": TILTED, "unit": "micron"}, (3, 0.7, 0.4), "um"),
        ((30, 25), ".tif", {"crs": "EPSG:32616", "transform": NORTH_UP}, (0.25, 0.5), "m"),
        ((30, 25), ".npy", {}, (1, 1), "px"),
    ],
)
def test_surface_scores_have_the_real_spacing(tmp_path, evaluated, shape, suffix, georeference, spacing, unit):
    pairs = [blobs(shape, seed)[::-1] for seed in (0, 1)]
    folder = sure_run(tmp_path, pairs, suffix=suffix, **georeference)
    scores = evaluated(folder, "--metrics", "surface", "--tolerance", 0.6, "--tile", 16)["surface"]
    expected = np.array([surfaces(truth, guess, spacing, 0.6) for guess, truth in pairs])
    names = ("hausdorff95", "average_surface_distance", "surface_dice")
    assert [scores[f"mean_{name}"] for name in names] == [pytest.approx([mean]) for mean in expected.mean(0)]
    assert (scores["unit"], scores["tolerance"], scores["one_sided"]) == (unit, 0.6, [0])
    images = evaluated(folder, "--metrics", "surface", "--tolerance", 0.6)["images"]
    for image, row in zip(images, expected, strict=True):
        assert image["surface"]["spacing"] == pytest.approx(list(spacing))
        assert [image["surface"][name] for name in names] == [pytest.approx([value]) for value in row]


def source(path, **georeference):
    array = np.zeros((4, 4, 1), np.float32)
    write_image(path, array, **georeference)
    return data.open_source(path)


def test_spacing_of_maps_is_in_metres(tmp_path):
    path = tmp_path / "map.tif"
    # A thousandth of a degree at 60 degrees north, on WGS 84: 111.412 m to the north, 55.800 m to the east.
    degrees = rasterio.Affine(0.001, 0, 10, 0, -0.001, 60.002)
    spacing, unit = evaluation.pixel_spacing(source(path, crs="EPSG:4326", transform=degrees))
    assert unit == "m"
    assert spacing == pytest.approx((111.412, 55.800), rel=1e-5)
    # A pixel of 2 by 1 US survey feet, which are 1200/3937 m.
    feet = rasterio.Affine(1, 0, 0, 0, -2, 0)
    spacing, unit = evaluation.pixel_spacing(source(path, crs="EPSG:2229", transform=feet))
    assert (spacing, unit) == (pytest.approx((2400 / 3937, 1200 / 3937)), "m")
    # Turned by 30 degrees, pixels are as large as before.
    sine, cosine = 1 / 2, np.sqrt(3) / 2
    turned = rasterio.Affine(0.5 * cosine, -0.25 * sine, 0, 0.5 * sine, 0.25 * cosine, 0)
    spacing, unit = evaluation.pixel_spacing(source(path, crs="EPSG:32616", transform=turned))
    assert (spacing, unit) == (pytest.approx((0.25, 0.5)), "m")
    spacing, unit = evaluation.pixel_spacing(source(path, transform=NORTH_UP))
    assert (spacing, unit) == ((0.25, 0.5), "map unit")


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


TASKS = [("binary", 1), ("multilabel", 3), ("multiclass", 3)]


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


KINDS = {"dice": "Dice", "iou": "IoU", "precision": "Precision", "recall": "Recall"}


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """A data set of georeferenced images with two squares each."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir()
    for index in range(5):
        mask = np.zeros((96, 112, 1), np.uint8)
        for left in (4, 60):
            top, left = rng.integers((8, left), (50, left + 14))
            mask[top : top + 30, left : left + 36] = 255
        image = rng.integers(0, 90, (96, 112, 3)) + (mask > 0) * 120
        for name, array in (("images", image.astype(np.uint8)), ("masks", mask)):
            write_image(root / name / f"{index}.tif", array, crs="EPSG:32616", transform=NORTH_UP)
    return root


@pytest.fixture(scope="module")
def trained(squares, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "squares"
    small = ["--model", "unet_padded", "--option", "filters=[4,8]", "--patch", 64, "--steps", 25, "--batch-size", 2]
    assert run("train", *small, "--data", squares, "--run", path, "--epochs", 1, "--learning-rate", 0.01) == 0
    return path


def naive_objects(truth, guess, threshold):
    """Matched IoUs, invented and missed objects, by comparing every pair."""
    (truth, true_count), (guess, guess_count) = ndimage.label(truth), ndimage.label(guess)
    matched = []
    for t, g in itertools.product(range(1, true_count + 1), range(1, guess_count + 1)):
        a, b = truth == t, guess == g
        if (a & b).any() and (iou := (a & b).sum() / (a | b).sum()) > threshold:
            matched.append(iou)
    return matched, guess_count - len(matched), true_count - len(matched)


def test_a_trained_run_scores_as_its_predictions_do(trained, squares, tmp_path, evaluated):
    """All images through `predict`; what it wrote, scored by other means, is what `evaluate` says."""
    assert run("predict", trained, squares / "images", tmp_path / "masks") == 0
    assert run("predict", trained, squares / "images", tmp_path / "p", "--probabilities", "float32") == 0
    scores = evaluated(trained, "--data", squares, "--metrics", ALL, "--tile", 32, "--csv", tmp_path / "s.csv")
    tp, fp, fn, hits, wrong, frequencies = 0, 0, 0, 0, 0, []
    for image in scores["images"]:
        truth, guess, p = (
            data.open_source(folder / f"{image['name']}.tif").read(data.Window((0, 0), (96, 112)))[..., 0]
            for folder in (squares / "masks", tmp_path / "masks", tmp_path / "p")
        )
        truth, guess = truth > 0, guess > 0
        assert image["dice"] == pytest.approx([2 * (truth & guess).sum() / (truth.sum() + guess.sum())])
        tp, fp, fn = tp + (truth & guess).sum(), fp + (guess & ~truth).sum(), fn + (truth & ~guess).sum()
        distances = surfaces(truth, guess, (0.25, 0.5), 1)
        names = ("hausdorff95", "average_surface_distance", "surface_dice")
        assert [image["surface"][name] for name in names] == [pytest.approx([value]) for value in distances]
        matched, invented, missed = naive_objects(truth, guess, 0.5)
        quality = sum(matched) / (len(matched) + invented / 2 + missed / 2)
        assert image["objects"]["panoptic_quality"] == pytest.approx([quality])
        hits, wrong = hits + sum(matched), wrong + len(matched) + invented / 2 + missed / 2
        pairs = contingency_table(
            metrics.membrane.segments_from_membrane(truth, thin=False),
            metrics.membrane.segments_from_membrane(guess),
            ignore_labels=[0],
            normalize=True,
        ).toarray()
        pairs, ones, others = ((shares**2).sum() for shares in (pairs, pairs.sum(1), pairs.sum(0)))
        assert image["membrane"]["rand"] == pytest.approx([2 * pairs / (ones + others)])
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


def test_the_tables_are_aligned(trained, capsys):
    assert run("evaluate", trained, "--metrics", ALL) == 0
    first, *tables = capsys.readouterr().out.rstrip().split("\n\n")
    assert first.splitlines()[0] == "1 image"
    titles = [table.splitlines()[0].split(",")[0] for table in tables]
    assert titles == [
        "presence in an image",
        "surface",
        "segments between membranes",
        "objects",
        "expected calibration error",
    ]
    for table in (first, *tables[:-1]):
        _, head, *rows = table.splitlines()
        assert head.startswith("class")
        assert {len(row) for row in rows} == {len(head)}
    assert "distances in m," in tables[1]


def test_mistakes_are_one_line(trained, squares, tmp_path, capsys):
    image = squares / "images" / "0.tif"
    whole = ("--data", squares, "--metrics", "surface,objects", "--memory", "1GB")
    for arguments, expected in [
        (("--metrics", "overlap,surfase"), "--metrics: expected surface (of overlap"),
        (("--tolerance", "-1", "--metrics", "surface"), "--tolerance: expected a distance of at least 0; received -1"),
        (("--tolerance", "nan"), "--tolerance: expected"),
        (("--csv", tmp_path / "none" / "s.csv"), "s.csv: expected a place that can be written"),
        (("--csv", tmp_path), "expected the name of a file"),
        (whole, f"at least 1.3 GB for surface, objects of the whole label map of {image}; received 1.0 GB"),
        (("--data", tmp_path / "none"), "none"),
    ]:
        assert run("evaluate", trained, *arguments) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1
        assert error[0].startswith("error: ")
        assert expected in error[0]
    assert list(tmp_path.iterdir()) == []


def test_the_memory_that_is_asked_for_suffices(trained, capsys):
    assert run("evaluate", trained, "--metrics", "surface", "--memory", "1GB") == 2
    asked = capsys.readouterr().err.split("at least ")[1].split(" for")[0].replace(" ", "")
    assert run("evaluate", trained, "--metrics", "surface", "--memory", asked) == 0


def test_images_in_several_units_are_refused(tmp_path, capsys):
    folder = sure_run(tmp_path, [blobs((8, 8, 8), seed) for seed in (0, 1)], suffix=".nii", affine=np.eye(4))
    for part in ("images", "labels"):
        path = tmp_path / "data" / part / "1.nii"
        write_image(path, np.asarray(nibabel.load(path).dataobj)[..., None], affine=np.eye(4), unit="micron")
    assert run("evaluate", folder, "--metrics", "surface") == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert "one unit; received mm in" in error[0]
    assert run("evaluate", folder, "--metrics", "objects") == 0


def test_a_wrong_measure_or_no_case_is_refused_by_the_function(tmp_path):
    trained = inference.load_run(sure_run(tmp_path, [(row_of(8, 1), row_of(8, 1))]))
    cases = data.labelled_cases(trained.data.as_mapping())
    with pytest.raises(ValueError, match="measures: expected surface"):
        evaluation.evaluate(trained, cases, measures=["surfaces"])
    with pytest.raises(ValueError, match="at least one labelled image"):
        evaluation.evaluate(trained, [])
    assert verb.MEASURES == evaluation.MEASURES


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, capsys, monkeypatch):
    folder = sure_run(tmp_path, [(row_of(8, 1), row_of(8, 1))])
    (tmp_path / "s.csv").write_text("before")

    def full(path, rows):
        Path(path).write_text("half")
        raise OSError("no space left on device")

    monkeypatch.setattr(verb, "write_rows", full)
    before = set(tmp_path.iterdir())
    assert run("evaluate", folder, "--csv", tmp_path / "s.csv") == 2
    assert capsys.readouterr().err.splitlines() == ["error: no space left on device"]
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "s.csv").read_text() == "before"


def test_overlap_presence_and_calibration_take_the_memory_of_a_tile(tmp_path):
    """An image 16 times as large, which is made while it is read, takes no more."""
    trained = inference.load_run(sure_run(tmp_path, [(row_of(8, 1), row_of(8, 1))]))

    class Stripes:
        channels, dtype, name = 1, np.dtype(np.float32), "stripes"

        def __init__(self, side):
            self.shape = (side, side)
            self.frame = data.Frame(self.shape)

        def read(self, window):
            values = np.where(np.arange(window.offset[0], window.stop[0]) % 4 < 2, YES, NO).astype(np.float32)
            return np.broadcast_to(values[:, None, None], (*window.size, 1))

    def label(window):
        return (Stripes(1).read(window) > 0).astype(np.uint8)

    def peak(side):
        case = data.Case(str(side), None, Stripes(side), None, label)
        tracemalloc.start()
        scores = evaluation.evaluate(trained, [case], measures=["presence", "calibration"], tile=512)
        assert scores["images"][0]["presence"]["true_pixels"] == [side * side // 2]
        assert scores["dice"] == [1]
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(1024)
    small, large = peak(1024), peak(4096)
    assert large < small + (4096**2 - 1024**2) / 2, "a byte for each further pixel"


QUICK_ANSWERS = """
import sys
from maskzoo.cli import main
for arguments in (["--help"], ["none"], ["none", "--metrics", "x"], ["none", "--tolerance", "-2"]):
    try:
        main(None, ["evaluate", *arguments])
    except SystemExit:
        pass
slow = {"keras", "tensorflow", "scipy", "skimage"} & set(sys.modules)
assert not slow, slow
"""


def test_help_and_mistakes_answer_without_importing_keras():
    answer = subprocess.run(
        [sys.executable, "-c", QUICK_ANSWERS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    help_text = " ".join(answer.stdout.split())
    assert "the whole label map of an image as uint8" in help_text
