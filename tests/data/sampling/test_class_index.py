"""Balanced windows reach the shares that are asked for, from an index that finds every class and is made once."""

import numpy as np
import pytest

from maskzoo.data import Case, Normalizer, WindowDataset, open_source
from maskzoo.data.labels.scheme import find_scheme
from maskzoo.data.sampling.class_index import ClassIndex, cached, presence_of
from maskzoo.data.sampling.random_windows import RandomWindows


def cases(labels, **options):
    sources = [open_source(label, spatial_dims=label.ndim) for label in labels]
    scheme = find_scheme(sources, **options)
    images = [open_source(label.astype(np.float32), spatial_dims=label.ndim) for label in labels]
    return [
        Case(str(number), None, image, Normalizer("none", image.channels)(image), scheme.reader(source))
        for number, (image, source) in enumerate(zip(images, sources, strict=True))
    ]


def rare(shape, seed, value=1, spots=2, radius=6):
    """A label with a few spots."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    for _ in range(spots):
        centre = rng.integers(radius, np.array(shape) - radius)
        label[tuple(slice(c - radius, c + radius) for c in centre)] = value
    return label


def shown(windows, batches):
    labels = np.concatenate([windows.batch(0, index)[1] for index in range(batches)])
    return labels.reshape(len(labels), -1)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("shape", "patch"), [((400, 500), 64), ((90, 80, 70), 24)])
def test_the_asked_share_of_windows_shows_the_class(share, shape, patch):
    made = cases([rare(shape, seed) for seed in range(4)])
    windows = RandomWindows(made, patch, 50, steps=40, balance={"foreground": share})
    assert shown(windows, 40).any(axis=1).mean() == pytest.approx(share, abs=0.035)  # 2000 windows: three deviations
    plain = RandomWindows(made, patch, 50, steps=10)
    assert shown(plain, 10).any(axis=1).mean() < 0.25


def test_the_asked_shares_of_several_classes():
    made = cases([rare((400, 400), seed) + rare((400, 400), seed + 50, value=2, spots=1) for seed in range(6)])
    names = made[0].read_label.scheme.class_names
    windows = RandomWindows(made, 64, 50, steps=60, balance={names[1]: 0.4, names[2]: 0.3})
    labels = shown(windows, 60)
    for value, share in ((1, 0.4), (2, 0.3)):
        assert (labels == value).any(axis=1).mean() == pytest.approx(share, abs=0.04)


def test_aimed_windows_show_the_class_anywhere_in_them():
    label = np.zeros((300, 300), np.uint8)
    label[150, 150] = 1
    windows = RandomWindows(cases([label]), 31, 500, steps=1, balance={"foreground": 1.0})
    places = np.argwhere(windows.batch(0, 0)[1][..., 0])[:, 1:]
    assert len(places) == 500
    assert places.min() == 0
    assert places.max() == 30
    np.testing.assert_allclose(places.mean(axis=0), 15, atol=1.5)


def test_small_images_and_borders():
    label = np.zeros((20, 90), np.uint8)
    label[0, 0] = label[19, 89] = 1
    windows = RandomWindows(cases([label]), 32, 100, steps=1, balance={"foreground": 1.0})
    assert shown(windows, 1).any(axis=1).all()


def test_balanced_batches_are_the_same_for_the_same_seed():
    made = cases([rare((200, 200), seed) for seed in range(3)])
    first, again = (WindowDataset(made, 32, 4, steps=3, seed=2, balance={"foreground": 0.5}) for _ in range(2))
    for index in (2, 0, 1):
        np.testing.assert_array_equal(first[index][0], again[index][0])


@pytest.mark.parametrize("shape", [(50, 61), (33, 20, 17)])
def test_the_index_knows_exactly_the_cells_that_show_a_class(shape):
    label = np.random.default_rng(0).choice(4, shape, p=[0.97, 0.01, 0.01, 0.01]).astype(np.uint8)
    made = cases([label])
    (presence,) = presence_of(made, (8,) * len(shape))
    for cell in np.ndindex(*presence.shape[:-1]):
        part = label[tuple(slice(8 * place, 8 * place + 8) for place in cell)]
        assert presence[cell].tolist() == [(part == value).any() for value in range(4)]
    index = ClassIndex(made, 8)
    rng = np.random.default_rng(0)
    for kind in range(1, 4):
        drawn = {tuple(index.draw(kind, rng)[1].tolist()) for _ in range(3000)}
        assert drawn == set(map(tuple, np.argwhere(label == kind).tolist()))


def test_a_cached_index_is_read_back_and_made_anew_for_other_labels(tmp_path, monkeypatch):
    made = cases([rare((60, 60), seed) for seed in range(2)])
    first = cached(made, (8, 8), tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    with monkeypatch.context() as patched:
        patched.setattr("maskzoo.data.sampling.class_index.presence_of", None)  # not called again
        for cells, again in zip(first, cached(made, (8, 8), tmp_path), strict=True):
            np.testing.assert_array_equal(cells, again)
    cached(made, (4, 4), tmp_path)
    cached(cases([rare((60, 60), seed) for seed in range(1, 3)]), (8, 8), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    np.testing.assert_array_equal(cached(made, (8, 8), tmp_path)[0], first[0])
    (tmp_path / "file").touch()
    np.testing.assert_array_equal(cached(made, (8, 8), tmp_path / "file")[0], first[0])


def test_wrong_balances_are_refused():
    made = cases([rare((100, 100), 0)])
    for balance, message in [
        ({"tumour": 0.5}, r"balance: expected foreground \(or one of foreground\); received tumour"),
        ({"foreground": 1.5}, "balance: expected a share between 0 and 1 for foreground; received 1.5"),
    ]:
        with pytest.raises(ValueError, match=message):
            RandomWindows(made, 32, 2, balance=balance)
    full = cases([np.ones((100, 100), np.uint8)])
    with pytest.raises(ValueError, match=r"windows of \(32, 32\) can have, such as foreground: 1.00; received"):
        RandomWindows(full, 32, 2, balance={"foreground": 0.5})
    empty = cases([np.zeros((100, 100), np.uint8)], classes={"a": 1})
    with pytest.raises(ValueError, match="balance: expected a class that occurs in the labels; received a"):
        RandomWindows(empty, 32, 2, balance={"a": 0.5})
