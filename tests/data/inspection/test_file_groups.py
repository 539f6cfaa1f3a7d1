"""Groups of files are listed with what they are, and what a set mixes is named."""

import numpy as np
import pytest
from rasterio.transform import Affine

from maskzoo.data import inspect_data
from maskzoo.data.images.raster_files import open_raster


def write(path, bands, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    size = dict(zip(("count", "height", "width"), bands.shape, strict=True))
    options = {"driver": "GTiff", "dtype": bands.dtype.name, **options}
    with open_raster(path, "w", **size, **options) as file:
        file.write(bands)


@pytest.fixture
def folder(tmp_path):
    """A set of three images: one of 16 bits, one in a coordinate system, one with infrared tagged as transparency."""
    rng = np.random.default_rng(0)
    bands = rng.integers(1, 255, (4, 20, 30), np.uint8)
    place = {"crs": "EPSG:32631", "transform": Affine(2, 0, 0, 0, -2, 0)}
    write(tmp_path / "images" / "a.tif", bands[:, ::-1], photometric="rgb", alpha="yes")
    write(tmp_path / "images" / "b.tif", bands.astype(np.uint16) * 257, alpha="unspecified")
    write(tmp_path / "images" / "c.tif", bands[:, :, ::-1], alpha="unspecified", **place)
    for name in "abc":
        write(tmp_path / "masks" / f"{name}.png", rng.integers(0, 2, (1, 20, 30), np.uint8), driver="PNG")
    (tmp_path / "images" / "._a.tif").write_bytes(b"no image")
    return tmp_path


def test_what_a_set_mixes_is_named(folder):
    report = inspect_data(folder).report
    assert report["files"] == 3
    assert {group["images"] for group in report["groups"]} == {1}
    assert {"types that differ", "spacings that differ", "coordinate systems that differ"} <= set(report["suspicious"])
    assert any("EPSG:32631" in line for line in report["suspicious"]["coordinate systems that differ"])
    assert any("uint16 from" in line for line in report["suspicious"]["types that differ"])
    assert any("band 4 is tagged as transparency" in line for line in report["pixels"])


def test_a_set_of_one_kind_has_one_group(folder):
    for name in "bc":
        (folder / "images" / f"{name}.tif").unlink()
        (folder / "masks" / f"{name}.png").unlink()
    report = inspect_data(folder).report
    (group,) = report["groups"]
    assert (group["images"], group["kind"]) == (1, ".tif, uint8, 4 channels")
    assert not [kind for kind in report["suspicious"] if kind.endswith("differ")]
