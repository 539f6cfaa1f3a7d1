"""Statistics equal numpy's on the whole, whatever the windows, and are measured once for the same content."""

import os

import numpy as np
import pytest

from maskzoo.data import Normalizer, Window, open_source
from maskzoo.data.images.rasterio_source import open_raster
from maskzoo.data.sets.measurement_cache import cache_folder, remembered
from maskzoo.data.sets.normalization import moments, percentiles


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shapes", [[(2500, 1300), (30, 40), (1024, 1025)], [(100, 90, 110), (20, 97, 30)]])
def test_moments_equal_numpys_over_all_pixels(dtype, shapes):
    rng = np.random.default_rng(0)
    offset = 100 if dtype == np.uint8 else 30_000
    levels = np.array([offset, offset + 40])
    images = [rng.normal(levels, 5 + 3 * n, (*shape, 2)).astype(dtype) for n, shape in enumerate(shapes)]
    mean, std = moments([open_source(image, spatial_dims=len(shapes[0])) for image in images])
    pixels = np.concatenate([image.reshape(-1, 2) for image in images]).astype(np.float64)
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-9)


def test_percentiles_equal_numpys():
    image = np.random.default_rng(0).gamma(2, 100, (700, 900, 3)).astype(np.uint16)
    found = percentiles(open_source(image), (0.5, 50, 99.5))
    np.testing.assert_allclose(found, np.percentile(image, (0.5, 50, 99.5), axis=(0, 1)), rtol=1e-12)


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


def test_small_images_and_arrays_leave_nothing_behind(tmp_path):
    small, array = tmp_path / "small.npy", np.zeros((3000, 3000), np.uint8)
    np.save(small, array[:9, :9])
    for source in (open_source(small), open_source(array)):
        assert remembered("sum", [source], lambda: [np.array(7)], tmp_path / "cache") == [7]
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_costs_time_only(file, tmp_path):
    (tmp_path / "taken").touch()
    for _ in range(2):
        assert remembered("sum", [open_source(file)], lambda: [np.array(7)], tmp_path / "taken") == [7]
    assert (tmp_path / "taken").is_file()


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("MASKZOO_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("MASKZOO_CACHE")
    assert cache_folder() == tmp_path / "b" / "maskzoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / ".cache" / "maskzoo"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache_folder() == tmp_path / "local" / "maskzoo" / "Cache"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "maskzoo"


def test_a_windowed_file_and_its_array_have_the_same_moments(tmp_path):
    image = np.random.default_rng(1).integers(0, 65536, (1500, 1100, 3), np.uint16)
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    with open_raster(
        tmp_path / "a.tif", "w", driver="GTiff", width=1100, height=1500, count=3, dtype="uint16", **options
    ) as f:
        f.write(np.moveaxis(image, -1, 0))
    mean, std = moments([open_source(tmp_path / "a.tif")])
    np.testing.assert_allclose(mean, image.mean(axis=(0, 1), dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, image.std(axis=(0, 1), dtype=np.float64), rtol=1e-9)
