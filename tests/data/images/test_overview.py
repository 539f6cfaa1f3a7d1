"""The overview of a file is the file thinned, with or without a pyramid."""

import numpy as np
import pytest
from rasterio.enums import Resampling

from maskzoo.data import open_source
from maskzoo.data.images.overview import overview, tissue
from maskzoo.data.images.rasterio_source import open_raster


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
