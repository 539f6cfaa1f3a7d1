"""Batches are the same for the same seed, whoever makes them; every pixel is seen; image and label stay aligned."""

import collections
import pickle

import keras
import numpy as np
import pytest

from maskzoo.data import Case, Normalizer, Window, WindowDataset, open_source
from maskzoo.data.augmentation.mixing import jitter, symmetries
from maskzoo.data.labels.scheme import find_scheme
from maskzoo.data.sampling.random_windows import covering_windows, random_window


def cases(shapes, channels=2):
    """Images whose pixels are all different and whose label is a function of the pixel."""
    made = []
    for number, shape in enumerate(shapes):
        values = np.random.default_rng(number).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
        image = open_source(np.stack([values] * channels, -1), spatial_dims=len(shape))
        label = open_source((values % 3 == 0).astype(np.uint8), spatial_dims=len(shape))
        scheme = find_scheme([label])
        made.append(Case(str(number), None, image, Normalizer("none", channels)(image), scheme.reader(label)))
    return made


def assert_equal_batches(left, right):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


def batches(dataset):
    return [dataset[index] for index in range(len(dataset))]


@pytest.mark.parametrize(("shape", "patch"), [((50, 40), 16), ((20, 24, 28), (8, 12, 16)), ((9, 30), 16)])
@pytest.mark.parametrize("augment", ["none", "flips"])
def test_images_and_labels_stay_aligned(shape, patch, augment):
    dataset = WindowDataset(cases([shape] * 3), patch, 4, steps=5, augment=augment)
    for images, labels in batches(dataset):
        assert images.shape == (4, *np.broadcast_to(patch, len(shape)), 2)
        assert labels.shape == (*images.shape[:-1], 1)
        assert images.dtype == np.float32
        if augment == "none":
            np.testing.assert_array_equal(labels[..., 0], images[..., 0] % 3 == 0)


@pytest.mark.parametrize("shape", [(12, 12), (12, 9), (8, 8, 8), (8, 8, 6)])
def test_symmetries_turn_image_and_label_alike(shape):
    rng = np.random.default_rng(0)
    label = np.arange(np.prod(shape)).reshape(shape)
    image = np.pad(label, 2, constant_values=-1)[..., None]
    seen = set()
    for _ in range(600):
        turned, turned_label = symmetries(image, label, rng)
        inner = tuple(slice(2, -2) for _ in shape)
        np.testing.assert_array_equal(turned[inner][..., 0], turned_label)
        assert turned_label.shape == shape
        seen.add(turned_label.tobytes())
    # The symmetries of a square, a rectangle, a cube and a square prism.
    assert len(seen) == {(12, 12): 8, (12, 9): 4, (8, 8, 8): 48, (8, 8, 6): 16}[shape]


def test_symmetries_keep_the_multilabel_axis():
    label = np.random.default_rng(0).integers(0, 2, (8, 8, 5))
    image = label.astype(np.float32)
    for seed in range(20):
        turned, turned_label = symmetries(image, label, np.random.default_rng(seed))
        np.testing.assert_array_equal(turned, turned_label)


def test_jitter_changes_contrast_and_brightness_only():
    image = np.random.default_rng(0).normal(5, 2, (20, 20, 3)).astype(np.float32)
    changed = jitter(image, np.random.default_rng(1))
    assert changed.dtype == np.float32
    assert np.corrcoef(image.ravel(), changed.ravel())[0, 1] > 0.99
    assert 0 < abs(changed.mean() - image.mean()) < 2


@pytest.mark.parametrize("halo", [3, (3, 5), ((1, 4), (0, 2))])
@pytest.mark.parametrize("augment", ["none", "flips"])
def test_images_show_a_halo_around_their_labels(halo, augment):
    made = cases([(40, 40)])
    dataset = WindowDataset(made, 16, 8, steps=3, halo=halo, augment=augment)
    pairs = [(axis, axis) if isinstance(axis, int) else axis for axis in ([halo] * 2 if halo == 3 else halo)]
    for images, labels in batches(dataset):
        assert images.shape[1:3] == tuple(16 + before + after for before, after in pairs)
        inner = images[:, pairs[0][0] :, pairs[1][0] :][:, :16, :16, 0]
        if augment == "none":
            np.testing.assert_array_equal(labels[..., 0], inner % 3 == 0)
        # Contrast and brightness change linearly: undone, the values say again what the label is.
        for sample, label in zip(inner, labels[..., 0], strict=True):
            order = np.argsort(sample, axis=None)
            steps = np.diff(np.sort(sample, axis=None))
            assert label.size == order.size
            assert (steps > 0).any()


def test_turned_samples_with_an_uneven_halo_stay_aligned(monkeypatch):
    monkeypatch.setattr("maskzoo.data.sampling.random_windows.jitter", lambda image, rng, out: np.copyto(out, image))
    dataset = WindowDataset(cases([(40, 40)]), 16, 8, steps=6, halo=((1, 4), (0, 2)), augment="flips")
    for images, labels in batches(dataset):
        np.testing.assert_array_equal(labels[..., 0], images[:, 1:-4, :-2, 0] % 3 == 0)


