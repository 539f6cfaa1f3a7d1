"""What an image lacks, its mask lacks too."""

import numpy as np
import pytest

from maskzoo import data, inference
from maskzoo.data.images.raster_files import open_raster


@pytest.fixture
def image(squares, tmp_path):
    """Path of an image of the set as a TIFF whose left half is nodata."""
    with data.open_source(sorted((squares / "images").iterdir())[0]) as source:
        pixels = np.moveaxis(source.read(data.Window((0, 0), source.shape)), -1, 0)
    pixels = np.maximum(pixels, 1)
    pixels[:, :, : pixels.shape[2] // 2] = 0
    size = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    with open_raster(tmp_path / "image.tif", "w", driver="GTiff", dtype="uint8", nodata=0, **size) as file:
        file.write(pixels)
    return tmp_path / "image.tif"


def test_missing_pixels_stay_missing(trained_run, image, tmp_path):
    run = inference.load_run(trained_run)
    with data.open_source(image) as source:
        inference.predict_image(run, source, tmp_path / "mask.tif")
        inference.predict_image(run, source, tmp_path / "mask.npy")
        options = inference.OutputOptions(probabilities="float32")
        inference.predict_image(run, source, tmp_path / "scores.tif", options)
    half = np.load(tmp_path / "mask.npy").shape[1] // 2
    with open_raster(tmp_path / "mask.tif") as file:
        mask = file.read(1)
        assert file.nodata == 255
    assert (mask[:, :half] == 255).all()
    assert set(np.unique(mask[:, half:])) <= {0, 1}
    plain = np.load(tmp_path / "mask.npy").squeeze()
    assert not plain[:, :half].any()
    np.testing.assert_array_equal(plain[:, half:], mask[:, half:])
    with open_raster(tmp_path / "scores.tif") as file:
        scores = file.read(1)
    assert np.isnan(scores[:, :half]).all()
    assert np.isfinite(scores[:, half:]).all()
