"""Which windows training sees: all of them, tissue, positives, hard ones, several scales, mixtures of samples."""

import collections
from math import erf

import numpy as np
import pytest
from rasterio.enums import Resampling
from test_dataset import assert_equal_batches, batches, cases

from maskzoo.data import Case, Normalizer, WindowDataset, open_source
from maskzoo.data.augmentation.mixing import soften_masks
from maskzoo.data.images.overview import overview, tissue
from maskzoo.data.images.rasterio_source import open_raster
from maskzoo.data.labels.scheme import find_scheme
from maskzoo.data.sampling.random_windows import CaseGrid, RandomWindows, shuffled


class Weighted:
    """A case with a weight."""

    def __init__(self, case, weight):
        self.__dict__.update(vars(case), weight=weight)


def labelled(label, image=None, **options):
    """A case; its image is its label unless one is given."""
    source = open_source(label, spatial_dims=2)
    image = open_source(label.astype(np.float32) if image is None else image, spatial_dims=2)
    reader = find_scheme([source], **options).reader(source)
    return Case("case", None, image, Normalizer("none", image.channels)(image), reader)


def numbered(shapes, channels=1):
    """Like `cases`, with values that say which image they come from, 10,002 (a multiple of 3) apart."""
    made = []
    for number, shape in enumerate(shapes):
        values = np.random.default_rng(number).permutation(int(np.prod(shape))).reshape(shape) + 10_002.0 * number
        label = (values % 3 == 0).astype(np.uint8)
        image = open_source(np.stack([values.astype(np.float32)] * channels, -1), spatial_dims=len(shape))
        source = open_source(label, spatial_dims=len(shape))
        reader = find_scheme([source]).reader(source)
        made.append(Case(str(number), None, image, Normalizer("none", channels)(image), reader))
    return made


def starts(dataset):
    """The value of the first pixel of every sample, which says where in which image it is."""
    return [value for images, *_ in batches(dataset) for value in images.reshape(len(images), -1)[:, 0].tolist()]


@pytest.mark.parametrize(("shapes", "patch", "overlap"), [
    ([(32, 40), (24, 16)], 8, 0), ([(32, 40), (24, 16)], 8, 0.5), ([(16, 20, 12)] * 2, 8, 0.25),
])  # fmt: skip
def test_all_shows_every_window_once_an_epoch_in_another_order(shapes, patch, overlap):
    made = numbered(shapes)
    dataset = WindowDataset(made, patch, 1, windows="all", overlap=overlap, seed=3)
    expected = [case.image.read(window).ravel()[0] for case, window in dataset.grid_windows]
    assert len(set(expected)) == len(dataset)
    orders = []
    for dataset.epoch in range(3):
        orders.append(starts(dataset))
        assert sorted(orders[-1]) == sorted(expected)
    assert orders[0] != orders[1] != orders[2] != expected
    assert starts(WindowDataset(made, patch, 1, windows="all", overlap=overlap, seed=4)) != orders[0]


def test_the_last_batch_of_all_is_filled_up_with_windows_of_another_round():
    dataset = WindowDataset(numbered([(24, 24)]), 8, 4, windows="all")
    assert len(dataset) == 3  # 9 windows
    counts = collections.Counter(starts(dataset))
    assert sorted(counts.values()) in ([1] * 6 + [2] * 3,)


def test_neighbours_overlap_by_the_share_asked_for():
    grid = CaseGrid(numbered([(64, 64)]), (16, 16), 0.25)
    assert sorted({window.offset[0] for _, window in grid}) == [0, 12, 24, 36, 48]
    shown = WindowDataset(numbered([(64, 64)]), 16, 5, shuffle=False, overlap=0.25)
    assert (len(shown.grid_windows), len(shown)) == (25, 5)
    assert starts(shown) == [case.image.read(window)[0, 0, 0] for case, window in shown.grid_windows]
    assert grid[-1] == grid[24]
    assert grid[1:3] == [grid[1], grid[2]]
    with pytest.raises(IndexError):
        grid[25]


