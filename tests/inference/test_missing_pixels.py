"""What an image lacks, its mask lacks too."""

import numpy as np
import pytest

from maskzoo import data, evaluation, inference
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


@pytest.fixture
def lacking(squares, tmp_path):
    """The set with the left half of every image nodata, whose labels there are the opposite of the truth."""
    root = tmp_path / "lacking"
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
        for path in sorted((squares / kind).iterdir()):
            with data.open_source(path) as source:
                pixels = np.moveaxis(source.read(data.Window((0, 0), source.shape)), -1, 0)
            half = pixels.shape[2] // 2
            pixels = np.maximum(pixels, 1) if kind == "images" else pixels
            pixels[:, :, :half] = 0 if kind == "images" else 255 - pixels[:, :, :half]
            size = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
            options = {"nodata": 0} if kind == "images" else {}
            with open_raster(root / kind / path.name, "w", driver="GTiff", dtype="uint8", **size, **options) as file:
                file.write(pixels)
    return root


def test_missing_pixels_count_neither_in_training_nor_in_scores(trained_run, lacking):
    dataset = data.load_data(str(lacking), spatial_dims=2)
    assert (dataset.ignore_index, dataset.as_mapping()["ignore_index"], dataset.scheme.ignore) == (255, 255, ())
    run = inference.load_run(trained_run)
    cases = data.labelled_cases(run.data.as_mapping(), lacking)
    scores = evaluation.evaluate(run, cases, measures=["overlap", "objects", "calibration"])
    pixels = np.zeros(3, np.int64)
    for case in cases:
        window = data.Window((0, 0), case.image.shape)
        plan = run.plan(case.image, inference.TileOptions(seam_tolerance=0))
        logits = next(iter(inference.predict_tiles(run.model, run.reader(case.image), plan)))[1]
        truth, guess = case.read_label(window)[..., 0], logits[..., 0] > 0
        half = truth.shape[1] // 2
        assert (truth[:, :half] == 255).all()
        truth, guess = truth[:, half:] == 1, guess[:, half:]
        pixels += [(truth & guess).sum(), (~truth & guess).sum(), (truth & ~guess).sum()]
    assert scores.dice == pytest.approx([2 * pixels[0] / (2 * pixels[0] + pixels[1] + pixels[2])])


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
