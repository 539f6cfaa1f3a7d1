"""Rasters show the pixels that GDAL shows, colours in RGB order, transparent and missing pixels black."""

import cv2
import numpy as np
import pytest
import rasterio
from concurrency import whole
from rasterio.control import GroundControlPoint

from maskzoo.data import Window, open_source, window_grid
from maskzoo.data.images.image_files import SUFFIXES
from maskzoo.data.images.raster_files import open_raster

RASTERS = [
    "raster/cog_reader/alpha.tif",
    "raster/cog_reader/cog.tif",
    "raster/cog_reader/cog_cmap.tif",
    "raster/cog_reader/cog_rgb_mask.tif",
    "raster/cog_reader/cogeo.tif",
    "raster/cog_reader/rgb_lzw.tif",
    "raster/spacenet4_atlanta_buildings/image.tif",
    "raster/spacenet4_atlanta_buildings/label.tif",
    "raster/wsi/CMU-1-Small-Region.svs",
]
LARGE = "raster/cog_reader/cog_cmap.tif"
EACH_RASTER = [pytest.param(name, marks=pytest.mark.slow) if name == LARGE else name for name in RASTERS]


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


def test_all_real_rasters_are_read(shared_data):
    files = {path for path in (shared_data / "raster").rglob("*") if path.suffix in SUFFIXES}
    assert files == {shared_data / name for name in RASTERS}


@pytest.mark.parametrize("name", EACH_RASTER)
def test_windows_of_a_real_raster_equal_the_whole(shared_data, name):
    source = open_source(shared_data / name)
    image = whole(source)
    assert image.shape == (*source.shape, source.channels)
    assert image.dtype == source.dtype
    tiles = np.zeros_like(image)
    for window in window_grid(source.shape, (700, 999)):
        tiles[window.slices] = source.read(window)
    np.testing.assert_array_equal(tiles, image)
    part = image[: source.shape[0] % 400 + 50, :300]
    outside = np.pad(part, [(40, 0), (70, 0), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(source.read(Window((-40, -70), outside.shape[:2])), outside)


@pytest.mark.parametrize("name", EACH_RASTER)
def test_a_real_raster_shows_the_pixels_that_rasterio_shows(shared_data, name):
    image = whole(open_source(shared_data / name))
    with open_raster(shared_data / name) as file:
        expected = file.read()
        if file.colorinterp[0].name == "palette":
            expected = np.moveaxis(
                np.array([file.colormap(1)[i][:3] for i in range(256)], np.uint8)[expected[0]], -1, 0
            )
        expected = np.moveaxis(expected * (file.dataset_mask() != 0), 0, -1)[..., :3]
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("folder", ["membrane/images", "nuclei/images", "nuclei/instances", "camvid/train"])
def test_real_photographs_show_the_pixels_that_opencv_shows(shared_data, folder):
    for path in sorted((shared_data / folder).iterdir())[:5]:
        expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        expected = expected[..., None] if expected.ndim == 2 else expected[..., 2::-1]
        np.testing.assert_array_equal(whole(open_source(path))[..., :3], expected)


def test_a_palette_of_a_label_keeps_its_indices(tmp_path):
    path = tmp_path / "label.png"
    with open_raster(path, "w", driver="PNG", count=1, height=8, width=8, dtype="uint8") as file:
        file.write_colormap(1, {0: (9, 9, 9, 255), 7: (255, 0, 0, 255)})
        file.write(np.full((1, 8, 8), 7, np.uint8))
    assert (whole(open_source(path, palette="index")) == 7).all()
    assert whole(open_source(path))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("layout", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}])
@pytest.mark.parametrize("bands", [1, 2, 5])
def test_any_type_layout_and_number_of_bands(tmp_path, dtype, layout, bands, write_raster):
    array = noise((bands, 50, 37), dtype) * (-1 if dtype == "int16" else 1)
    source = open_source(write_raster(tmp_path / "image.tif", array, **layout))
    assert source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(whole(source), np.moveaxis(array, 0, -1))
    np.testing.assert_array_equal(source.read(Window((20, 11), (17, 9)))[..., -1], array[-1, 20:37, 11:20])


def test_sixteen_bit_png(tmp_path):
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    cv2.imwrite(str(tmp_path / "image.png"), image)
    np.testing.assert_array_equal(whole(open_source(tmp_path / "image.png"))[..., 0], image)


def test_a_mirrored_window_reads_only_what_it_shows(tmp_path):
    path = tmp_path / "huge.tif"
    open_raster(
        path, "w", driver="GTiff", height=500_000, width=500_000, count=1, dtype="uint8", tiled=True, sparse_ok=True
    ).close()
    assert open_source(path).read(Window((-100, 499_950), (200, 200))).shape == (200, 200, 1)


def test_nodata_and_transparent_pixels_are_0_in_images_and_kept_in_labels(tmp_path, write_raster):
    array = noise((3, 40, 40)) + 1
    array[:, :10] = 255
    path = write_raster(tmp_path / "image.tif", array, nodata=255)
    array_last = np.moveaxis(array, 0, -1)
    np.testing.assert_array_equal(whole(open_source(path)), array_last * (array_last != 255).any(-1, keepdims=True))
    np.testing.assert_array_equal(whole(open_source(path, palette="index")), array_last)
    alpha = np.concatenate([array, np.zeros((1, 40, 40), np.uint8)])
    alpha[3, 20:] = 255
    path = write_raster(tmp_path / "alpha.tif", alpha, photometric="rgb", alpha="yes")
    image = whole(open_source(path))
    assert image.shape == (40, 40, 3)
    assert not image[:20].any()
    np.testing.assert_array_equal(image[20:], array_last[20:])
    asked = whole(open_source(path, alpha=True))
    np.testing.assert_array_equal(asked, np.concatenate([image, alpha[3][..., None]], axis=-1))
    np.testing.assert_array_equal(whole(open_source(path, palette="index")), np.moveaxis(alpha, 0, -1))


