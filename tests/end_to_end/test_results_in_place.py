"""What `predict` writes of a coarser level lies where the image lies, and is read back as a label of the same area."""

import json
import shutil

import keras
import numpy as np
import pytest
import rasterio
from run_verb import run

from maskzoo import data
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.sets.pairs import open_pairs

SHAPE = (320, 448)
PLACES = {
    "slide": {},
    "map": {"crs": "EPSG:32616", "transform": rasterio.Affine(0.5, 0, 700000, 0, -0.5, 3700000)},
}


def truth():
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    mask = (rows - 110) ** 2 + (columns - 150) ** 2 < 70**2
    mask[200:290, 260:420] = True
    mask[230:260, 300:350] = False
    return mask


@pytest.fixture(scope="module", params=PLACES)
def place(tmp_path_factory, request):
    """A folder with an image that has levels, 0.5 to a pixel, and a run whose model finds what is bright."""
    root = tmp_path_factory.mktemp(request.param)
    (root / "images").mkdir()
    profile = {"height": SHAPE[0], "width": SHAPE[1], "count": 1, "dtype": "uint8"}
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    path = root / "images" / "s.tif"
    with open_raster(path, "w", driver="GTiff", **profile, **tiles, **PLACES[request.param]) as file:
        file.write(np.where(truth(), 200, 50).astype(np.uint8), 1)
        if request.param == "slide":
            file.update_tags(TIFFTAG_XRESOLUTION="20000", TIFFTAG_YRESOLUTION="20000", TIFFTAG_RESOLUTIONUNIT="3")
    with open_raster(path, "r+") as file:
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    (root / "run").mkdir()
    image = keras.Input((None, None, 1))
    keras.Model(image, keras.layers.Rescaling(20.0, offset=-10.0)(image)).save(root / "run/best.keras")
    described = {"task": "binary", "class_names": ["cell"], "channels": 1, "rank": 2, "patch": [32, 32]}
    described |= {"normalization": {"kind": "none", "channels": 1}, "spec": {"path": str(root)}}
    (root / "run/data.json").write_text(json.dumps(described))
    (root / "run/decision.json").write_text(json.dumps({"thresholds": [0.5]}))
    return root


def dice_as_label(root, output):
    """The Dice of a written file with the truth, read as the label of the image at its full resolution."""
    labels = {".geojson": output.parent, ".csv": output, ".tif": output.parent}[output.suffix]
    spec = data.DataSpec(str(root), labels=str(labels.relative_to(root)))
    (pair,) = open_pairs(spec, 2, 0)[0]
    image, label = pair.image, pair.label
    assert label.shape == image.shape == SHAPE
    found = label.read(data.Window((0, 0), SHAPE))[..., 0] > 0
    return 2 * (found & truth()).sum() / (found.sum() + truth().sum())


@pytest.mark.parametrize("suffix", [".geojson", ".csv", ".tif"])
@pytest.mark.parametrize("scale", ["trained at a level", "level", "resolution"])
def test_results_are_read_back_as_labels_of_the_same_area(place, tmp_path, suffix, scale):
    options = {"level": ["--level", 1], "resolution": ["--resolution", 1.7]}.get(scale, [])
    folder = place / f"{scale}{suffix}"
    folder.mkdir()
    described = json.loads((place / "run/data.json").read_text())
    described["spec"] = {"path": str(place)} | ({"level": 1} if scale == "trained at a level" else {})
    (place / "run/data.json").write_text(json.dumps(described))
    output = folder / f"s{suffix}"
    assert run("predict", place / "run", place / "images/s.tif", output, *options) == 0
    assert dice_as_label(place, output) > 0.95
    if suffix == ".tif":
        with open_raster(output) as file, open_raster(place / "images/s.tif") as image:
            assert file.shape != image.shape
            assert file.bounds == pytest.approx(image.bounds) or image.crs is None
        frame = data.open_source(output).frame
        whole = np.multiply(frame.spacing, frame.shape)
        np.testing.assert_allclose(whole, np.multiply(0.5, SHAPE))
        assert run("predict", place / "run", place / "images/s.tif", output, *options, "--full-size") == 0
        with open_raster(output) as file, open_raster(place / "images/s.tif") as image:
            assert (file.shape, file.transform, file.crs) == (image.shape, image.transform, image.crs)
        assert data.open_source(output).frame.spacing == (0.5, 0.5)
        assert dice_as_label(place, output) > 0.95


def test_pseudo_labels_of_a_run_at_a_level_are_at_that_level(place, tmp_path):
    (tmp_path / "more").mkdir()
    shutil.copy(place / "images/s.tif", tmp_path / "more/new.tif")
    shutil.copytree(place / "run", tmp_path / "run")
    described = json.loads((tmp_path / "run/data.json").read_text())
    described["spec"] = {"path": str(place), "level": 1}
    (tmp_path / "run/data.json").write_text(json.dumps(described))
    assert run("pseudo", tmp_path / "run", tmp_path / "more", tmp_path / "set") == 0
    ((pair,), _) = open_pairs(data.read_spec(tmp_path / "set/set.yaml"), 2, 0)
    assert pair.image.shape == pair.label.shape == (SHAPE[0] // 2, SHAPE[1] // 2)
    labels = pair.label.read(data.Window((0, 0), pair.label.shape))[..., 0]
    inside = truth()[::2, ::2]
    counted = labels != 255
    assert (labels == 1)[counted & inside].mean() > 0.95
