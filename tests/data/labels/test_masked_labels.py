"""Pixels that a label does not hold do not count, whether a mask says so or NaN."""

import numpy as np
import pytest

from maskzoo.data import DataSpec, Window, load_data, open_source
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.labels.masked_labels import MaskedLabelSource, with_missing

LABEL = np.zeros((20, 30), np.uint8)
LABEL[4:9, 6:16] = 1
MISSING = np.zeros(LABEL.shape, bool)
MISSING[15:, 20:] = True


def save(path, values, mask=None, **options):
    with open_raster(path, "w", driver="GTiff", height=20, width=30, count=1, dtype=values.dtype, **options) as file:
        file.write(values, 1)
        if mask is not None:
            file.write_mask(mask)


def save_masked(path):
    save(path, LABEL, mask=~MISSING)


def save_nan(path):
    save(path, np.where(MISSING, np.nan, LABEL).astype(np.float32), nodata=np.nan)


@pytest.mark.parametrize("write", [save_masked, save_nan])
def test_missing_pixels_are_read_as_ignored(tmp_path, write, caplog):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}.tif", np.random.default_rng(ord(name)).integers(0, 255, (20, 30), np.uint8))
        write(tmp_path / "masks" / f"{name}.tif")
    data = load_data(DataSpec(path=str(tmp_path)), spatial_dims=2)
    assert "pixels that a file marks as missing do not count" in caplog.text
    read = data.train[0].read_label(Window((0, 0), (20, 30)))[..., 0]
    np.testing.assert_array_equal(read, np.where(MISSING, 255, LABEL))


def test_labels_that_hold_every_pixel_or_have_a_nodata_value_stay(tmp_path):
    save(tmp_path / "whole.tif", LABEL)
    save(tmp_path / "said.tif", LABEL, nodata=7)
    for name in ("whole", "said"):
        source = open_source(tmp_path / f"{name}.tif", palette="index")
        assert with_missing(source) is source
    save_masked(tmp_path / "masked.tif")
    assert isinstance(with_missing(open_source(tmp_path / "masked.tif", palette="index")), MaskedLabelSource)
