"""What a band is that is tagged as transparency is decided over a set, not by its first image."""

import cv2
import numpy as np
import pytest

from maskzoo.data import Window, load_data
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.sets.image_opening import open_as_trained
from maskzoo.errors import ImageError

BLANK, DATA, OPAQUE = 0, None, 255


@pytest.fixture
def save_tiles(tmp_path, masks):
    """Function from what the fourth band of each tile is to their folder; the band is tagged as transparency."""

    def saved(fourth):
        rng = np.random.default_rng(0)
        for part in ("images", "masks"):
            (tmp_path / part).mkdir()
        for number, value in enumerate(fourth):
            bands = rng.integers(1, 255, (4, 40, 40), np.uint8)
            if value is not None:
                bands[3] = value
            size = {"count": 4, "height": 40, "width": 40, "dtype": "uint8", "photometric": "rgb", "alpha": "yes"}
            with open_raster(tmp_path / "images" / f"{number}.tif", "w", driver="GTiff", **size) as file:
                file.write(bands)
            cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), masks(1)[0])
        return tmp_path

    return saved


@pytest.mark.parametrize("fourth", [[BLANK, DATA, DATA, DATA], [DATA, DATA, DATA, OPAQUE]])
def test_infrared_that_is_blank_in_one_tile_is_infrared(save_tiles, fourth, caplog):
    folder = save_tiles(fourth)
    data = load_data(folder, spatial_dims=2)
    assert data.channels == 4
    assert "the band tagged as transparency is data, as it is in most" in caplog.text
    odd = fourth.index(next(value for value in fourth if value is not DATA))
    cases = {case.name: case for case in data.train + data.validation}
    pixels = cases[str(odd)].image.read(Window((0, 0), (40, 40)))
    assert pixels[..., :3].any()
    assert (pixels[..., 3] == fourth[odd]).all()
    assert data.spec.alpha == "data"
    assert open_as_trained(folder / "images" / f"{odd}.tif", data.as_mapping()["spec"], 2).channels == 4


def test_transparency_with_soft_edges_in_one_image_is_refused(save_tiles):
    with pytest.raises(ImageError, match=r"1.tif: expected 3 channels as in .*`alpha: mask` makes it transparency"):
        load_data(save_tiles([OPAQUE, DATA, OPAQUE, OPAQUE]), spatial_dims=2)
