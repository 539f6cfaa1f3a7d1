"""Data sets for `fit` serve the same batches from any workers, and are pickled."""

import pickle

import keras
import numpy as np
import pytest
from labelled_cases import assert_equal_batches, cases

from maskzoo.data import LoadingOptions, WindowDataset, WindowOptions
from maskzoo.data.sampling.random_windows import RandomWindows
from maskzoo.errors import OptionError


def served(dataset):
    return [dataset[index] for index in range(len(dataset))]


def test_an_epoch_ends_with_other_windows():
    dataset = WindowDataset(cases([(40, 40)]), 16, 2, WindowOptions(steps=3))
    expected = served(dataset)
    dataset.on_epoch_end()
    assert dataset.epoch == 1
    assert (dataset[0][0] != expected[0][0]).any()
    dataset.epoch = 0
    assert_equal_batches(dataset[0], expected[0])


def test_without_shuffling_the_grid_is_the_same_in_every_epoch():
    dataset = WindowDataset(cases([(24, 16)]), 8, 4, WindowOptions(seed=3), shuffle=False, limit=5)
    assert len(dataset) == 2
    expected = served(dataset)
    assert [(batch[2] > 0).tolist() for batch in expected] == [[True] * 4, [True, False, False, False]]
    assert len(dataset.shown) == 5
    dataset.on_epoch_end()
    for batch, again in zip(expected, served(dataset), strict=True):
        assert_equal_batches(batch, again)


class Recorder(keras.Model):
    """Records the sums of every batch it is given."""

    def __init__(self):
        super().__init__()
        self.sums = []
        self.layer = keras.layers.Dense(1)

    def call(self, x):
        return self.layer(x)

    def train_step(self, batch):
        self.sums.append([np.asarray(array).astype(float).sum() for array in batch])
        return {"loss": 0.0}


@pytest.mark.parametrize(("workers", "processes"), [
    (0, False), (1, False), (3, False), pytest.param(2, True, marks=pytest.mark.slow),
])  # fmt: skip
def test_fit_gets_the_same_batches_from_any_workers(workers, processes):
    made, options = cases([(40, 40), (30, 50)]), WindowOptions(steps=4, augment="flips", seed=3)
    model = Recorder()
    model.compile(loss="mse", run_eagerly=True)
    loading = LoadingOptions(workers=workers, use_multiprocessing=processes)
    # Keras would shuffle the order of the batches of an epoch, by the global seed.
    model.fit(WindowDataset(made, 8, 2, options, loading=loading), epochs=3, verbose=0, shuffle=False)
    plain = WindowDataset(made, 8, 2, options)
    expected = []
    for plain.epoch in (1, 2, 3):
        expected += [[array.astype(float).sum() for array in batch] for batch in served(plain)]
    np.testing.assert_allclose(model.sums, expected, rtol=1e-5)


OPTIONS = [
    {"windows": "all", "overlap": 0.5, "hard_example_fraction": 0.3},
    {"windows": "tissue", "scales": [1, 0.5], "augment": "light"},
    {
        "windows": "positive",
        "mix_probabilities": {"cutmix": 0.5, "mosaic": 0.5},
        "mask_sigma": 1.0,
        "augment": "flips",
    },
    {"balance": {"foreground": 1.0}, "hard_example_fraction": 0.5, "mix_probabilities": {"cutmix": 1.0}},
]


def check_same_batches(options, *loadings):
    """Data sets of the same options serve the same batches in two epochs, also after new weights of the grid."""
    made = cases([(40, 40), (30, 50), (24, 24)], channels=3)
    options = WindowOptions(steps=4, seed=7, **options)
    datasets = [WindowDataset(made, 16, 3, options, loading=loading) for loading in loadings]
    seen = set()
    for epoch in range(2):
        for dataset in datasets:
            dataset.epoch = epoch
        expected, *others = map(served, datasets)
        for other in others:
            for one, two in zip(expected, other, strict=True):
                assert_equal_batches(one, two)
        for dataset in datasets:
            assert_equal_batches(dataset[2], expected[2])  # asked for out of order
        seen |= {images.tobytes() for images, _ in expected}
        for dataset in datasets:
            dataset.set_hardness(np.arange(len(dataset.grid_windows)))
    assert len(seen) == 8


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_the_same_seed_gives_the_same_batches_from_any_threads(options):
    check_same_batches(options, LoadingOptions(), LoadingOptions(workers=2))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_what_a_worker_process_is_sent_makes_the_same_batches(options):
    made = cases([(40, 40), (30, 50), (24, 24)], channels=3)
    windows = RandomWindows(made, 16, 3, WindowOptions(steps=4, seed=7, **options))
    sent = pickle.loads(pickle.dumps(windows))
    hardness = np.linspace(0.1, 1, len(windows.grid))
    for index in range(4):
        assert_equal_batches(sent.batch(1, index, hardness), windows.batch(1, index, hardness))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_batches_from_any_processes():
    check_same_batches(OPTIONS[2], LoadingOptions(), LoadingOptions(workers=2, use_multiprocessing=True))


def test_data_sets_are_pickled():
    dataset = WindowDataset(cases([(40, 40)]), 16, 2, WindowOptions(steps=2), loading=LoadingOptions(workers=1))
    expected = dataset[1]
    assert_equal_batches(pickle.loads(pickle.dumps(dataset))[1], expected)


def test_weights_are_one_per_window_of_the_grid():
    dataset = WindowDataset(cases([(16, 16)]), 8, 2, WindowOptions(hard_example_fraction=1.0))
    with pytest.raises(OptionError, match="hardness: expected 4 weights"):
        dataset.set_hardness(np.ones(3))


def test_batches_that_cannot_be_divided_are_refused():
    made = cases([(20, 20)])
    with pytest.raises(OptionError, match="batch_size: expected a multiple of the 2 devices; received 3"):
        WindowDataset(made, 8, 3, loading=LoadingOptions(replicas=2))
    with pytest.raises(OptionError, match="batch_size: expected a multiple of the 2 shards; received 3"):
        WindowDataset(made, 8, 3, loading=LoadingOptions(shard=(0, 2)))
    with pytest.raises(IndexError):
        WindowDataset(made, 8, 2, WindowOptions(steps=3))[3]
