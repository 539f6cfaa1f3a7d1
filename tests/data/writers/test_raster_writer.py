"""TIFF and PNG: what is written by windows is read back equal, with its place, names and colours."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from maskzoo.data import Window, WriterOptions, open_source, open_writer
from maskzoo.data.images.raster_files import open_raster


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(st.integers(1, 700), st.integers(1, 300)),
    st.tuples(st.integers(100, 300), st.integers(60, 300)),
    st.sampled_from([(1, "uint8"), (3, "uint8"), (2, "float32"), (1, "uint16"), (1, "int16"), (1, "float32")]),
)
def test_a_tiff_written_by_windows_of_any_size_is_read_back_equal(tmp_path, write, read, values, shape, size, kind):
    array = values((*shape, kind[0]), kind[1])
    write(tmp_path / "out.tif", array, size)
    np.testing.assert_array_equal(read(tmp_path / "out.tif"), array)
    assert [path.name for path in tmp_path.iterdir()] == ["out.tif"]


@pytest.mark.parametrize(("bands", "dtype"), [(1, "uint8"), (3, "uint8"), (1, "uint16")])
def test_png(tmp_path, bands, dtype, write, read, values):
    array = values((33, 41, bands), dtype)
    write(tmp_path / "out.png", array, 16)
    np.testing.assert_array_equal(read(tmp_path / "out.png"), array)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_tiff_is_a_tiled_compressed_bigtiff_with_names_and_colours(tmp_path, write, values):
    write(tmp_path / "ids.tif", values((300, 300, 1)), 256, class_names=["membrane"])
    assert (tmp_path / "ids.tif").read_bytes()[:4] == b"II+\0"
    with open_raster(tmp_path / "ids.tif") as file:
        assert (file.profile["tiled"], file.profile["compress"]) == (True, "lzw")
        assert file.tags()["CLASS_1"] == "membrane"
        colors = file.colormap(1)
    assert colors[0] == (0, 0, 0, 255)
    assert len({colors[index] for index in range(9)}) == 9
    assert sum(colors[1][:3]) > 200  # seen beside black
    write(tmp_path / "bands.tif", values((30, 30, 2)), 16, class_names=["lung", "heart"])
    with open_raster(tmp_path / "bands.tif") as file:
        assert file.descriptions == ("lung", "heart")
    write(tmp_path / "shares.tif", values((30, 30, 1)), 16, colors=[])
    with open_raster(tmp_path / "shares.tif") as file:
        assert (file.profile["compress"], file.colorinterp[0].name) == ("deflate", "gray")
    write(tmp_path / "mine.png", values((30, 30, 1)), 16, colors=[(1, 2, 3), (4, 5, 6)])
    with open_raster(tmp_path / "mine.png") as file:
        assert [file.colormap(1)[index][:3] for index in (0, 1)] == [(1, 2, 3), (4, 5, 6)]


def test_georeference_is_kept(tmp_path, shared_data, write, values):
    image = open_source(shared_data / "raster" / "spacenet4_atlanta_buildings" / "image.tif")
    write(tmp_path / "out.tif", values((*image.shape, 1)), 512, like=image)
    with open_raster(tmp_path / "out.tif") as file, open_raster(image.path) as original:
        assert file.crs == original.crs
        assert file.transform == original.transform


def test_a_transform_without_coordinate_system_and_control_points_are_kept(tmp_path, write, values):
    from rasterio.control import GroundControlPoint

    options = {"driver": "GTiff", "height": 20, "width": 20, "count": 1, "dtype": "uint8"}
    shift = Affine(2, 0, 100, 0, -2, 50)
    open_raster(tmp_path / "shift.tif", "w", transform=shift, **options).close()
    points = [GroundControlPoint(row, column, column * 3.0, row * 2.0) for row in (0, 20) for column in (0, 20)]
    open_raster(tmp_path / "points.tif", "w", gcps=points, crs="EPSG:32616", **options).close()
    for name in ("shift", "points"):
        write(tmp_path / "out.tif", values((20, 20, 1)), 16, like=open_source(tmp_path / f"{name}.tif"))
        written = open_source(tmp_path / "out.tif").frame
        if name == "shift":
            assert written.transform == shift
        else:
            read_back = [(point.row, point.col, point.x, point.y) for point in written.control_points]
            assert read_back == [(point.row, point.col, point.x, point.y) for point in points]
            assert written.control_points_crs == "EPSG:32616"


def test_a_full_disk_is_reported_for_blocks_that_the_file_fills_itself(tmp_path):
    code = """
