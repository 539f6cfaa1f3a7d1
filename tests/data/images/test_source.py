"""Every reader gives the same pixels by windows as whole, in RGB order, mirrored outside, in any thread or process."""

import pickle
import subprocess
import sys

import cv2
import nibabel
import numpy as np
import pytest
import rasterio
from concurrency import check_processes, check_threads, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskzoo.data import Window, open_source, window_grid
from maskzoo.data.images.image_files import SUFFIXES
from maskzoo.data.images.rasterio_source import open_raster

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


def write_raster(path, bands, driver="GTiff", **options):
    with open_raster(
        path,
        "w",
        driver=driver,
        count=len(bands),
        height=bands.shape[1],
        width=bands.shape[2],
        dtype=options.pop("dtype", bands.dtype),
        **options,
    ) as file:
        file.write(bands)
    return path


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


def test_all_real_rasters_are_read(shared_data):
    files = {path for path in (shared_data / "raster").rglob("*") if path.suffix in SUFFIXES}
    assert files == {shared_data / name for name in RASTERS}


@pytest.mark.parametrize("name", RASTERS)
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


@pytest.mark.parametrize("name", RASTERS)
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


def test_real_volumes_show_the_voxels_that_nibabel_shows(shared_data):
    for path in sorted((shared_data / "hippocampus" / "images").iterdir())[:5]:
        source = open_source(path)
        np.testing.assert_array_equal(whole(source)[..., 0], np.asarray(nibabel.load(path).dataobj))
        np.testing.assert_array_equal(source.frame.affine, nibabel.load(path).affine)


@pytest.mark.parametrize("kind", ["tif", "ycbcr.tif", "palette.tif", "png", "palette.png", "jpg", "npy", "array"])
def test_pure_red_is_channel_0(tmp_path, kind):
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    path = tmp_path / kind
    if kind == "array":
        path = red
    elif kind == "npy":
        path = tmp_path / "red.npy"
        np.save(path, red)
    elif kind.startswith("palette"):
        path = tmp_path / f"red.{kind.split('.')[1]}"
        with open_raster(
            path, "w", driver="PNG" if kind.endswith("png") else "GTiff", count=1, height=32, width=32, dtype="uint8"
        ) as file:
            file.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)})
            file.write(np.ones((1, 32, 32), np.uint8))
    elif kind == "ycbcr.tif":
        path = write_raster(tmp_path / "red.tif", np.moveaxis(red, -1, 0), compress="jpeg", photometric="ycbcr")
    elif kind == "tif":
        path = write_raster(tmp_path / "red.tif", np.moveaxis(red, -1, 0))
    else:
        path = tmp_path / f"red.{kind}"
        cv2.imwrite(str(path), red[..., ::-1])  # OpenCV counts blue first
    image = whole(open_source(path)).astype(int)
    assert image.shape == (32, 32, 3)
    assert image[..., 0].min() >= 253
    assert image[..., 1:].max() <= 2


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
def test_any_type_layout_and_number_of_bands(tmp_path, dtype, layout, bands):
    array = noise((bands, 50, 37), dtype) * (-1 if dtype == "int16" else 1)
    source = open_source(write_raster(tmp_path / "image.tif", array, **layout))
    assert source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(whole(source), np.moveaxis(array, 0, -1))
    np.testing.assert_array_equal(source.read(Window((20, 11), (17, 9)))[..., -1], array[-1, 20:37, 11:20])


def test_sixteen_bit_png(tmp_path):
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    cv2.imwrite(str(tmp_path / "image.png"), image)
    np.testing.assert_array_equal(whole(open_source(tmp_path / "image.png"))[..., 0], image)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-90, 90), st.integers(-90, 90), st.integers(1, 60), st.integers(1, 60))
def test_windows_anywhere_are_mirrored_as_numpy_does(tmp_path_factory, row, column, height, width):
    folder = tmp_path_factory.getbasetemp()
    image = noise((13, 29, 2))
    if not (folder / "mirror.tif").exists():
        write_raster(folder / "mirror.tif", np.moveaxis(image, -1, 0))
        np.save(folder / "mirror.npy", image)
    reflected = np.pad(image, [(150, 150), (150, 150), (0, 0)], mode="reflect")
    expected = reflected[150 + row : 150 + row + height, 150 + column : 150 + column + width]
    for source in (image, folder / "mirror.tif", folder / "mirror.npy"):
        np.testing.assert_array_equal(open_source(source).read(Window((row, column), (height, width))), expected)


