"""Windows are placed on tissue, on classes and in the asked fractions; the border is seen as often as the middle."""

import collections
from dataclasses import replace

import numpy as np
import pytest
from labelled_cases import APART, batches, cases, first_values, found_scheme, labelled

from maskzoo.data import Window, open_source
from maskzoo.data.sampling.options import WindowOptions
from maskzoo.data.sampling.places import random_window
from maskzoo.data.sampling.random_windows import RandomWindows, cumulated_weights
from maskzoo.errors import OptionError


def slide(rng, shape=(300, 400), spot=((200, 300), 60)):
    """A bright slide with a spot of pink tissue, and where the tissue is."""
    image = rng.integers(235, 250, (*shape, 1)) + rng.integers(-2, 3, (*shape, 3))
    (row, column), radius = spot
    inside = np.hypot(*np.ogrid[-row : shape[0] - row, -column : shape[1] - column]) < radius
    image[inside] = np.array([190, 100, 160]) + rng.integers(-20, 20, (inside.sum(), 3))
    return image.clip(0, 255).astype(np.uint8), inside


def drawn(made, patch, number, **options):
    """The windows that are drawn for a number of samples."""
    windows = RandomWindows(made, patch, 1, WindowOptions(**options))
    rngs = np.random.default_rng(0).spawn(number)
    return [windows.draw((0, n), rng)[1] for n, rng in enumerate(rngs)]


@pytest.mark.parametrize("kind", ["colours", "dark tissue", "bright tissue"])
def test_tissue_windows_have_tissue_in_their_centre(kind):
    image, inside = slide(np.random.default_rng(0))
    if kind != "colours":
        image = image[..., 1:2]
    if kind == "bright tissue":
        image = 255 - image
    made = [labelled(inside.astype(np.uint8), image)]
    windows = drawn(made, 33, 2000, windows="tissue")
    centres = np.array([window.offset for window in windows]) + 16
    assert inside[tuple(centres.T)].mean() > 0.99
    anywhere = np.array([window.offset for window in drawn(made, 33, 200)]) + 16
    assert inside[tuple(anywhere.T)].mean() < 0.4
    np.testing.assert_allclose(centres.mean(axis=0), (200, 300), atol=5)
    assert np.ptp(centres, axis=0).min() > 110  # all of a spot 120 pixels wide


def test_tissue_of_images_that_are_smaller_than_a_window_or_uniform():
    image, inside = slide(np.random.default_rng(0))
    small = [labelled(inside[180:200, 280:400].astype(np.uint8), image[180:200, 280:400])]
    windows = RandomWindows(small, 64, 2, WindowOptions(steps=2, windows="tissue"))
    assert windows.batch(0, 1)[0].shape == (2, 64, 64, 3)
    blank = labelled(inside.astype(np.uint8), np.full_like(image, 255))
    assert len({window.offset for window in drawn([blank], 32, 200, windows="tissue")}) > 150


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_positive_windows_show_a_class_besides_the_background(task):
    label = np.zeros((400, 400), np.uint8)
    label[10:20, 30:50] = 1
    label[300:304, 200:204] = 1 if task == "binary" else 2
    made = [labelled(label), labelled(np.roll(label, 99))]
    windows = RandomWindows(made, 32, 25, WindowOptions(steps=8, windows="positive"))
    labels = np.concatenate([label for _, label in batches(windows)]).reshape(200, -1)
    assert (labels > 0).any(axis=1).all()
    if task == "multiclass":
        assert {0, 1, 2} == set(np.unique(labels))


def test_positive_windows_need_a_class_to_show():
    empty = np.zeros((20, 20), np.uint8)
    scheme = found_scheme([open_source(empty, spatial_dims=2)], classes={"a": 1})
    with pytest.raises(OptionError, match="windows: expected labels with a class other than the background"):
        RandomWindows([labelled(empty, scheme=scheme)], 8, 2, WindowOptions(windows="positive"))


