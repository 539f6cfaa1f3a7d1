"""Moments and percentiles equal numpy's on the whole, whatever the windows."""

from math import prod

import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.images.statistics import extremes, measured_windows, moments, percentiles


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


def test_values_that_a_file_lacks_do_not_count(tmp_path, write_raster):
    rng = np.random.default_rng(0)
    heights = rng.normal(700, 30, (2, 400, 400)).astype(np.float32)
    held = np.zeros((400, 400), bool)
    held[:200, :200] = True
    for nodata in (-9999.0, 0.0):
        # One value of one band is lacking by itself.
        stored = np.where(held, heights, np.float32(nodata))
        stored[1, 3, 4] = nodata
        source = open_source(write_raster(tmp_path / "a.tif", stored, nodata=nodata))
        mean, std = moments([source])
        first, second = heights[0][held], np.delete(heights[1][held], 3 * 200 + 4)
        np.testing.assert_allclose(mean, [first.mean(), second.mean()], rtol=1e-6)
        np.testing.assert_allclose(std, [first.std(), second.std()], rtol=1e-5)
        np.testing.assert_allclose(percentiles(source, [0, 50])[:, 1], np.percentile(second, [0, 50]), rtol=1e-6)
        assert extremes([source]) == (min(first.min(), second.min()), max(first.max(), second.max()))


def test_an_image_without_any_value_measures_0(tmp_path, write_raster):
    source = open_source(write_raster(tmp_path / "a.tif", np.zeros((1, 20, 20), np.uint8), nodata=0))
    assert [part.tolist() for part in moments([source])] == [[0.0], [0.0]]
    assert percentiles(source, [5, 95]).tolist() == [[0.0], [0.0]]
    assert extremes([source]) == (0.0, 0.0)
