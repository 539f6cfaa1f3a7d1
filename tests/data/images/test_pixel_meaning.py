"""Pixels mean what every viewer shows: white where 0 is white, colours in order, transparency only where it is some."""

import numpy as np
import pytest
import tifffile
from concurrency import whole
from PIL import Image
from rasterio.enums import ColorInterp

from maskzoo.data import Window, open_source
from maskzoo.data.images.pixel_meaning import (
    PixelOptions,
    StoredPixels,
    clear_and_opaque,
    in_color_order,
    meaning_of,
)
from maskzoo.data.images.raster_files import open_raster
from maskzoo.errors import ImageError, OptionError


def noise(shape, dtype=np.uint8, high=255):
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


@pytest.mark.parametrize("options", [{}, {"compression": "jpeg2000"}], ids=["gdal", "tifffile"])
@pytest.mark.parametrize("palette", ["rgb", "index"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_where_0_is_white_all_bits_are_inverted_in_images_and_labels(tmp_path, dtype, palette, options):
    stored = noise((40, 30), dtype, np.iinfo(dtype).max)
    for name in ("miniswhite", "minisblack"):
        tifffile.imwrite(tmp_path / f"{name}.tif", stored, photometric=name, **options)
    white, black = (open_source(tmp_path / f"{name}.tif", palette=palette) for name in ("miniswhite", "minisblack"))
    assert (white.dtype, white.channels) == (black.dtype, 1) == (np.dtype(dtype), black.channels)
    np.testing.assert_array_equal(whole(white)[..., 0], np.iinfo(dtype).max - stored)
    np.testing.assert_array_equal(whole(black)[..., 0], stored)
    assert white.palette_colors is None
    assert "inverted" in " ".join(white.notes)
    assert black.notes == ()


def test_twelve_bits_that_are_white_at_0_end_at_4095(tmp_path):
    stored = noise((16, 16), np.uint16, 4096)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", bitspersample=12)
    source = open_source(tmp_path / "a.tif")
    np.testing.assert_array_equal(whole(source)[..., 0], 4095 - stored)
    assert source.bits == 12


def test_bilevel_masks_of_either_photometric_say_the_same(tmp_path):
    mask = noise((16, 24), bool, 2)
    tifffile.imwrite(tmp_path / "black.tif", mask, photometric="minisblack", bitspersample=1)
    tifffile.imwrite(tmp_path / "white.tif", ~mask, photometric="miniswhite", bitspersample=1)
    labels = [open_source(tmp_path / f"{name}.tif", palette="index") for name in ("black", "white")]
    for label in labels:
        np.testing.assert_array_equal(whole(label)[..., 0], mask)
        assert label.palette_colors[:2].tolist() == [[0, 0, 0], [255, 255, 255]]
    shown = [whole(open_source(tmp_path / f"{name}.tif")) for name in ("black", "white")]
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[0][..., 1], 255 * mask)


def test_nodata_of_an_inverted_file_is_the_inverted_value(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((8, 8)), photometric="miniswhite")
    with open_raster(path, "r+") as file:
        file.nodata = 7
    assert open_source(path, palette="index").nodata == 248


def rgbn(path, last, dtype=np.uint8, **options):
    bands = np.concatenate([noise((3, 40, 50), dtype) + 1, np.broadcast_to(np.asarray(last, dtype), (1, 40, 50))])
    # As rasterio writes four bands by default: the fourth is tagged as transparency.
    with open_raster(
        path, "w", driver="GTiff", count=4, height=40, width=50, dtype=dtype, photometric="rgb", alpha="yes", **options
    ) as file:
        file.write(bands)
    return np.moveaxis(bands, 0, -1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("value", [60, 1, 254])
def test_a_fourth_band_of_other_values_than_clear_and_opaque_is_data(tmp_path, value, dtype):
    infrared = np.zeros((40, 50), np.uint8)
    infrared[10:20, 10:20] = value
    bands = rgbn(tmp_path / "a.tif", infrared, dtype)
    source = open_source(tmp_path / "a.tif")
    np.testing.assert_array_equal(whole(source), bands)
    assert source.valid(Window((0, 0), (40, 50))) is None
    assert "band 4 is tagged as transparency" in " ".join(source.notes)


@pytest.mark.parametrize("opaque", [255, 65535])
def test_a_fourth_band_that_is_clear_or_opaque_is_transparency(tmp_path, opaque):
    dtype = "uint8" if opaque == 255 else "uint16"
    clear = np.full((40, 50), opaque, dtype)
    clear[5:9, 7:30] = 0
    bands = rgbn(tmp_path / "a.tif", clear, dtype)
    source = open_source(tmp_path / "a.tif")
    np.testing.assert_array_equal(whole(source), bands[..., :3] * (clear > 0)[..., None])
    np.testing.assert_array_equal(source.valid(Window((0, 0), (40, 50)))[..., 1], clear > 0)
    data = open_source(tmp_path / "a.tif", alpha="data")
    np.testing.assert_array_equal(whole(data), bands)
    assert "as `alpha` says" in data.notes[0]


def test_alpha_mask_makes_a_last_band_transparency_whatever_it_holds(tmp_path):
    infrared = noise((40, 50))
    bands = rgbn(tmp_path / "a.tif", infrared)
    np.testing.assert_array_equal(
        whole(open_source(tmp_path / "a.tif", alpha="mask")), bands[..., :3] * (infrared > 0)[..., None]
    )


def test_transparency_of_any_amount_of_a_photograph_in_grey_follows_the_same_rule(tmp_path):
    grey = noise((20, 30))
    for name, alpha in (("soft", noise((20, 30))), ("hard", 255 * noise((20, 30), high=2))):
        Image.fromarray(np.stack([grey, alpha], axis=-1), "LA").save(tmp_path / f"{name}.png")
    assert open_source(tmp_path / "soft.png").channels == 2
    assert open_source(tmp_path / "hard.png").channels == 1


def test_transparency_in_the_last_corner_is_seen(tmp_path):
    alpha = np.full((1200, 1100), 255, np.uint8)
    alpha[-1, -1] = 128
    Image.fromarray(np.dstack([noise((1200, 1100, 3)), alpha]), "RGBA").save(tmp_path / "a.png", compress_level=0)
    assert open_source(tmp_path / "a.png").channels == 4


@pytest.mark.parametrize(
    ("values", "is_lossy", "expected"),
    [
        ([0, 255], False, True),
        ([0, 0], False, True),
        ([255, 255], False, True),
        ([0, 254], False, False),
        ([1, 255], False, False),
        ([*[0] * 500, *[255] * 500, 3, 250], False, False),
        ([*[0] * 500, *[255] * 500, 3, 250], True, True),
        ([*[0] * 500, *[255] * 500, 3, 120], True, False),
        ([*[0] * 50, *[20] * 50], True, False),
    ],
)
def test_clear_and_opaque(values, is_lossy, expected):
    assert clear_and_opaque(np.array(values, np.uint8), is_lossy=is_lossy) is expected


def test_floating_point_transparency_is_0_and_1():
    assert clear_and_opaque(np.array([0, 1], np.float32))
    assert not clear_and_opaque(np.array([0, 0.5], np.float32))


def test_blue_green_red_is_read_as_red_green_blue(tmp_path):
    bands = noise((4, 20, 30), np.uint16)
    with open_raster(tmp_path / "a.tif", "w", driver="GTiff", count=4, height=20, width=30, dtype="uint16") as file:
        file.colorinterp = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
        file.write(bands)
    source = open_source(tmp_path / "a.tif")
    np.testing.assert_array_equal(whole(source), np.moveaxis(bands[[2, 1, 0, 3]], 0, -1))
    assert source.roles == ("red", "green", "blue", "undefined")
    np.testing.assert_array_equal(whole(open_source(tmp_path / "a.tif", bands=[1, 2, 3, 4])), np.moveaxis(bands, 0, -1))


def test_colours_keep_their_places_among_other_bands():
    roles = ("undefined", "green", "alpha", "red", "blue")
    assert in_color_order((0, 1, 3, 4), roles, []) == (0, 3, 1, 4)
    assert in_color_order((0, 1), roles, []) == (0, 1)


def test_chosen_bands_come_in_the_order_that_is_asked_for(tmp_path):
    bands = rgbn(tmp_path / "a.tif", 255 * noise((40, 50), high=2))
    source = open_source(tmp_path / "a.tif", bands=[4, 1, 2])
    np.testing.assert_array_equal(whole(source), bands[..., [3, 0, 1]])
    assert source.valid(Window((0, 0), (4, 4))) is None
    array = noise((6, 7, 5, 3))
    np.testing.assert_array_equal(whole(open_source(array, spatial_dims=3, bands=[3, 1])), array[..., [2, 0]])
    with pytest.raises(ImageError, match=r"a.tif: expected bands 5, as `bands` says; received 4"):
        open_source(tmp_path / "a.tif", bands=[5])
    for wrong in ([0], [1, 1], [], [1.5], "12"):
        with pytest.raises(OptionError, match="bands"):
            open_source(tmp_path / "a.tif", bands=wrong)
    with pytest.raises(OptionError, match="alpha"):
        open_source(tmp_path / "a.tif", alpha="none")


def test_chosen_bands_of_a_stack_of_pages(tmp_path):
    pages = noise((3, 40, 50), np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", pages, metadata={"axes": "CYX"}, photometric="minisblack")
    np.testing.assert_array_equal(
        whole(open_source(tmp_path / "a.ome.tif", bands=[3, 1])), np.moveaxis(pages[[2, 0]], 0, -1)
    )


def test_a_label_keeps_all_bands_in_their_order():
    stored = StoredPixels("a.tif", np.dtype(np.uint8), ("blue", "green", "red", "alpha"))
    meaning = meaning_of(stored, PixelOptions("index"))
    assert (meaning.bands, meaning.alpha) == ((0, 1, 2, 3), None)


def test_cmyk_is_shown_in_colours(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((8, 8, 4), (0, 255, 255, 0), np.uint8), photometric="separated")
    Image.fromarray(np.full((8, 8, 4), (0, 255, 255, 0), np.uint8), "CMYK").save(tmp_path / "a.jpg")
    for name in ("a.tif", "a.jpg"):
        assert np.abs(whole(open_source(tmp_path / name))[0, 0].astype(int) - (255, 0, 0)).max() <= 2


def test_signed_numbers_whose_0_is_white_are_turned_over_too(tmp_path):
    """GDAL makes a palette of them that has no colour for numbers below 0."""
    stored = np.array([[-300, -1, 0], [1, 2, 300]], np.int16)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    np.testing.assert_array_equal(whole(open_source(tmp_path / "a.tif"))[..., 0], -1 - stored)


def save_described(path, bands, names, **options):
    size = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with open_raster(path, "w", driver="GTiff", dtype=bands.dtype, **size, **options) as file:
        file.write(bands)
        if names is not None:
            file.descriptions = names


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("B8", "B4", "B3", "B2"), [3, 2, 1, 0]),
        (("B2", "B3", "B4", "B8"), [0, 1, 2, 3]),
        (("B2", "B3", "B4", "B5"), [0, 1, 2, 3]),
        (("B2", "B2", "B4", "B8"), [0, 1, 2, 3]),
        (("B8", "B4", None, "B2"), [0, 1, 2, 3]),
        (None, [0, 1, 2, 3]),
    ],
)
def test_bands_of_the_same_names_are_read_in_the_wanted_order(tmp_path, names, order):
    bands = noise((4, 5, 6), "uint16", 9000)
    save_described(tmp_path / "a.tif", bands, names)
    source = open_source(tmp_path / "a.tif", band_names=["B2", "B3", "B4", "B8"])
    np.testing.assert_array_equal(whole(source), np.moveaxis(bands[order], 0, -1))
    assert any("described as" in note for note in source.notes) == (order != [0, 1, 2, 3])


def test_scales_that_are_not_applied_are_said(tmp_path):
    save_described(tmp_path / "a.tif", noise((2, 5, 6), "int16"), None)
    assert open_source(tmp_path / "a.tif").notes == ()
    with open_raster(tmp_path / "a.tif", "r+") as file:
        file.scales, file.offsets = (0.0001, 0.0001), (-0.1, -0.1)
    (note,) = open_source(tmp_path / "a.tif").notes
    assert note == "values as they are stored, without the scale 0.0001 and the offset -0.1 of the file"
