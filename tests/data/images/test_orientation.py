"""Photographs are turned as viewers turn them, by whatever their files are marked with."""

import numpy as np
import pytest
from concurrency import whole
from PIL import Image, ImageOps
from rasterio.transform import Affine

from maskzoo.data import Window, open_source
from maskzoo.data.images.orientation import read_orientation
from maskzoo.data.images.raster_files import open_raster


def marked(path, pixels, orientation, **options):
    image = Image.fromarray(pixels)
    tags = image.getexif()
    tags[274] = orientation
    image.save(path, exif=tags, **options)
    return path


def pixels(channels=3):
    return np.random.default_rng(0).integers(0, 255, (33, 50, channels), np.uint8).squeeze()


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_and_labels_are_turned_as_pillow_turns_them(tmp_path, suffix, orientation):
    for channels, palette in ((3, "rgb"), (1, "index")):
        options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
        path = marked(tmp_path / f"{palette}.{suffix}", pixels(channels), orientation, **options)
        # Pillow turns some TIFFs by itself, not all of them.
        reference = marked(tmp_path / "reference.png", pixels(channels), orientation) if suffix == "tif" else path
        with Image.open(reference) as image:
            expected = np.array(ImageOps.exif_transpose(image))
        away = 2 if suffix == "jpg" else 0
        source = open_source(path, palette=palette)
        assert source.shape == expected.shape[:2] == source.levels[0][0]
        np.testing.assert_allclose(whole(source).squeeze().astype(int), expected, rtol=0, atol=away)
        part = source.read(Window((-7, -20), (20, 60)))
        reflected = np.pad(expected, [(30, 30), (30, 30), *[(0, 0)] * (expected.ndim - 2)], mode="reflect")
        np.testing.assert_allclose(part.squeeze().astype(int), reflected[23:43, 10:70], rtol=0, atol=away)
        assert any("turned" in note for note in source.notes) == (orientation != 1)


def test_sizes_of_pixels_turn_with_them(tmp_path):
    path = tmp_path / "a.tif"
    marked(path, pixels(), 6, dpi=(254, 508))
    assert open_source(path).frame.spacing == pytest.approx((100, 50))


def test_transparency_turns_with_the_image(tmp_path):
    image = np.dstack([pixels(), np.full((33, 50), 255, np.uint8)])
    image[:5, :10, 3] = 0
    source = open_source(marked(tmp_path / "a.png", image, 8))
    valid = source.valid(Window((0, 0), source.shape))[..., 0]
    np.testing.assert_array_equal(valid, np.rot90(image[..., 3]) > 0)


def test_what_lies_in_the_world_is_not_turned(tmp_path):
    path = marked(tmp_path / "a.tif", pixels(), 6)
    with open_raster(path, "r+") as file:
        file.transform = Affine(2.0, 0.0, 100.0, 0.0, -2.0, 200.0)
        file.crs = "EPSG:32631"
    assert open_source(path).shape == (33, 50)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8", b"II*\0\x08", b"\x89PNG\r\n\x1a\n\0\0", b"\xff\xd8\xff\xe1\0\x0aExif\0\0MM"]
)
def test_a_damaged_mark_says_nothing(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert read_orientation(tmp_path / "a") == 1
