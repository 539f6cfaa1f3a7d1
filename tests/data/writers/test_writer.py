"""Every format: what is written by windows is read back equal; nothing half-written is left behind."""

import subprocess
import sys

import numpy as np
import pytest

from maskzoo.data import Window, WriterOptions, open_sink, open_source, open_writer
from maskzoo.errors import ImageError, UnwritableFile


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".npy"])
@pytest.mark.parametrize("bands", [1, 2])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_volumes_written_by_windows_are_read_back_equal(tmp_path, suffix, bands, dtype, write, read, values):
    array = values((20, 31, 17, bands), dtype)
    write(tmp_path / f"out{suffix}", array, (8, 9, 17))
    np.testing.assert_array_equal(read(tmp_path / f"out{suffix}", spatial_dims=3), array)
    assert [path.name for path in tmp_path.iterdir()] == [f"out{suffix}"]


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".nii", ".nii.gz"])
def test_an_exception_leaves_nothing_and_keeps_the_older_file(tmp_path, suffix, values):
    path = tmp_path / f"out{suffix}"
    path.write_text("older")

    def interrupted():
        with open_writer(path, (300, 300)) as writer:
            writer.write(Window((0, 0), (256, 256)), values((256, 256, 1)))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    assert [other.name for other in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "older"


FULL_DISK = """
import resource, sys
import numpy as np
from maskzoo.data import open_writer, window_grid
import nibabel, rasterio
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
side = int(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 255, (side, side, 1)).astype(np.uint8)
for name in sys.argv[2:]:
    try:
        with open_writer(name, (side, side)) as writer:
            for window in window_grid((side, side), 256):
                writer.write(window, noise[window.slices])
    except OSError as error:
        print(error)
"""


@pytest.mark.parametrize("side", [1000, 300])
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path, side):
    pytest.importorskip("resource")
    names = ["out.tif", "out.png", "out.npy", "out.nii", "out.nii.gz"]
    command = [sys.executable, "-c", FULL_DISK, str(side), *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == len(names), done
    for name, line in zip(names, lines, strict=True):
        assert line.startswith(f"{name}: expected a disk that takes the output; received ")
    assert list(tmp_path.iterdir()) == []


def test_wrong_outputs_are_refused_before_any_work(tmp_path):
    with pytest.raises(UnwritableFile, match="expected a place that can be written; received No such file"):
        open_writer(tmp_path / "nowhere" / "out.tif", (10, 10))
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableFile, match="expected a place that can be written; received Not a directory"):
        open_writer(tmp_path / "file" / "out.tif", (10, 10))
    with pytest.raises(UnwritableFile, match="expected a place that can be written"):
        open_writer("/proc/out.tif", (10, 10))
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(UnwritableFile, match="received a folder"):
        open_writer(tmp_path / "folder.tif", (10, 10))
    with pytest.raises(ImageError, match=r"expected an output of type .*; received .jpg"):
        open_writer(tmp_path / "out.jpg", (10, 10))
    with pytest.raises(ImageError, match="expected an image with 2 axes"):
        open_writer(tmp_path / "out.tif", (10, 10, 10))
    with pytest.raises(ImageError, match="expected up to 4 bands of uint8 or uint16"):
        open_writer(tmp_path / "out.png", (10, 10), WriterOptions(dtype="float32"))
    with pytest.raises(ImageError, match=r"expected the size of array, \(10, 11\); received \(10, 10\)"):
        open_writer(tmp_path / "out.tif", (10, 10), WriterOptions(like=open_source(np.zeros((10, 11)))))
    with pytest.raises(ImageError, match="expected 3 class names"):
        open_writer(tmp_path / "out.tif", (10, 10), WriterOptions(bands=3, class_names=["a"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.tif"]


def test_wrong_arrays_are_refused(tmp_path, values):
    path = tmp_path / "a.tif"
    with pytest.raises(ImageError, match="expected a window inside"), open_writer(path, (10, 10)) as writer:
        writer.write(Window((5, 5), (6, 5)), values((6, 5, 1)))
    with pytest.raises(ImageError, match="expected an array"), open_writer(path, (10, 10)) as writer:
        writer.write(Window((0, 0), (5, 5)), values((5, 5)))
    with pytest.raises(ImageError, match="expected values of uint8"), open_writer(path, (10, 10)) as writer:
        writer.write(Window((0, 0), (5, 5)), np.zeros((5, 5, 1)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".nii", ".nii.gz"])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("blank", [np.s_[:0], np.s_[:256, 256:512], np.s_[:]], ids=["nothing", "a block", "all"])
def test_filling_a_file_gives_its_values_and_always_the_same_bytes(tmp_path, suffix, bands, blank, write, read, values):
    array = values((300, 700, bands) if suffix[:4] != ".nii" else (20, 30, 25, bands))
    array[blank] = 0

    busy = tmp_path / f"busy{suffix}"

    def fill(name):
        path = tmp_path / f"{name}{suffix}"
        with open_writer(path, array.shape[:-1], WriterOptions(bands=bands), unfinished=busy) as writer:
            writer.fill(lambda window, band: array[(*window.slices, band)])
        return path.read_bytes()

    once = fill("once")
    # Blocks of another file in GDAL's cache must not change the order in which it writes.
    write(tmp_path / "other.tif", values((900, 900, 3)), 300)
    read(tmp_path / "other.tif")
    assert fill("again") == once
    np.testing.assert_array_equal(read(tmp_path / f"once{suffix}", spatial_dims=array.ndim - 1), array)
    assert not busy.exists()


def test_the_older_file_stays_until_the_new_one_is_complete(tmp_path):
    (tmp_path / "out.npy").write_text("older")
    with open_writer(tmp_path / "out.npy", (4, 4)) as writer:
        writer.write(Window((0, 0), (4, 4)), np.ones((4, 4, 1), np.uint8))
        assert (tmp_path / "out.npy").read_text() == "older"
    assert np.load(tmp_path / "out.npy").all()


def test_the_old_name_takes_the_options_one_by_one(tmp_path):
    with open_sink(tmp_path / "out.npy", (4, 4), bands=2, dtype="float32") as writer:
        writer.write(Window((0, 0), (4, 4)), np.ones((4, 4, 2), np.float32))
    assert np.load(tmp_path / "out.npy").dtype == np.float32


def test_what_tells_of_replaced_pixels_goes(tmp_path, values):
    from maskzoo.data.images.raster_files import open_raster

    path = tmp_path / "out.tif"
    for suffix in ("", ".ovr", ".aux.xml", ".msk", ".txt"):
        (tmp_path / f"out.tif{suffix}").write_bytes(b"of another picture")
    with pytest.raises(ZeroDivisionError), open_writer(path, (10, 10)):
        raise ZeroDivisionError
    assert len(list(tmp_path.iterdir())) == 5
    with open_writer(path, (10, 10)) as writer:
        writer.write(Window((0, 0), (10, 10)), values((10, 10, 1)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif", "out.tif.txt"]
    with open_raster(path) as file:
        assert file.overviews(1) == []