def test_an_axis_of_one_pixel_repeats_it():
    source = open_source(np.arange(4).reshape(1, 4))
    assert source.read(Window((-2, 0), (5, 4)))[..., 0].tolist() == [[0, 1, 2, 3]] * 5


def test_a_mirrored_window_reads_only_what_it_shows(tmp_path):
    path = tmp_path / "huge.tif"
    open_raster(
        path, "w", driver="GTiff", height=500_000, width=500_000, count=1, dtype="uint8", tiled=True, sparse_ok=True
    ).close()
    assert open_source(path).read(Window((-100, 499_950), (200, 200))).shape == (200, 200, 1)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_volumes_keep_affine_and_type(tmp_path, suffix):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    voxels = noise((10, 11, 12), np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / f"volume{suffix}")
    source = open_source(tmp_path / f"volume{suffix}")
    assert (source.shape, source.channels, source.dtype) == ((10, 11, 12), 1, np.int16)
    np.testing.assert_array_equal(source.frame.affine, affine)
    np.testing.assert_array_equal(source.read(Window((2, 3, 4), (5, 6, 7)))[..., 0], voxels[2:7, 3:9, 4:11])
    mirrored = np.pad(voxels, [(4, 0), (0, 5), (6, 6)], mode="reflect")
    np.testing.assert_array_equal(source.read(Window((-4, 0, -6), mirrored.shape))[..., 0], mirrored)


def test_volumes_with_a_slope_and_with_channels(tmp_path):
    voxels = noise((5, 6, 7, 2), np.int16)
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    source = open_source(tmp_path / "scaled.nii.gz")
    stored = np.asarray(nibabel.load(tmp_path / "scaled.nii.gz").dataobj)
    assert (source.shape, source.channels, source.dtype) == ((5, 6, 7), 2, np.float32)
    np.testing.assert_allclose(whole(source), stored, rtol=1e-6)


def test_arrays_have_the_asked_rank():
    assert open_source(np.zeros((20, 30))).channels == 1
    assert open_source(np.zeros((20, 30, 3))).shape == (20, 30)
    assert open_source(np.zeros((20, 30, 40))).shape == (20, 30, 40)
    assert open_source(np.zeros((20, 30, 3)), spatial_dims=3).shape == (20, 30, 3)
    assert open_source(np.zeros((20, 30, 40)), spatial_dims=2).channels == 40
    assert open_source(np.zeros((20, 30, 40, 2))).channels == 2
    with pytest.raises(ValueError, match=r"array: expected an array with 3 spatial axes.*received shape \(20, 30\)"):
        open_source(np.zeros((20, 30)), spatial_dims=3)


def test_nodata_and_transparent_pixels_are_0_in_images_and_kept_in_labels(tmp_path):
    array = noise((3, 40, 40)) + 1
    array[:, :10] = 255
    path = write_raster(tmp_path / "image.tif", array, nodata=255)
    array_last = np.moveaxis(array, 0, -1)
    np.testing.assert_array_equal(whole(open_source(path)), array_last * (array_last != 255).any(-1, keepdims=True))
    np.testing.assert_array_equal(whole(open_source(path, palette="index")), array_last)
    alpha = np.concatenate([array, np.zeros((1, 40, 40), np.uint8)])
    alpha[3, 20:] = 200
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
def test_transparency_is_no_channel_of_any_format(tmp_path, suffix, colors):
    bands = noise((colors + 1, 30, 20)) + 1
    bands[-1, :7] = 0
    options = {"alpha": "yes", "photometric": "rgb" if colors == 3 else "minisblack"}
    options = {"driver": "PNG"} if suffix == "png" else options
    image = whole(open_source(write_raster(tmp_path / f"image.{suffix}", bands, **options)))
    assert image.shape == (30, 20, colors)
    assert not image[:7].any()
    np.testing.assert_array_equal(image[7:], np.moveaxis(bands[:-1, 7:], 0, -1))