def slide(rng, shape=(300, 400), spot=((200, 300), 60)):
    """A bright slide with a spot of pink tissue, and where the tissue is."""
    image = rng.integers(235, 250, (*shape, 1)) + rng.integers(-2, 3, (*shape, 3))
    (row, column), radius = spot
    inside = np.hypot(*np.ogrid[-row : shape[0] - row, -column : shape[1] - column]) < radius
    image[inside] = np.array([190, 100, 160]) + rng.integers(-20, 20, (inside.sum(), 3))
    return image.clip(0, 255).astype(np.uint8), inside


@pytest.mark.parametrize("kind", ["colours", "dark tissue", "bright tissue"])
def test_tissue_windows_have_tissue_in_their_middle(kind):
    image, inside = slide(np.random.default_rng(0))
    if kind != "colours":
        image = image[..., 1:2]
    if kind == "bright tissue":
        image = 255 - image
    made = [labelled(inside.astype(np.uint8), image)]
    labels = np.concatenate([label for _, label in batches(WindowDataset(made, 33, 20, steps=10, windows="tissue"))])
    assert labels[:, 16, 16, 0].mean() > 0.99
    assert WindowDataset(made, 33, 20, steps=10)[0][1][:, 16, 16, 0].mean() < 0.4
    middles = np.array([window.offset for window in drawn(made, 33, 2000, windows="tissue")]) + 16
    np.testing.assert_allclose(middles.mean(axis=0), (200, 300), atol=5)
    assert np.ptp(middles, axis=0).min() > 110  # all of a spot 120 pixels wide


def drawn(made, patch, number, **options):
    """The windows that are drawn for a number of samples."""
    windows = RandomWindows(made, patch, 1, **options)
    rngs = np.random.default_rng(0).spawn(number)
    return [windows._draw((0, n), rng, None)[1] for n, rng in enumerate(rngs)]


def test_tissue_of_images_that_are_smaller_than_a_window_or_all_alike():
    image, inside = slide(np.random.default_rng(0))
    small = [labelled(inside[180:200, 280:400].astype(np.uint8), image[180:200, 280:400])]
    assert WindowDataset(small, 64, 2, steps=2, windows="tissue")[1][0].shape == (2, 64, 64, 3)
    blank = labelled(inside.astype(np.uint8), np.full_like(image, 255))
    assert len({window.offset for window in drawn([blank], 32, 200, windows="tissue")}) > 150


@pytest.mark.parametrize("pyramid", [False, True])
def test_the_overview_of_a_file_is_the_file_thinned(tmp_path, pyramid):
    image = np.zeros((3000, 2100, 3), np.uint8)
    image[600:1500, 900:1800] = (200, 100, 50)
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "lzw"}
    path = tmp_path / "slide.tif"
    with open_raster(path, "w", driver="GTiff", width=2100, height=3000, count=3, dtype="uint8", **options) as file:
        file.write(np.moveaxis(image, -1, 0))
        if pyramid:
            file.build_overviews([2, 4], Resampling.average)
    seen, step = overview(open_source(path))
    assert (seen.shape, step) == ((1000, 700, 3), 3)
    plain, _ = overview(open_source(image))
    assert plain.shape == seen.shape
    assert np.mean(tissue(seen) == tissue(plain)) > 0.995
    np.testing.assert_array_equal(tissue(plain), image[::3, ::3, 0] > 0)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_positive_windows_show_a_class_besides_the_background(task):
    label = np.zeros((400, 400), np.uint8)
    label[10:20, 30:50] = 1
    label[300:304, 200:204] = 1 if task == "binary" else 3
    made = [labelled(label), labelled(np.roll(label, 99))]
    dataset = WindowDataset(made, 32, 25, steps=8, windows="positive")
    labels = np.concatenate([label for _, label in batches(dataset)]).reshape(200, -1)
    assert (labels > 0).any(axis=1).all()
    if task == "multiclass":
        assert {0, 1, 3} == set(np.unique(labels))


