"""Moments and percentiles equal numpy's on the whole, whatever the windows."""

from math import prod

import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.images.rasterio_source import open_raster
from maskzoo.data.images.statistics import measured_windows, moments, percentiles


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


@pytest.mark.parametrize("shape", [(5000, 3000), (300, 200, 110)])
def test_windows_that_are_measured_cover_a_small_image_once_and_are_a_fixed_choice_of_a_large_one(shape):
    def coverage(budget):
        count = np.zeros(shape, np.uint8)
        for window in measured_windows(shape, budget):
            assert isinstance(window, Window)
            count[window.slices] += 1
        return count

    assert (coverage(prod(shape)) == 1).all()
    some = coverage(prod(shape) // 4)
    assert some.max() == 1
    assert prod(shape) / 10 < some.sum() < prod(shape) / 2
    np.testing.assert_array_equal(coverage(prod(shape) // 4), some)