def test_infrared_beside_colours_is_a_channel(tmp_path):
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
def test_declared_missing_measurements_are_0_in_their_band(tmp_path, nodata):
    array = noise((2, 20, 20), np.float32) + 1
    array[0, 5, 5] = nodata
    image = whole(open_source(write_raster(tmp_path / "image.tif", array, nodata=nodata)))
    assert image[5, 5].tolist() == [0, array[1, 5, 5]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_undeclared_nan_names_file_and_window(tmp_path, value):
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


def saved_everywhere(folder):
    image = noise((64, 48, 3))
    write_raster(folder / "a.tif", np.moveaxis(image, -1, 0), tiled=True, blockxsize=16, blockysize=16, compress="lzw")
    cv2.imwrite(str(folder / "b.png"), image)
    cv2.imwrite(str(folder / "c.jpg"), image)
    np.save(folder / "d.npy", image)
    nibabel.save(nibabel.Nifti1Image(noise((20, 20, 20)), np.eye(4)), folder / "e.nii")
    nibabel.save(nibabel.Nifti1Image(noise((20, 20, 20)), np.eye(4)), folder / "f.nii.gz")
    return [open_source(path) for path in sorted(folder.iterdir())]


def test_sources_are_pickled_with_and_without_open_files(tmp_path):
    for source in saved_everywhere(tmp_path):
        before = pickle.loads(pickle.dumps(source))
        expected = whole(source)
        after = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(whole(before), expected)
        np.testing.assert_array_equal(whole(after), expected)
        assert after.frame.shape == source.shape


def test_threads_read_the_same_sources_at_once(tmp_path):
    check_threads(saved_everywhere(tmp_path))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_read_sources_that_are_open_here(tmp_path, method):
    check_processes([source.path for source in saved_everywhere(tmp_path)], method, tmp_path / "script.py")


def test_a_replaced_file_is_opened_again(tmp_path):
    path = write_raster(tmp_path / "image.tif", np.ones((1, 16, 16), np.uint8))
    assert whole(open_source(path)).max() == 1
    write_raster(path, np.full((1, 17, 17), 2, np.uint8))
    assert whole(open_source(path)).min() == 2


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".npy", ".nii", ".nii.gz"])
def test_a_file_cut_off_is_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    image = noise((200, 200))
    if suffix == ".npy":
        np.save(path, image)
    elif suffix.startswith(".nii"):
        nibabel.save(nibabel.Nifti1Image(image[..., None], np.eye(4)), path)
    elif suffix == ".tif":
        write_raster(path, image[None], tiled=True, blockxsize=16, blockysize=16)
    else:
        cv2.imwrite(str(path), image)
    content = path.read_bytes()
    for keep in (len(content) * 2 // 3, 20, 0):
        path.write_bytes(content[:keep])
        with pytest.raises(OSError, match=f"cut{suffix}: expected") as caught:
            whole(open_source(path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_under_any_suffix_is_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"text{suffix}"
    path.write_text("this is not an image\n" * 50)
    with pytest.raises(OSError, match=f"text{suffix}: expected a readable") as caught:
        open_source(path)
    assert "\n" not in str(caught.value)


def test_wrong_paths_and_options_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing.tif: expected an existing file"):
        open_source(tmp_path / "missing.tif")
    with pytest.raises(ValueError, match=r"notes.txt: expected a file of type .tif .*; received .txt"):
        open_source(tmp_path / "notes.txt")
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(OSError, match="received a folder"):
        open_source(tmp_path / "folder.tif")
    path = write_raster(tmp_path / "image.tif", noise((1, 8, 8)))
    with pytest.raises(ValueError, match="expected a volume with 3 spatial axes; received an image with 2"):
        open_source(path, spatial_dims=3)
    with pytest.raises(ValueError, match="expected windows of 2 axes"):
        open_source(path).read(Window((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ValueError, match="palette: expected rgb or index"):
        open_source(path, palette="raw")
    path = write_raster(tmp_path / "complex.tif", np.zeros((1, 8, 8), np.complex64))
    with pytest.raises(ValueError, match="expected pixels that are real numbers; received complex64"):
        open_source(path)


def test_a_missing_georeference_is_no_warning_and_other_warnings_stay(tmp_path):
    path = write_raster(tmp_path / "image.tif", noise((1, 8, 8)))
    assert open_source(path).frame.transform is None
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        rasterio.open(path).close()


def test_a_missing_file_is_answered_without_heavy_imports(tmp_path):
    code = (
        "import sys; from maskzoo import data\n"
        "try: data.open_source('missing.tif')\n"
        "except FileNotFoundError: pass\n"
        "heavy = {'keras', 'tensorflow', 'rasterio', 'nibabel', 'scipy', 'skimage', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