def test_the_same_seed_gives_the_same_batches_and_others_do_not():
    made = cases([(40, 40), (30, 50)])

    def first(**options):
        dataset = WindowDataset(made, 16, 2, steps=3, augment="flips", **options)
        return dataset, batches(dataset)

    dataset, expected = first(seed=5)
    for batch, again in zip(expected, first(seed=5)[1], strict=True):
        assert_equal_batches(batch, again)
    assert_equal_batches(dataset[2], expected[2])  # asked for out of order
    assert (first(seed=6)[1][0][0] != expected[0][0]).any()
    assert (expected[0][0] != expected[1][0]).any()
    dataset.on_epoch_end()
    assert dataset.epoch == 1
    assert (dataset[0][0] != expected[0][0]).any()
    dataset.epoch = 0
    assert_equal_batches(dataset[0], expected[0])


@pytest.mark.parametrize(
    ("workers", "processes"), [(0, False), (1, False), (2, False), (3, False), (1, True), (2, True)]
)
def test_fit_gets_the_same_batches_from_any_workers(workers, processes):
    """Fits a model that records the sum of every batch it is given, over three epochs."""
    made = cases([(40, 40), (30, 50)], channels=1)

    class Recorder(keras.Model):
        def __init__(self):
            super().__init__()
            self.sums = []
            self.layer = keras.layers.Dense(1)

        def call(self, x):
            return self.layer(x)

        def train_step(self, batch):
            self.sums.append([np.asarray(array).astype(float).sum() for array in batch])
            return {"loss": 0.0}

    def fitted(**options):
        model = Recorder()
        model.compile(loss="mse", run_eagerly=True)
        dataset = WindowDataset(made, 8, 2, steps=4, augment="flips", seed=3, **options)
        # Keras would shuffle the order of the batches of an epoch, by the global seed.
        model.fit(dataset, epochs=3, verbose=0, shuffle=False)
        return model.sums

    plain = WindowDataset(made, 8, 2, steps=4, augment="flips", seed=3)
    expected = []
    for plain.epoch in (1, 2, 3):
        expected += [[array.astype(float).sum() for array in batch] for batch in batches(plain)]
    np.testing.assert_allclose(fitted(workers=workers, use_multiprocessing=processes), expected, rtol=1e-5)


def test_data_sets_are_pickled():
    dataset = WindowDataset(cases([(40, 40)]), 16, 2, steps=2)
    assert_equal_batches(pickle.loads(pickle.dumps(dataset))[1], dataset[1])


def test_a_grid_shows_every_pixel_of_every_image_once_in_order():
    made = cases([(16, 24), (8, 8), (24, 16)])
    dataset = WindowDataset(made, 8, 4, shuffle=False)
    assert len(dataset) == 4  # 6 + 1 + 6 windows
    shown, weights = [], []
    for images, labels, weight in batches(dataset):
        assert images.shape == (4, 8, 8, 2)
        assert weight.shape == (4,)
        np.testing.assert_array_equal(labels[..., 0], images[..., 0] % 3 == 0)
        shown.append(images[weight > 0][..., 0].ravel())
        weights.append(weight)
    assert np.concatenate(weights).tolist() == [1.0] * 13 + [0.0] * 3
    expected = np.concatenate([np.arange(16 * 24), np.arange(64), np.arange(16 * 24)])
    assert collections.Counter(np.concatenate(shown)) == collections.Counter(expected)


@pytest.mark.parametrize("shape", [(30, 21), (5, 40), (3, 3), (20, 9, 11)])
def test_covering_windows_have_one_size_and_cover_the_image(shape):
    patch = (8,) * len(shape)
    count = np.zeros([length + 40 for length in shape], int)
    for window in covering_windows(shape, patch):
        assert window.size == patch
        count[tuple(slice(start + 20, start + 28) for start in window.offset)] += 1
    assert count[tuple(slice(20, 20 + length) for length in shape)].min() >= 1


def test_random_windows_see_border_and_middle_about_as_often():
    rng = np.random.default_rng(0)
    count = np.zeros(100)
    for _ in range(20_000):
        (start,), (stop,) = (lambda w: (w.offset, w.stop))(random_window((100,), (32,), rng))
        assert 0 <= start < stop <= 100
        count[start:stop] += 1
    count /= count.mean()
    assert count.min() > 0.25
    assert count.max() < 1.5
    np.testing.assert_allclose(count, count[::-1], atol=0.15)


def test_small_images_are_mirrored_at_random_places():
    rng = np.random.default_rng(0)
    starts = {random_window((10,), (16,), rng).offset[0] for _ in range(200)}
    assert starts == set(range(-6, 1))
    assert random_window((16,), (16,), rng) == Window((0,), (16,))


def test_wrong_arguments_are_refused():
    made = cases([(20, 20)])
    with pytest.raises(ValueError, match="batch size: expected a multiple of the 2 devices; received 3"):
        WindowDataset(made, 8, 3, replicas=2)
    with pytest.raises(ValueError, match="expected at least one labelled image"):
        WindowDataset([], 8, 2)
    with pytest.raises(ValueError, match=r"augment: expected flips \(of none, flips, .*\); received flip"):
        WindowDataset(made, 8, 2, augment="flip")
    with pytest.raises(ValueError, match="patch: expected 2 numbers"):
        WindowDataset(made, (8, 8, 8), 2)
    with pytest.raises(ValueError, match="patch: expected positive sizes"):
        WindowDataset(made, 0, 2)
    with pytest.raises(IndexError):
        WindowDataset(made, 8, 2, steps=3)[3]