import resource
import numpy as np
from maskzoo.data import open_writer
import rasterio
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with open_writer("out.tif", (9000, 9000)) as writer:
        writer.fill(lambda window, band: np.zeros(window.size, np.uint8))
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    refused = "expected a disk that takes the output; received an incomplete file: the disk is full"
    assert done.stdout == f"out.tif: {refused}\n"
    assert "ERROR" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_gigapixel_mask_is_streamed_in_bounded_memory(tmp_path):
    """Windows that cut through the file's blocks; noise, which hardly compresses."""
    code = """
from pathlib import Path
import numpy as np
from maskzoo.data import open_writer, window_grid
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024
noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 1)).astype(np.uint8)
with open_writer("out.tif", (8_000, 16_000)) as writer:
    start = peak()
    for window in window_grid((8_000, 16_000), 1000):
        writer.write(window, noise)
print(peak() - start)
"""
    environment = {**os.environ, "GDAL_CACHEMAX": "32"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, env=environment)
    assert int(done.stdout) < 90
    assert (tmp_path / "out.tif").stat().st_size < 1.6 * 8_000 * 16_000
    image = open_source(tmp_path / "out.tif", palette="index")
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 1)).astype(np.uint8)
    np.testing.assert_array_equal(image.read(Window((6500, 14500), (1000, 1000))), np.roll(noise, (500, 500), (0, 1)))


@pytest.mark.parametrize("bands", [1, 2])
def test_a_cog_has_overviews_of_ids_that_are_ids(tmp_path, bands, read, values):
    array = 3 * values((1500, 1300, bands))
    options = WriterOptions(bands=bands, cog=True, class_names=["a", "b"])
    with open_writer(tmp_path / "out.tif", (1500, 1300), options) as writer:
        writer.fill(lambda window, band: array[(*window.slices, band)])
    assert [path.name for path in tmp_path.iterdir()] == ["out.tif"]
    np.testing.assert_array_equal(read(tmp_path / "out.tif"), array)
    with open_raster(tmp_path / "out.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2, 4]
        small = file.read(1, out_shape=(375, 325))
        if bands == 1:
            assert set(np.unique(small)) == {0, 3, 6}
            assert file.colormap(1)[0] == (0, 0, 0, 255)
    with pytest.raises(ValueError, match=r"expected a \.tif or \.tiff to make a COG of; received \.png"):
        open_writer(tmp_path / "out.png", (10, 10), WriterOptions(cog=True))


def test_polynomials_and_the_size_of_a_slides_pixels_are_kept(tmp_path, write, values):
    from rasterio.rpc import RPC

    options = {"driver": "GTiff", "height": 20, "width": 30, "count": 1, "dtype": "uint8"}
    rpcs = RPC(5, 9, 50, 1, [1.0] * 20, [1.0] + [0.0] * 19, 9.5, 10, 10, 1, [1.0] * 20, [1.0] + [0.0] * 19, 14.5, 15)
    open_raster(tmp_path / "rpc.tif", "w", rpcs=rpcs, **options).close()
    write(tmp_path / "out.tif", values((20, 30, 1)), 16, like=open_source(tmp_path / "rpc.tif"))
    frame = open_source(tmp_path / "out.tif").frame
    assert (frame.rpcs.line_off, frame.rpcs.samp_scale, frame.transform) == (9.5, 15, None)
    with open_raster(tmp_path / "slide.tif", "w", **options) as file:
        file.update_tags(TIFFTAG_XRESOLUTION="40000", TIFFTAG_YRESOLUTION="20000", TIFFTAG_RESOLUTIONUNIT="3")
    for cog in (False, True):
        write(tmp_path / "out.tif", values((20, 30, 1)), 16, like=open_source(tmp_path / "slide.tif"), cog=cog)
        assert open_source(tmp_path / "out.tif").frame.spacing == (0.5, 0.25)
