"""`predict`: what it says of one image and of a folder, what it skips, mistakes in one line."""

import shutil

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from run_verb import run_and_capture

from maskzoo.cli.predict import join_tables, with_cluster
from maskzoo.data.images.raster_files import open_raster


@pytest.fixture
def images(squares, tmp_path):
    """A folder with five images of one kind."""
    shutil.copytree(squares / "images", tmp_path / "images")
    return tmp_path / "images"


def test_one_image_is_reported_in_full(trained_run, images, tmp_path, capsys):
    output = tmp_path / "mask.tif"
    code, out, err = run_and_capture(capsys, "predict", trained_run, images / "0.tif", output)
    assert code == 0, err
    assert "tile" in out
    assert f"wrote {output}" in out
    with rasterio.open(output) as mask, rasterio.open(images / "0.tif") as image:
        assert (mask.shape, mask.transform) == (image.shape, image.transform)


def test_of_a_folder_the_plan_is_said_once_and_then_the_progress(trained_run, images, tmp_path, capsys):
    masks = tmp_path / "masks"
    code, out, err = run_and_capture(capsys, "predict", trained_run, images, masks)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.startswith(f"{images / '0.tif'}: ") for line in lines] == [True] * (len(lines) - 3) + [False] * 3
    assert lines[-3].startswith("1 of 5 images, about ")
    assert lines[-2].startswith("segmented 5 images in ")
    assert lines[-1] == f"wrote {masks}"
    assert sorted(path.name for path in masks.glob("*.tif")) == [f"{number}.tif" for number in range(5)]


def test_each_kind_of_image_has_its_plan_said(trained_run, images, tmp_path, capsys):
    np.save(images / "5.npy", np.zeros((40, 50, 3), np.uint8))
    out = run_and_capture(capsys, "predict", trained_run, images, tmp_path / "masks")[1]
    told_of = {line.split(": ")[0] for line in out.splitlines() if line.startswith(str(images))}
    assert told_of == {str(images / "0.tif"), str(images / "5.npy")}


def test_details_and_silence_on_request(trained_run, images, tmp_path, capsys):
    out = run_and_capture(capsys, "predict", trained_run, images, tmp_path / "a", "--verbose")[1]
    assert {line.split(": ")[0] for line in out.splitlines()} >= {str(images / f"{number}.tif") for number in range(5)}
    assert run_and_capture(capsys, "predict", trained_run, images, tmp_path / "b", "--quiet") == (0, "", "")
    assert len(list((tmp_path / "b").glob("*.tif"))) == 5


def test_hidden_files_are_no_images(trained_run, images, tmp_path, capsys):
    for name in ("._0.tif", "._6.tif", ".DS_Store"):
        (images / name).write_bytes(b"\0\5\x16\7resource fork")
    code, out, err = run_and_capture(capsys, "predict", trained_run, images, tmp_path / "masks")
    assert (code, err) == (0, "")
    assert "segmented 5 images" in out
    assert sorted(path.name for path in (tmp_path / "masks").glob("[!.]*")) == [f"{number}.tif" for number in range(5)]
    assert not list((tmp_path / "masks").glob("._*"))


def test_outlines_of_an_image_that_only_control_points_place_are_refused(trained_run, images, tmp_path, capsys):
    with rasterio.open(images / "0.tif") as file:
        bands, size = file.read(), {"count": file.count, "height": file.height, "width": file.width, "dtype": "uint8"}
    # Four corners of which one lies 40 m off: no affine transform meets them.
    corners = [(0, 0, 0, 0), (0, 112, 56, 0), (96, 0, 0, -48), (96, 112, 96, -48)]
    points = [GroundControlPoint(row, column, 700000 + x, 3700000 + y) for row, column, x, y in corners]
    with open_raster(images / "turned.tif", "w", driver="GTiff", gcps=points, crs="EPSG:32616", **size) as file:
        file.write(bands)
    code, _, err = run_and_capture(capsys, "predict", trained_run, images / "turned.tif", tmp_path / "a.geojson")
    assert code == 2
    assert "turned.tif: expected" in err
    assert "control points" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "a.geojson").exists()
    assert run_and_capture(capsys, "predict", trained_run, images / "turned.tif", tmp_path / "a.tif")[0] == 0
    with rasterio.open(tmp_path / "a.tif") as file:
        assert [(point.x, point.y) for point in file.gcps[0]] == [(point.x, point.y) for point in points]


def test_what_cannot_be_read_is_skipped_and_listed(trained_run, images, tmp_path, capsys):
    (images / "1.tif").write_bytes(b"no image")
    code, _, err = run_and_capture(capsys, "predict", trained_run, images, tmp_path / "masks.csv", "--quiet")
    assert code == 2
    skipped, last = err.splitlines()
    assert skipped.startswith("skipped: ")
    assert str(images / "1.tif") in skipped
    assert last.startswith("error: input: expected 5 readable images; received 1 damaged or unsuitable one, skipped")
    rows = (tmp_path / "masks.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["ImageId", "0", "2", "3", "4"]


def test_mistakes_are_one_line(trained_run, images, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    shutil.copy(images / "0.tif", images / "0.png")
    masks = tmp_path / "masks"
    mistakes = {
        (tmp_path / "none.tif", masks): "none.tif: expected an image or a folder of images; received nothing",
        (tmp_path / "empty", masks): "empty: expected a folder with images; received one without any",
        (images, tmp_path / "file"): "file: expected a folder for the results of a folder; received a file",
        (images, masks): f"input: expected images of different names in {images}; received several named 0",
        (images / "0.tif", tmp_path / "a.tif", "--resize", "big"): "--resize: expected sizes such as 512 or 384x512",
        (images / "0.tif", tmp_path / "a.tif", "--memory", "much"): "--memory: expected a size such as 800MB or 16GB",
        (images / "0.tif", tmp_path / "a.tif", "--seam-tolerance", 1): "--seam-tolerance: expected",
        (images / "0.tif", tmp_path / "a.tif", "--crf", 1, "--engine", "onnx"): "--crf: expected the engine keras",
        (images / "0.tif", tmp_path / "a.xyz"): "a.xyz",
        (images / "0.tif", tmp_path / "none" / "a.tif"): "a.tif",
    }
    for arguments, message in mistakes.items():
        code, out, err = run_and_capture(capsys, "predict", trained_run, *arguments)
        assert (code, out) == (2, ""), (arguments, out)
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert message in err, err
    assert not masks.exists()


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        (["a", "b", "--cluster"], ["a", "b", "--cluster=local"]),
        (["--cluster", "--quiet"], ["--cluster=local", "--quiet"]),
        (["--cluster", "/", "b"], ["--cluster=local", "/", "b"]),
        (["--cluster", "local:4", "b"], ["--cluster", "local:4", "b"]),
        (["--cluster", "tcp://host:8786"], ["--cluster", "tcp://host:8786"]),
    ],
)
def test_a_cluster_needs_no_address(given, completed):
    assert with_cluster(given) == completed


def test_tables_are_joined_below_one_header(tmp_path):
    parts = [tmp_path / f"{number}.csv" for number in range(2)]
    for number, part in enumerate(parts):
        part.write_text(f"ImageId,EncodedPixels\n{number},1 2\n")
    join_tables(tmp_path / "all.csv", parts)
    assert (tmp_path / "all.csv").read_text() == "ImageId,EncodedPixels\n0,1 2\n1,1 2\n"
    join_tables(tmp_path / "none.csv", [])
    assert not (tmp_path / "none.csv").exists()
