"""Samples keep image and label aligned at every scale and under every change; masks are blurred by a Gaussian."""

from math import erf

import numpy as np
import pytest
from labelled_cases import batches, cases, found_scheme, labelled

from maskzoo.data import Window, open_source
from maskzoo.data.sampling.options import WindowOptions
from maskzoo.data.sampling.random_windows import RandomWindows
from maskzoo.data.sampling.samples import blur_masks


@pytest.mark.parametrize(("shape", "patch"), [((50, 40), 16), ((20, 24, 28), (8, 12, 16)), ((9, 30), 16)])
@pytest.mark.parametrize("augment", ["none", "flips"])
def test_samples_have_the_asked_shapes_and_types(shape, patch, augment):
    made = cases([shape] * 3, channels=2)
    for images, labels in batches(RandomWindows(made, patch, 4, WindowOptions(steps=5, augment=augment))):
        assert images.shape == (4, *np.broadcast_to(patch, len(shape)), 2)
        assert labels.shape == (*images.shape[:-1], 1)
        assert (images.dtype, labels.dtype) == (np.float32, np.uint8)


@pytest.mark.parametrize("halo", [0, 3, (3, 5), ((1, 4), (0, 2))])
@pytest.mark.parametrize("augment", ["none", "flips"])
def test_images_show_a_halo_around_their_labels(halo, augment):
    values = np.random.default_rng(0).permutation(1600).reshape(40, 40).astype(np.float32)
    # Two more channels that are constant tell how contrast and brightness were changed, and so the values before.
    image = np.stack([values, np.zeros_like(values), np.full_like(values, 1000)], axis=-1)
    made = [labelled((values % 3 == 0).astype(np.uint8), image)]
    pairs = [(halo, halo)] * 2 if isinstance(halo, int) else [(n, n) if isinstance(n, int) else n for n in halo]
    for images, labels in batches(RandomWindows(made, 16, 8, WindowOptions(steps=3, augment=augment), halo=halo)):
        assert images.shape[1:3] == tuple(16 + before + after for before, after in pairs)
        inner = images[:, pairs[0][0] :, pairs[1][0] :][:, :16, :16]
        shown = (inner[..., 0] - inner[..., 1]) * 1000 / (inner[..., 2] - inner[..., 1])
        np.testing.assert_allclose(shown, shown.round(), atol=0.05)
        np.testing.assert_array_equal(labels[..., 0], shown.round() % 3 == 0)
        if augment == "flips":
            assert np.ptp(images[..., 1]) > 0


def test_turned_samples_with_an_uneven_halo_stay_aligned(monkeypatch):
    monkeypatch.setattr("maskzoo.data.sampling.samples.jitter", lambda image, rng, out: np.copyto(out, image))
    options = WindowOptions(steps=6, augment="flips")
    for images, labels in batches(RandomWindows(cases([(40, 40)]), 16, 8, options, halo=((1, 4), (0, 2)))):
        np.testing.assert_array_equal(labels[..., 0], images[:, 1:-4, :-2, 0] % 3 == 0)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_coarser_scales_show_the_mean_under_each_pixel_and_stay_aligned(factor):
    columns = np.broadcast_to(np.arange(200.0, dtype=np.float32), (160, 200))
    made = [labelled((columns > 83).astype(np.uint8), columns[..., None].copy())]
    for augment in ("none", "flips", "light"):
        options = WindowOptions(steps=4, scales=[1 / factor], augment=augment)
        for images, labels in batches(RandomWindows(made, 24, 8, options, halo=((1, 2), (2, 0)))):
            assert (images.shape, labels.shape) == ((8, 27, 26, 1), (8, 24, 24, 1))
            for image, label in zip(images[:, 1:-2, 2:], labels, strict=True):
                if augment == "none":
                    # The label is that of the middle pixel; of an even number, the one behind the middle.
                    np.testing.assert_array_equal(label, image + (factor % 2 == 0) / 2 > 83.01)
                elif 0 < label.mean() < 1:
                    assert image[label == 1].min() > image[label == 0].max() - 3 * factor
    ((wide, _),) = batches(RandomWindows(made, 24, 200, WindowOptions(steps=1, scales=[1, 1 / factor])))
    narrow = np.count_nonzero((np.ptp(wide, axis=(1, 2, 3))).round() == 23)
    assert narrow == pytest.approx(100, abs=30)


def test_scales_in_volumes_are_means_of_blocks():
    made = cases([(32, 32, 32)])
    images, labels = RandomWindows(made, 8, 2, WindowOptions(steps=1, scales=[0.5])).batch(0, 0)
    assert (images.shape, labels.shape) == ((2, 8, 8, 8, 1), (2, 8, 8, 8, 1))
    rng = np.random.default_rng([0, 0, 0]).spawn(2)[0]
    case, window = RandomWindows(made, 8, 1).draw((0, 0), rng)
    start = [place - 4 for place in window.offset]
    whole = np.pad(case.image.read(Window((0,) * 3, (32,) * 3))[..., 0], 16, mode="reflect")
    block = whole[tuple(slice(place + 16, place + 32) for place in start)]
    np.testing.assert_allclose(images[0, ..., 0], block.reshape(8, 2, 8, 2, 8, 2).mean(axis=(1, 3, 5)), rtol=1e-6)


def test_blurred_masks_are_the_integral_of_the_gaussian():
    mask = np.zeros((41, 41, 1), np.uint8)
    mask[:, 20:] = 1
    soft = blur_masks(mask, 2.0)
    assert soft.dtype == np.float32
    for distance in range(-6, 7):
        expected = 0.5 * (1 + erf((distance + 0.5) / (2 * 2**0.5)))
        assert soft[20, 20 + distance, 0] == pytest.approx(expected, abs=5e-3)
    line = np.zeros((21, 21, 2), np.uint8)
    line[10, :, 1] = 1
    soft = blur_masks(line, 1.0)
    assert soft[10, 10, 1] == pytest.approx(1 / np.sqrt(2 * np.pi), abs=5e-3)
    assert soft[..., 0].max() == 0


def test_ignored_pixels_stay_ignored_and_contribute_nothing():
    mask = np.zeros((20, 20, 1), np.uint8)
    mask[:, 10:] = 1
    mask[:, 12:] = 255
    soft = blur_masks(mask, 2.0)
    np.testing.assert_array_equal(soft == 255, mask == 255)
    assert 0.5 < soft[10, 11, 0] <= 1
    label = np.zeros((60, 60), np.uint8)
    label[20:40, 20:40] = 1
    label[:4] = 7
    scheme = found_scheme([open_source(label, spatial_dims=2)], ignore=(7,))
    made = [labelled(label, scheme=scheme)]
    images, labels = RandomWindows(made, 32, 4, WindowOptions(steps=1, mask_sigma=1.5)).batch(0, 0)
    assert labels.dtype == np.float32
    assert set(np.unique(labels[labels > 1])) <= {255}
    assert ((labels > 0.01) & (labels < 0.99)).any()
    assert images.dtype == np.float32