def test_hard_windows_are_drawn_by_their_weights():
    made = numbered([(40, 40), (24, 40)])
    dataset = WindowDataset(made, 8, 10, steps=100, hard=0.5)
    grid = dataset.grid_windows
    assert len(grid) == 40
    first = [case.image.read(window)[0, 0, 0] for case, window in grid]
    weights = np.zeros(40)
    weights[[3, 30, 31]] = 4, 2, 2
    dataset.set_hardness(weights)
    counts = collections.Counter(starts(dataset))
    # Half of 1000 by weight; of the others, drawn anywhere, only a few fall on the same places.
    for number, expected in ((3, 250), (30, 125), (31, 125)):
        assert counts[first[number]] == pytest.approx(expected, abs=4 * expected**0.5 + 20)
    every = WindowDataset(made, 8, 10, steps=100, hard=1.0)
    assert set(starts(every)) == set(first)
    counts = collections.Counter(starts(every))
    assert min(counts.values()) > 5
    assert max(counts.values()) < 60
    every.set_hardness(weights)
    assert set(starts(every)) == {first[n] for n in (3, 30, 31)}
    for wrong in (np.ones(39), np.zeros(40), -np.ones(40), np.full(40, np.nan), np.ones((40, 1))):
        with pytest.raises(ValueError, match="hardness: expected 40 weights of 0 or more"):
            every.set_hardness(wrong)


@pytest.mark.parametrize("times", [2, 3, 4])
def test_coarser_scales_show_the_mean_under_each_pixel_and_stay_aligned(times):
    columns = np.broadcast_to(np.arange(200.0, dtype=np.float32), (160, 200))
    made = [labelled((columns > 83).astype(np.uint8), columns[..., None].copy())]
    for augment in ("none", "flips", "light"):
        dataset = WindowDataset(made, 24, 8, steps=4, scales=[1 / times], augment=augment, halo=((1, 2), (2, 0)))
        for images, labels in batches(dataset):
            assert (images.shape, labels.shape) == ((8, 27, 26, 1), (8, 24, 24, 1))
            for image, label in zip(images[:, 1:-2, 2:], labels, strict=True):
                if augment == "none":
                    # The label is that of the middle pixel; of an even number, the one behind the middle.
                    np.testing.assert_array_equal(label, image + (times % 2 == 0) / 2 > 83.01)
                elif 0 < label.mean() < 1:
                    assert image[label == 1].min() > image[label == 0].max() - 3 * times
    wide = WindowDataset(made, 24, 200, steps=1, scales=[1, 1 / times])[0][0]
    spans = collections.Counter((wide.max(axis=(1, 2, 3)) - wide.min(axis=(1, 2, 3))).round().tolist())
    assert spans[23] == pytest.approx(100, abs=30)
    assert min(spans[23], 200 - spans[23]) > 0


def test_scales_in_volumes_are_means_of_blocks():
    made = numbered([(32, 32, 32)])
    (images, labels), values = WindowDataset(made, 8, 2, steps=1, scales=[0.5])[0], made[0].image.read
    assert (images.shape, labels.shape) == ((2, 8, 8, 8, 1), (2, 8, 8, 8, 1))
    assert values is not None
    rng = np.random.default_rng([0, 0, 0]).spawn(2)[0]
    case, window = RandomWindows(made, 8, 1)._draw((0, 0), rng, None)
    start = [place - 4 for place in window.offset]
    whole = np.pad(case.image.read(type(window)((0,) * 3, (32,) * 3))[..., 0], 16, mode="reflect")
    block = whole[tuple(slice(place + 16, place + 32) for place in start)]
    np.testing.assert_allclose(images[0, ..., 0], block.reshape(8, 2, 8, 2, 8, 2).mean(axis=(1, 3, 5)), rtol=1e-6)


