"""Normalised windows equal numpy's arithmetic; what was measured once is not measured again for the same content."""

import json
import os

import numpy as np
import pytest

from maskzoo.data import Normalizer, Window, open_source
from maskzoo.data.images.raster_files import open_raster
from maskzoo.errors import ImageError, OptionError


def normalized(array, kind, spatial_dims=2):
    source = open_source(array, spatial_dims=spatial_dims)
    window = Window((0,) * spatial_dims, source.shape)
    normalizer = Normalizer.from_dict(json.loads(json.dumps(Normalizer.measured(kind, [source]).as_dict())))
    return normalizer(source)(window)


def test_normalisation_equals_numpy():
    array = np.random.default_rng(0).normal([1e4, 2e4], 3, (1500, 1100, 2)).astype(np.float32)
    exact = array.astype(np.float64)
    expected = (exact - exact.mean((0, 1))) / exact.std((0, 1))
    for kind in ("dataset", "image"):
        np.testing.assert_allclose(normalized(array, kind), expected, atol=2e-3)
    low, high = np.percentile(array[:100], (0.5, 99.5), axis=(0, 1))
    expected = np.clip((array[:100] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(normalized(array[:100], "percentile"), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"), [("uint8", 255, 1), ("uint16", 65535, 1), ("float32", 3.5, 3.5), ("int16", -7, -7)]
)
def test_without_normalisation_only_the_types_range_counts(dtype, value, expected):
    assert normalized(np.full((4, 4), value, dtype), "none").max() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["dataset", "image", "percentile"])
def test_a_constant_image_is_finite(kind):
    assert np.isfinite(normalized(np.full((8, 8), 9, np.uint8), kind)).all()


def test_a_giant_image_is_measured_on_a_sample_and_always_the_same(tmp_path):
    path = tmp_path / "giant.tif"
    options = {"tiled": True, "sparse_ok": True, "compress": "deflate", "blockxsize": 512, "blockysize": 512}
    block = np.random.default_rng(0).integers(0, 99, (1, 512, 512), np.uint8)
    with open_raster(path, "w", driver="GTiff", height=200_000, width=200_000, count=1, dtype="uint8", **options) as f:
        f.write(block, window=((0, 512), (0, 512)))
    window = Window((0, 0), (64, 64))
    first, second = (Normalizer("image", 1)(open_source(path))(window) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_other_channels_than_in_training_are_refused():
    normalizer = Normalizer.measured("dataset", [open_source(np.zeros((4, 4, 3)))])
    with pytest.raises(ImageError, match="array: expected 3 channels; received 4"):
        normalizer(open_source(np.zeros((4, 4, 4))))


def test_an_unknown_kind_is_refused():
    with pytest.raises(OptionError, match=r"normalization: expected percentile \(of .*\); received percentiles"):
        Normalizer("percentiles", 1)


@pytest.fixture
def file(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (2100, 2050, 1), np.uint8)
    np.save(tmp_path / "image.npy", image)
    return tmp_path / "image.npy"


def test_the_second_start_measures_nothing(file, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKZOO_CACHE", str(tmp_path / "cache"))
    window = Window((0, 0), (32, 32))

    def normalized(kind):
        source = open_source(file)
        return Normalizer.measured(kind, [source])(source)(window)

    first = {kind: normalized(kind) for kind in ("dataset", "image", "percentile")}
    assert len(list((tmp_path / "cache").iterdir())) == 2  # the moments of one image are those of the set
    with monkeypatch.context() as patched:
        for name in ("moments", "percentiles"):
            patched.setattr(f"maskzoo.data.sets.normalization.{name}", None)  # not called again
        for kind, expected in first.items():
            np.testing.assert_array_equal(normalized(kind), expected)
    image = np.load(file)
    image[1000, 1000] ^= 1  # a pixel in the middle of the file
    np.save(file, image)
    os.utime(file, ns=(1, 1))
    with monkeypatch.context() as patched:
        patched.setattr("maskzoo.data.sets.normalization.moments", None)
        with pytest.raises(TypeError):
            normalized("dataset")
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(b"damaged")
    np.testing.assert_allclose(normalized("image"), first["image"], atol=1e-4)
