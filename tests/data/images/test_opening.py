"""Every format is read alike: mirrored outside, in any thread or process, or refused in one line."""

import multiprocessing
import pickle
import subprocess
import sys

import cv2
import nibabel
import numpy as np
import pytest
from concurrency import check_processes, check_threads, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskzoo.data import Window, open_source
from maskzoo.data.images.image_files import SUFFIXES
from maskzoo.data.images.raster_files import open_raster
from maskzoo.errors import ImageError, MissingFile, OptionError, UnreadableFile


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


@pytest.mark.parametrize("kind", ["tif", "ycbcr.tif", "palette.tif", "png", "palette.png", "jpg", "npy", "array"])
def test_pure_red_is_channel_0(tmp_path, kind, write_raster):
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


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-90, 90), st.integers(-90, 90), st.integers(1, 60), st.integers(1, 60))
def test_windows_anywhere_are_mirrored_as_numpy_does(tmp_path_factory, write_raster, row, column, height, width):
    folder = tmp_path_factory.getbasetemp()
    image = noise((13, 29, 2))
    if not (folder / "mirror.tif").exists():
        write_raster(folder / "mirror.tif", np.moveaxis(image, -1, 0))
        np.save(folder / "mirror.npy", image)
    reflected = np.pad(image, [(150, 150), (150, 150), (0, 0)], mode="reflect")
    expected = reflected[150 + row : 150 + row + height, 150 + column : 150 + column + width]
    for source in (image, folder / "mirror.tif", folder / "mirror.npy"):
        np.testing.assert_array_equal(open_source(source).read(Window((row, column), (height, width))), expected)


def test_sources_are_pickled_with_and_without_open_files(sample_files):
    for path in sample_files:
        source = open_source(path)
        before = pickle.loads(pickle.dumps(source))
        expected = whole(source)
        after = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(whole(before), expected)
        np.testing.assert_array_equal(whole(after), expected)
        assert after.frame.shape == source.shape
        assert after.levels == source.levels


def test_sources_are_read_again_after_they_were_closed(sample_files):
    for path in sample_files:
        with open_source(path) as source:
            expected = whole(source)
        np.testing.assert_array_equal(whole(source), expected)


def test_concurrent_threads_read_the_same_sources(sample_files):
    check_threads([open_source(path) for path in sample_files])


@pytest.mark.parametrize("method", sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())))
def test_processes_read_sources_that_are_open_here(sample_files, tmp_path, method):
    check_processes(sample_files, method, tmp_path / "script.py")


def test_a_replaced_file_is_opened_again(tmp_path, write_raster):
    path = write_raster(tmp_path / "image.tif", np.ones((1, 16, 16), np.uint8))
    assert whole(open_source(path)).max() == 1
    write_raster(path, np.full((1, 17, 17), 2, np.uint8))
    assert whole(open_source(path)).min() == 2


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".npy", ".nii", ".nii.gz"])
def test_a_file_cut_off_is_refused_in_one_line(tmp_path, suffix, write_raster):
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
        with pytest.raises(UnreadableFile, match=f"cut{suffix}: expected") as caught:
            whole(open_source(path))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_text_under_any_suffix_is_refused_in_one_line(tmp_path, suffix):
    path = tmp_path / f"text{suffix}"
    path.write_text("this is not an image\n" * 50)
    with pytest.raises(UnreadableFile, match=f"text{suffix}: expected a readable") as caught:
        open_source(path)
    assert "\n" not in str(caught.value)


def test_wrong_paths_and_options_are_refused(tmp_path, write_raster):
    with pytest.raises(MissingFile, match=r"missing.tif: expected an existing file"):
        open_source(tmp_path / "missing.tif")
    with pytest.raises(ImageError, match=r"notes.txt: expected a file of type .tif .*; received .txt"):
        open_source(tmp_path / "notes.txt")
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(UnreadableFile, match="received a folder"):
        open_source(tmp_path / "folder.tif")
    path = write_raster(tmp_path / "image.tif", noise((1, 8, 8)))
    with pytest.raises(ImageError, match="expected a volume with 3 spatial axes; received an image with 2"):
        open_source(path, spatial_dims=3)
    with pytest.raises(ImageError, match="expected windows of 2 axes"):
        open_source(path).read(Window((0, 0, 0), (1, 1, 1)))
    with pytest.raises(OptionError, match="palette: expected rgb or index"):
        open_source(path, palette="raw")
    path = write_raster(tmp_path / "complex.tif", np.zeros((1, 8, 8), np.complex64))
    with pytest.raises(ImageError, match="expected pixels that are real numbers; received complex64"):
        open_source(path)


def test_a_missing_file_is_answered_without_heavy_imports(tmp_path):
    code = (
        "import sys; from maskzoo import data\n"
        "try: data.open_source('missing.tif')\n"
        "except FileNotFoundError: pass\n"
        "heavy = {'keras', 'tensorflow', 'rasterio', 'nibabel', 'scipy', 'skimage', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