@pytest.mark.parametrize("shape", [(48, 48), (20, 20, 20)])
def test_cutmix_puts_a_box_of_another_sample_into_an_aligned_one(shape):
    made = numbered([shape] * 4)
    dataset = WindowDataset(made, 12, 25, steps=12, mix={"cutmix": 0.6}, halo=((1, 2), *[(2, 0)] * (len(shape) - 1)))
    mixed, shares = 0, []
    for images, labels in batches(dataset):
        inner = images[(slice(None), slice(1, -2), *[slice(2, None)] * (len(shape) - 1))]
        np.testing.assert_array_equal(labels, inner % 3 == 0)
        for which in inner // 10_002:
            counts = np.unique(which, return_counts=True)[1]
            assert len(counts) <= 2
            mixed += len(counts) == 2
            shares += [counts.min() / counts.sum()] if len(counts) == 2 else []
    # Of the mixed ones a quarter come from the same image, and a few boxes are empty or everything.
    assert mixed / 300 == pytest.approx(0.6 * 0.75, abs=0.1)
    assert min(shares) < 0.1
    assert max(shares) > 0.4


def test_mosaics_show_four_samples_that_meet_at_a_point():
    made = numbered([(48, 48)] * 6)
    dataset = WindowDataset(made, 16, 25, steps=4, mix={"mosaic": 1.0}, halo=3)
    several = 0
    for images, labels in batches(dataset):
        inner = images[:, 3:-3, 3:-3]
        np.testing.assert_array_equal(labels, inner % 3 == 0)
        for which in (images // 10_002)[..., 0]:
            assert len({which[0, 0], which[0, -1], which[-1, 0], which[-1, -1]}) == len(np.unique(which))
            changes = (np.diff(which, axis=0) != 0).any(axis=1).sum(), (np.diff(which, axis=1) != 0).any(axis=0).sum()
            assert max(changes) <= 1
            several += len(np.unique(which)) >= 3
    assert several > 40


def test_softened_masks_are_the_integral_of_the_gaussian():
    mask = np.zeros((41, 41, 1), np.uint8)
    mask[:, 20:] = 1
    soft = soften_masks(mask, 2.0)
    assert soft.dtype == np.float32
    for distance in range(-6, 7):
        expected = 0.5 * (1 + erf((distance + 0.5) / (2 * 2**0.5)))
        assert soft[20, 20 + distance, 0] == pytest.approx(expected, abs=5e-3)
    line = np.zeros((21, 21, 2), np.uint8)
    line[10, :, 1] = 1
    soft = soften_masks(line, 1.0)
    assert soft[10, 10, 1] == pytest.approx(1 / np.sqrt(2 * np.pi), abs=5e-3)
    assert soft[..., 0].max() == 0


def test_pixels_that_do_not_count_stay_so_and_lend_nothing():
    mask = np.zeros((20, 20, 1), np.uint8)
    mask[:, 10:] = 1
    mask[:, 12:] = 255
    soft = soften_masks(mask, 2.0)
    np.testing.assert_array_equal(soft == 255, mask == 255)
    assert 0.5 < soft[10, 11, 0] <= 1
    label = np.zeros((60, 60), np.uint8)
    label[20:40, 20:40] = 1
    label[:4] = 7
    images, labels = WindowDataset([labelled(label, ignore=(7,))], 32, 4, steps=1, soften=1.5)[0]
    assert labels.dtype == np.float32
    assert set(np.unique(labels[labels > 1])) <= {255}
    assert ((labels > 0.01) & (labels < 0.99)).any()
    assert images.dtype == np.float32


@pytest.mark.parametrize("windows", ["random", "tissue", "positive"])
def test_cases_are_drawn_in_proportion_to_their_weights(windows):
    made = [Weighted(case, weight) for case, weight in zip(numbered([(30, 30)] * 3), (6, 3, 1), strict=True)]
    counts = collections.Counter(np.array(starts(WindowDataset(made, 8, 20, steps=50, windows=windows))) // 10_002)
    for number, expected in enumerate((600, 300, 100)):
        assert counts[number] == pytest.approx(expected, abs=60)
    none = WindowDataset([Weighted(case, 2.0) for case in numbered([(30, 30)] * 3)], 8, 20, steps=1)
    assert_equal_batches(none[0], WindowDataset(numbered([(30, 30)] * 3), 8, 20, steps=1)[0])


OPTIONS = [
    {"windows": "all", "overlap": 0.5, "hard": 0.3},
    {"windows": "tissue", "scales": [1, 0.5], "augment": "light"},
    {"windows": "positive", "mix": {"cutmix": 0.5, "mosaic": 0.5}, "soften": 1.0, "augment": "flips"},
    {"balance": {"foreground": 1.0}, "hard": 0.5, "mix": {"cutmix": 1.0}},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_the_same_seed_gives_the_same_batches_from_any_workers(options):
    made = cases([(40, 40), (30, 50), (24, 24)], channels=3)
    kinds = [{}, {"workers": 2}, {"workers": 2, "use_multiprocessing": True}]
    datasets = [WindowDataset(made, 16, 3, steps=4, seed=7, **options, **kind) for kind in kinds]
    seen = []
    for epoch in range(2):
        for dataset in datasets:
            dataset.epoch = epoch
        expected, *others = [batches(dataset) for dataset in datasets]
        for other in others:
            for one, two in zip(expected, other, strict=True):
                assert_equal_batches(one, two)
        assert_equal_batches(datasets[0][2], expected[2])  # asked for out of order
        seen += [images.tobytes() for images, _ in expected]
        for dataset in datasets:
            dataset.set_hardness(np.arange(len(dataset.grid_windows)))
    assert len(set(seen)) == 8


def test_orders_are_permutations_that_follow_from_the_seed():
    assert sorted(shuffled(50, 1, 2, 3)) == list(range(50))
    assert shuffled(50, 1, 2, 3).tolist() != shuffled(50, 1, 2, 4).tolist()


@pytest.mark.parametrize(("options", "message"), [
    ({"windows": "al"}, r"windows: expected all \(or one of random, all, tissue, positive\); received al"),
    ({"windows": "all", "balance": {"foreground": 0.5}}, "balance: expected windows: random beside it; received all"),
    ({"overlap": 1}, "overlap: expected a share from 0 to below 1; received 1"),
    ({"hard": -0.1}, "hard: expected a share between 0 and 1; received -0.1"),
    ({"scales": [0.75]}, r"scales: expected 1 divided by whole numbers, such as 1, 0.5, 0.25; received \[0.75\]"),
    ({"scales": [2]}, "scales: expected 1 divided by whole numbers"),
    ({"scales": []}, "scales: expected at least one"),
    ({"mix": {"cutmix": 1.5}}, "mix: expected a share between 0 and 1 for cutmix; received 1.5"),
    ({"mix": {"cutmix": 0.7, "mosaic": 0.7}}, "mix: expected shares that sum to at most 1"),
    ({"mix": {"mixup": 0.1}}, r"mix: expected .* \(of cutmix, mosaic\); received mixup"),
    ({"soften": -1}, "soften: expected pixels, 0 or more, of binary or multilabel masks; received -1, binary"),
])  # fmt: skip
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        WindowDataset(cases([(20, 20)]), 8, 2, **options)
    assert "\n" not in str(caught.value)


def test_options_that_need_other_data_are_refused():
    with pytest.raises(ValueError, match=r"mix: expected cutmix \(of cutmix\); received mosaic"):
        WindowDataset(cases([(20, 20, 20)]), 8, 2, mix={"mosaic": 0.1})
    classes = [labelled(np.arange(400, dtype=np.uint8).reshape(20, 20) % 3)]
    with pytest.raises(ValueError, match=r"of binary or multilabel masks; received 1\.0, multiclass"):
        WindowDataset(classes, 8, 2, soften=1.0)
    empty = [labelled(np.zeros((20, 20), np.uint8), classes={"a": 1})]
    with pytest.raises(ValueError, match="windows: expected labels with a class besides the background for positive"):
        WindowDataset(empty, 8, 2, windows="positive")
    with pytest.raises(ValueError, match="weight: expected weights of 0 or more, some above 0; received"):
        WindowDataset([Weighted(case, -1) for case in cases([(20, 20)])], 8, 2)
