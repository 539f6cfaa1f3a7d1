"""The overview of a file is the file thinned, with or without a pyramid; tissue is found on it."""

import numpy as np
import pytest
from rasterio.enums import Resampling

from maskzoo.data import Window, open_source
from maskzoo.data.images.overview import overview, tissue, tissue_finder
from maskzoo.data.images.raster_files import open_raster


@pytest.mark.parametrize("pyramid", [False, True])
def test_the_overview_of_a_file_is_the_file_thinned(tmp_path, pyramid):
    image = np.zeros((3000, 2100, 3), np.uint8)
    image[600:1500, 900:1800] = (200, 100, 50)
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "lzw"}
    path = tmp_path / "slide.tif"
    with open_raster(path, "w", driver="GTiff", width=2100, height=3000, count=3, dtype="uint8", **options) as file:
        file.write(np.moveaxis(image, -1, 0))
        if pyramid:
            file.build_overviews([2, 4], Resampling.average)
    seen, step = overview(open_source(path))
    assert (seen.shape, step) == ((1000, 700, 3), 3)
    plain, _ = overview(open_source(image))
    assert plain.shape == seen.shape
    assert np.mean(tissue(seen) == tissue(plain)) > 0.995
    np.testing.assert_array_equal(tissue(plain), image[::3, ::3, 0] > 0)


def test_tissue_is_colourful_or_grey_that_the_border_is_not():
    spot = np.zeros((60, 80), bool)
    spot[20:40, 30:60] = True
    stained = np.where(spot[..., None], np.uint8([200, 80, 150]), np.uint8(235))
    dark, bright = (np.where(spot, *pair).astype(np.uint8)[..., None] for pair in ((40, 220), (220, 40)))
    for image in (stained, dark, bright):
        np.testing.assert_array_equal(tissue(image), spot)
    assert tissue(np.full((5, 6, 1), 7, np.uint8)).all()


@pytest.mark.parametrize("margin", [0, 32])
def test_windows_show_tissue_if_they_come_near_it(margin):
    image = np.zeros((2048, 3000, 1), np.uint8)
    image[900:1000, 1500:1700] = 200
    shows_tissue = tissue_finder(open_source(image), margin)
    assert shows_tissue(Window((950, 1600), (8, 8)))
    assert shows_tissue(Window((0, 0), (2048, 3000)))
    assert shows_tissue(Window((850 - margin, 1600), (51, 8)))
    assert not shows_tissue(Window((0, 0), (850 - margin, 3000)))
    assert not shows_tissue(Window((-50, -50), (40, 40)))
    assert not shows_tissue(Window((950, 2000), (8, 2000)))
