"""Stains that were mixed by hand are found again; normalised images look alike; glass stays white."""

import json
import pickle

import cv2
import numpy as np
import pytest

from maskzoo.data import Normalizer, Window, labelled_cases, load_data, open_source
from maskzoo.data.augmentation.stain import METHODS, fit_stains, measure_stains, restain, stain_jitter, stain_target
from maskzoo.data.sampling.options import WindowOptions
from maskzoo.data.sampling.random_windows import RandomWindows
from maskzoo.errors import ImageError, OptionError

# Haematoxylin and eosin as published by Ruifrok and Johnston; another scanner's as in Macenko's own reference.
RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
MACENKO = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])


def tissue(vectors=RUIFROK, strength=(0.5, 0.5), seed=0, shape=(200, 250), glass=40):
    """An image of two stains in known amounts beside some glass, by the law of Beer and Lambert."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(1.2, strength, (*shape, 2)) * (rng.random((*shape, 2)) < 0.7)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    image = np.clip(np.rint(256 * np.exp(-(amounts @ vectors)) - 1), 0, 255).astype(np.uint8)
    image[:glass] = 255
    return image


def angles(found, expected):
    """Degrees between directions."""
    cosines = (found * expected).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    return np.degrees(np.arccos(np.clip(cosines, -1, 1)))


@pytest.mark.parametrize("method", ["macenko", "vahadane"])
@pytest.mark.parametrize("vectors", [RUIFROK, MACENKO], ids=["ruifrok", "macenko"])
def test_the_stains_of_a_mixture_are_found(method, vectors):
    found, strengths = fit_stains(tissue(vectors).reshape(-1, 3), method)
    assert angles(found, vectors).max() < (1 if method == "macenko" else 4)
    # The 99th percentile of a gamma distribution of shape 1.2 and scale 0.5, 70 % of the time, without the glass.
    assert strengths == pytest.approx([2.2, 2.2], rel=0.2)


@pytest.mark.parametrize("method", METHODS)
def test_an_image_normalised_to_itself_hardly_changes(method):
    image = tissue()
    source = open_source(image)
    changed = restain(image, measure_stains(source, method), stain_target(method, [source]))
    difference = np.abs(changed.astype(int) - image)
    assert difference.mean() < 0.7
    assert np.percentile(difference, 99) <= (2 if method != "vahadane" else 6)


@pytest.mark.parametrize("method", METHODS)
def test_two_scanners_look_alike_afterwards_and_glass_stays_white(method):
    one, other = tissue(RUIFROK, seed=1), tissue(MACENKO, (0.3, 0.4), seed=1)
    target = stain_target(method, [open_source(one)])
    changed = restain(other, fit_stains(other.reshape(-1, 3), method), target)

    def colors(image):
        return np.concatenate([image[50:].mean(axis=(0, 1)), image[50:].std(axis=(0, 1))])

    before = np.abs(colors(other) - colors(one)).max()
    assert before > 15
    assert np.abs(colors(changed) - colors(one)).max() < before / 3
    assert changed[:40].min() >= 254
    if method == "reinhard":
        return
    # The same amounts of stain, in the other's colours: known from how the pictures were made.
    assert np.abs(changed.astype(int) - one).mean() < 6


@pytest.mark.parametrize("shape", [(40, 50, 3), (8, 9, 10, 3)])
def test_stain_jitter_scales_and_shifts_each_concentration(shape):
    from skimage.color import rgb2hed

    rng = np.random.default_rng(0)
    image = rng.uniform(0.25, 0.85, shape).astype(np.float32)
    changed = stain_jitter(image, np.random.default_rng(1), 0.1)
    assert (changed.shape, changed.dtype) == (shape, np.float32)
    # scikit-image unmixes the same stains in its own unit; the change of each is a line.
    before, after = (rgb2hed(part.reshape(-1, 1, 3)).reshape(-1, 3) for part in (image, changed))
    inside = (changed.reshape(-1, 3).min(axis=1) > 0.02) & (changed.reshape(-1, 3).max(axis=1) < 0.98)
    inside &= before.min(axis=1) > 0  # it cuts negative concentrations off
    for stain in range(3):
        factor, shift = np.polyfit(before[inside, stain], after[inside, stain], 1)
        assert 0.85 < factor < 1.15
        assert np.abs(factor * before[inside, stain] + shift - after[inside, stain]).max() < 0.01
    bytes_ = (image * 255).astype(np.uint8)
    again = stain_jitter(bytes_, np.random.default_rng(1), 0.1)
    assert again.dtype == np.uint8
    assert np.abs(again / 255 - changed).max() < 0.02
    np.testing.assert_allclose(stain_jitter(image, rng, 0.0), image, atol=1e-5)
    np.testing.assert_array_equal(stain_jitter(bytes_, rng, 0.0), bytes_)


@pytest.mark.parametrize("method", METHODS)
def test_training_and_prediction_see_the_same_stain(method):
    sources = [open_source(tissue(seed=seed)) for seed in range(3)]
    trained = Normalizer.measured("dataset", sources, stain=method)
    loaded = Normalizer.from_dict(json.loads(json.dumps(trained.as_dict())))
    assert loaded == trained
    window = Window((30, -5), (64, 64))
    np.testing.assert_array_equal(loaded(sources[1])(window), trained(sources[1])(window))
    reader = pickle.loads(pickle.dumps(loaded(sources[1])))
    np.testing.assert_array_equal(reader(window), trained(sources[1])(window))
    # A part of an image is stained as in the whole: what is measured belongs to the image.
    whole = loaded(sources[0])(Window((0, 0), (200, 250)))
    np.testing.assert_array_equal(loaded(sources[0])(Window((60, 70), (50, 40))), whole[60:110, 70:110])
    every = np.concatenate([trained(source)(Window((0, 0), (200, 250))).reshape(-1, 3) for source in sources])
    np.testing.assert_allclose(every.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(every.std(axis=0), 1, atol=1e-3)
    foreign = trained(open_source(tissue(MACENKO, (0.3, 0.4))))(Window((50, 0), (150, 250)))
    plain = Normalizer.measured("dataset", sources)(open_source(tissue(MACENKO, (0.3, 0.4))))(
        Window((50, 0), (150, 250))
    )
    target = trained(sources[0])(Window((50, 0), (150, 250)))
    assert np.abs(foreign.mean((0, 1)) - target.mean((0, 1))).max() < np.abs(plain - target).mean((0, 1)).max() / 2


@pytest.mark.parametrize("method", METHODS)
def test_images_without_tissue_stay_as_they_are(method):
    blank = np.full((64, 64, 3), 250, np.uint8)
    assert fit_stains(blank.reshape(-1, 3), method) is None
    normalizer = Normalizer.measured("none", [open_source(tissue()), open_source(blank)], stain=method)
    np.testing.assert_allclose(normalizer(open_source(blank))(Window((0, 0), (8, 8))), 250 / 255, rtol=1e-5)
    with pytest.raises(OptionError, match="stain: expected images with stained tissue"):
        stain_target(method, [open_source(blank)])


def test_other_images_and_methods_are_refused():
    with pytest.raises(ImageError, match="array: expected 8-bit RGB, which `stain` needs; received 1 channel of uint8"):
        stain_target("macenko", [open_source(np.zeros((9, 9), np.uint8))])
    with pytest.raises(ImageError, match="received 3 channels of uint16"):
        stain_target("macenko", [open_source(np.zeros((9, 9, 3), np.uint16))])
    with pytest.raises(OptionError, match=r"stain: expected macenko \(of .*\); received macenka"):
        stain_target("macenka", [open_source(tissue())])


def test_a_specification_asks_for_a_stain(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for seed in range(3):
        image = tissue(seed=seed, shape=(60, 64), glass=10)
        cv2.imwrite(str(tmp_path / "images" / f"{seed}.png"), image[..., ::-1])
        cv2.imwrite(str(tmp_path / "masks" / f"{seed}.png"), (image[..., 0] < 120).astype(np.uint8))
    (tmp_path / "set.yaml").write_text("path: .\nstain: macenko\nnormalization: none\n")
    data_set = load_data(str(tmp_path / "set.yaml"), spatial_dims=2)
    mapping = json.loads(json.dumps(data_set.as_mapping()))
    assert mapping["normalization"]["stain"]["method"] == "macenko"
    window = Window((0, 0), (60, 64))
    again = labelled_cases(mapping)[0]
    np.testing.assert_array_equal(again.read_image(window), data_set.validation[0].read_image(window))
    for augment in ("none", "flips", "pathology"):
        images, _ = RandomWindows(data_set.train, 32, 2, WindowOptions(augment=augment)).batch(0, 0)
        assert np.isfinite(images).all()
    (tmp_path / "set.yaml").write_text("path: .\nstain: macenka\n")
    with pytest.raises(ValueError, match=r"set.yaml: stain: expected macenko \(of .*\); received macenka"):
        load_data(str(tmp_path / "set.yaml"), spatial_dims=2)