@pytest.mark.parametrize("suffix", ["tif", "png"])
@pytest.mark.parametrize("colors", [1, 3])
def test_transparency_is_no_channel_of_any_format(tmp_path, suffix, colors, write_raster):
    bands = noise((colors + 1, 30, 20)) + 1
    bands[-1, :7], bands[-1, 7:] = 0, 255
    options = {"alpha": "yes", "photometric": "rgb" if colors == 3 else "minisblack"}
    options = {"driver": "PNG"} if suffix == "png" else options
    image = whole(open_source(write_raster(tmp_path / f"image.{suffix}", bands, **options)))
    assert image.shape == (30, 20, colors)
    assert not image[:7].any()
    np.testing.assert_array_equal(image[7:], np.moveaxis(bands[:-1, 7:], 0, -1))


def test_infrared_beside_colours_is_a_channel(tmp_path, write_raster):
    bands = noise((4, 30, 20))
    path = write_raster(tmp_path / "image.tif", bands, photometric="rgb", alpha="unspecified")
    np.testing.assert_array_equal(whole(open_source(path)), np.moveaxis(bands, 0, -1))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("internal", [True, False])
def test_pixels_under_a_mask_are_0(tmp_path, dtype, internal):
    bands, mask = noise((3, 40, 50), dtype) + 1, np.full((40, 50), 255, np.uint8)
    mask[5:9, 11:20] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        options = {"driver": "GTiff", "count": 3, "height": 40, "width": 50, "dtype": dtype}
        with open_raster(tmp_path / "image.tif", "w", **options) as file:
            file.write(bands)
            file.write_mask(mask)
    assert (tmp_path / "image.tif.msk").exists() != internal
    expected = np.moveaxis(bands, 0, -1) * (mask[..., None] > 0)
    np.testing.assert_array_equal(whole(open_source(tmp_path / "image.tif")), expected)
    labels = open_source(tmp_path / "image.tif", palette="index")
    np.testing.assert_array_equal(whole(labels), np.moveaxis(bands, 0, -1))


@pytest.mark.parametrize("nodata", [-9999.0, np.nan])
def test_declared_missing_measurements_are_0_in_their_band(tmp_path, nodata, write_raster):
    array = noise((2, 20, 20), np.float32) + 1
    array[0, 5, 5] = nodata
    image = whole(open_source(write_raster(tmp_path / "image.tif", array, nodata=nodata)))
    assert image[5, 5].tolist() == [0, array[1, 5, 5]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_undeclared_nan_names_file_and_window(tmp_path, value, write_raster):
    array = np.zeros((1, 20, 20), np.float32)
    array[0, 15, 15] = value
    source = open_source(write_raster(tmp_path / "image.tif", array))
    source.read(Window((0, 0), (10, 10)))
    with pytest.raises(
        ValueError, match=r"image.tif: expected finite values in the window at \(10, 10\) .* received 1"
    ):
        source.read(Window((10, 10), (10, 10)))
    with pytest.raises(ValueError, match="array: expected finite values"):
        whole(open_source(array[0]))


def test_a_missing_georeference_is_no_warning_and_other_warnings_stay(tmp_path, write_raster):
    path = write_raster(tmp_path / "image.tif", noise((1, 8, 8)))
    assert open_source(path).frame.transform is None
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        rasterio.open(path).close()


def test_a_level_of_a_file_without_place_has_none_either(tmp_path):
    path = tmp_path / "plain.tif"
    tags = {"TIFFTAG_XRESOLUTION": "20000", "TIFFTAG_YRESOLUTION": "10000", "TIFFTAG_RESOLUTIONUNIT": "3"}
    with open_raster(path, "w", driver="GTiff", height=128, width=96, count=1, dtype="uint8") as file:
        file.update_tags(**tags)
    with open_raster(path, "r+") as file:
        file.build_overviews([2])
    with open_source(path, level=1) as source:
        assert (source.frame.transform, source.frame.spacing, source.scale) == (None, (2.0, 1.0), (2.0, 2.0))


def points_at(distortion):
    """Control points of a transform of 2 units per pixel, one of them `distortion` pixels beside its place."""
    corners = [(0, 0), (0, 60), (40, 0), (40, 60), (20, 30)]
    return [
        GroundControlPoint(row, col, 1000 + 2 * col + 2 * distortion * (row == 20), 5000 - 2 * row)
        for row, col in corners
    ]


def test_control_points_that_a_transform_meets_are_one(tmp_path):
    profile = {"driver": "GTiff", "height": 40, "width": 60, "count": 1, "dtype": "uint8", "crs": "EPSG:32616"}
    for distortion, fits in ((0, True), (0.1, True), (2, False)):
        open_raster(tmp_path / "points.tif", "w", gcps=points_at(distortion), **profile).close()
        frame = open_source(tmp_path / "points.tif").frame
        assert frame.has_only_nonlinear_place is not fits
        assert len(frame.control_points) == 5
        if fits:
            assert frame.crs == "EPSG:32616"
            np.testing.assert_allclose(frame.coordinates(np.array([[60, 40]])), [[1120, 4920]], atol=0.5)
        else:
            assert (frame.crs, frame.transform, frame.spacing) == (None, None, None)
    # Points in a line say nothing about what lies beside it.
    open_raster(tmp_path / "line.tif", "w", gcps=points_at(0)[:2], **profile).close()
    assert open_source(tmp_path / "line.tif").frame.has_only_nonlinear_place