@pytest.mark.parametrize("windows", ["random", "tissue", "positive"])
def test_cases_are_drawn_in_proportion_to_their_weights(windows):
    made = [replace(case, weight=weight) for case, weight in zip(cases([(30, 30)] * 3), (6, 3, 1), strict=True)]
    options = WindowOptions(steps=50, windows=windows)
    counts = collections.Counter(np.array(first_values(batches(RandomWindows(made, 8, 20, options)))) // APART)
    for number, expected in enumerate((600, 300, 100)):
        assert counts[number] == pytest.approx(expected, abs=60)


def rare(shape, seed, value=1, spots=2, radius=6):
    """A label with a few spots."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    for _ in range(spots):
        centre = rng.integers(radius, np.array(shape) - radius)
        label[tuple(slice(c - radius, c + radius) for c in centre)] = value
    return label


def labelled_alike(labels, **options):
    """Cases of labels with one scheme."""
    scheme = found_scheme([open_source(label, spatial_dims=label.ndim) for label in labels], **options)
    return [labelled(label, scheme=scheme) for label in labels]


def shown(made, patch, number, **options):
    """The labels of windows, one row each."""
    windows = RandomWindows(made, patch, 50, WindowOptions(steps=number, **options))
    labels = np.concatenate([label for _, label in batches(windows)])
    return labels.reshape(len(labels), -1)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("shape", "patch"), [((400, 500), 64), ((90, 80, 70), 24)])
def test_the_asked_fraction_of_windows_shows_the_class(fraction, shape, patch):
    made = labelled_alike([rare(shape, seed) for seed in range(4)])
    found = shown(made, patch, 40, balance={"foreground": fraction})
    assert found.any(axis=1).mean() == pytest.approx(fraction, abs=0.035)  # 2000 windows: three deviations
    assert shown(made, patch, 10).any(axis=1).mean() < 0.25


def test_the_asked_fractions_of_several_classes():
    made = labelled_alike([
        rare((400, 400), seed) + rare((400, 400), seed + 50, value=2, spots=1) for seed in range(6)
    ])  # fmt: skip
    names = made[0].read_label.scheme.class_names
    labels = shown(made, 64, 60, balance={names[1]: 0.4, names[2]: 0.3})
    for value, fraction in ((1, 0.4), (2, 0.3)):
        assert (labels == value).any(axis=1).mean() == pytest.approx(fraction, abs=0.04)


def test_aimed_windows_show_the_class_anywhere_in_them():
    label = np.zeros((300, 300), np.uint8)
    label[150, 150] = 1
    windows = RandomWindows([labelled(label)], 31, 500, WindowOptions(steps=1, balance={"foreground": 1.0}))
    places = np.argwhere(windows.batch(0, 0)[1][..., 0])[:, 1:]
    assert len(places) == 500
    assert places.min() == 0
    assert places.max() == 30
    np.testing.assert_allclose(places.mean(axis=0), 15, atol=1.5)


def test_aimed_windows_of_small_images_and_at_borders():
    label = np.zeros((20, 90), np.uint8)
    label[0, 0] = label[19, 89] = 1
    assert shown([labelled(label)], 32, 2, balance={"foreground": 1.0}).any(axis=1).all()


@pytest.mark.parametrize(("label", "balance", "message"), [
    (rare((100, 100), 0), {"tumour": 0.5}, r"balance: expected one of foreground; received tumour"),
    (rare((100, 100), 0), {"foreground": 1.5}, "balance: expected a fraction between 0 and 1 for foreground; received"),
    (np.ones((100, 100), np.uint8), {"foreground": 0.5},
     r"fractions that windows of \(32, 32\) can have, such as foreground: 1.00; received"),
    (np.zeros((100, 100), np.uint8), {"a": 0.5}, "balance: expected a class that occurs in the labels; received a"),
])  # fmt: skip
def test_balances_that_cannot_be_are_refused(label, balance, message):
    made = labelled_alike([label], **({"classes": {"a": 1}} if "a" in balance else {}))
    with pytest.raises(OptionError, match=message):
        RandomWindows(made, 32, 2, WindowOptions(balance=balance))


def test_random_windows_see_border_and_middle_about_as_often():
    rng = np.random.default_rng(0)
    count = np.zeros(100)
    for _ in range(20_000):
        window = random_window((100,), (32,), rng)
        (start,), (stop,) = window.offset, window.stop
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


@pytest.mark.parametrize("scales", [[1, 0.5, 0.25], [0.25], [1, 0.33]])
def test_classes_are_balanced_at_every_scale(scales):
    label = np.zeros((600, 600), np.uint8)
    for row, column in np.random.default_rng(0).integers(40, 250, (30, 2)):
        label[row : row + 5, column : column + 5] = 1
    made = [labelled(label)]
    options = WindowOptions(steps=20, balance={"foreground": 0.5}, scales=scales)
    images, labels = (
        np.concatenate(parts) for parts in zip(*batches(RandomWindows(made, 32, 25, options)), strict=True)
    )
    shown = labels.reshape(len(labels), -1).any(axis=1)
    assert shown.mean() == pytest.approx(0.5, abs=0.07)
    # At every scale, which the number of pixels that a window spans tells.
    spans = np.ptp(images[:, 0, :, 0], axis=1)
    assert len(spans) == 500


def test_a_balance_that_coarse_windows_cannot_have_is_said(caplog):
    label = np.zeros((512, 512), np.uint8)
    label[np.arange(512) % 128 < 16] = 1  # windows of 32 pixels fit between, of 256 none
    made = [labelled(label)]
    RandomWindows(made, 32, 25, WindowOptions(balance={"foreground": 0.2}))
    assert not caplog.records
    RandomWindows(made, 32, 25, WindowOptions(balance={"foreground": 0.2}, scales=[1, 0.125]))
    (record,) = caplog.records
    assert "at scale 0.125 windows of (32, 32) have foreground: 1.00" in record.getMessage()


def test_hard_windows_are_drawn_at_every_scale():
    columns = np.broadcast_to(np.arange(256.0, dtype=np.float32), (256, 256))
    made = [labelled((columns > 83).astype(np.uint8), columns[..., None].copy())]
    windows = RandomWindows(made, 32, 40, WindowOptions(steps=1, hard_example_fraction=1.0, scales=[1, 0.5, 0.25]))
    weights = np.zeros(len(windows.grid))
    weights[5] = 1  # the second row, columns 160 to 191 ...
    hard = windows.grid[5][1]
    images, _ = windows.batch(0, 0, cumulated_weights(weights, len(weights)))
    centres = images[:, 0, :, 0].mean(axis=1)
    # ... at whatever scale, around its centre.
    np.testing.assert_allclose(centres, hard.offset[1] + 15.5, atol=0.6)
    assert {1, 2, 4} == set(np.rint(np.diff(images[:, 0, 15:17, 0])[:, 0]).astype(int))
