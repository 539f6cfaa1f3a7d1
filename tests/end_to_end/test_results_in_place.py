"""What `predict` writes of a coarser level lies where the image lies, and is read back as a label of the same area."""

import json
import shutil

import keras
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.control import GroundControlPoint
from run_verb import run

from maskzoo import data
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.sets.pairs import open_pairs

SHAPE = (320, 448)
TRANSFORM = rasterio.Affine(0.5, 0, 700000, 0, -0.5, 3700000)
PLACES = {"slide": {}, "map": {"crs": "EPSG:32616", "transform": TRANSFORM}}
# How the run was trained, and how it is asked to predict.
SCALES = {
    "trained at a level": ({"level": 1}, []),
    "trained at a resolution": ({"resolution": 2.0}, []),
    "trained resized": ({"resize": 0.5}, []),
    "trained at a level, resized": ({"level": 1, "resize": [150, 200]}, []),
    "trained at a spacing": ({"spacing": [1.5, 1.2]}, []),
    "level": ({}, ["--level", 1]),
    "resolution": ({}, ["--resolution", 1.7]),
}
# Results of these lie on the grid of the file.
OWN_GRID = ("trained resized", "trained at a spacing")


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
    write_run(root)
    return root


def write_run(root):
    """Writes a run whose model finds what is bright."""
    (root / "run").mkdir()
    image = keras.Input((None, None, 1))
    keras.Model(image, keras.layers.Rescaling(20.0, offset=-10.0)(image)).save(root / "run/best.keras")
    described = {"task": "binary", "class_names": ["cell"], "channels": 1, "rank": 2, "patch": [32, 32]}
    described |= {"normalization": {"kind": "none", "channels": 1}, "spec": {"path": str(root)}}
    (root / "run/data.json").write_text(json.dumps(described))
    (root / "run/decision.json").write_text(json.dumps({"thresholds": [0.5]}))


def describe(root, spec):
    """Lets the run in a folder be one that was trained at a scale."""
    described = json.loads((root / "run/data.json").read_text())
    described["spec"] = {"path": str(root), **spec}
    (root / "run/data.json").write_text(json.dumps(described))


def dice_as_label(root, output, expected=None):
    """The Dice of a written file with the truth, read as the label of the image at its full resolution."""
    expected = truth() if expected is None else expected
    labels = {".geojson": output.parent, ".csv": output, ".tif": output.parent}[output.suffix]
    spec = data.DataSpec(str(root), labels=str(labels.relative_to(root)))
    (pair,) = open_pairs(spec, 2, 0)[0]
    image, label = pair.image, pair.label
    assert label.shape == image.shape == expected.shape
    found = label.read(data.Window((0, 0), expected.shape))[..., 0] > 0
    return 2 * (found & expected).sum() / (found.sum() + expected.sum())


@pytest.mark.parametrize("suffix", [".geojson", ".csv", ".tif"])
@pytest.mark.parametrize("scale", SCALES)
def test_results_are_read_back_as_labels_of_the_same_area(place, tmp_path, suffix, scale):
    spec, options = SCALES[scale]
    folder = place / f"{scale}{suffix}"
    folder.mkdir()
    describe(place, spec)
    output = folder / f"s{suffix}"
    assert run("predict", place / "run", place / "images/s.tif", output, *options) == 0
    dice = dice_as_label(place, output)
    print(f"{place.name} {scale} {suffix}: Dice {dice:.4f}")
    assert dice > 0.95
    if suffix == ".tif":
        with open_raster(output) as file, open_raster(place / "images/s.tif") as image:
            assert (file.shape == image.shape) == (scale in OWN_GRID)
            assert file.bounds == pytest.approx(image.bounds) or image.crs is None
        frame = data.open_source(output).frame
        whole = np.multiply(frame.spacing, frame.shape)
        np.testing.assert_allclose(whole, np.multiply(0.5, SHAPE))
        assert run("predict", place / "run", place / "images/s.tif", output, *options, "--full-size") == 0
        with open_raster(output) as file, open_raster(place / "images/s.tif") as image:
            assert (file.shape, file.transform, file.crs) == (image.shape, image.transform, image.crs)
        assert data.open_source(output).frame.spacing == (0.5, 0.5)
        assert dice_as_label(place, output) > 0.95


# Each a way in which pixels lie otherwise than they are stored, or in the world by something else than a transform.
ODD = {
    "turned photograph": ("jpg", {}),
    "turned picture": ("png", {}),
    "oblique map": ("tif", {"crs": "EPSG:32633", "transform": rasterio.Affine(0.4, 0.3, 5e5, 0.3, -0.4, 4e6)}),
    "map with south up": ("tif", {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 5e5, 0, 0.5, 4e6)}),
    "degrees": ("tif", {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-5, 0, 9, 0, -1e-5, 48)}),
    "affine control points": (
        "tif",
        {"gcps": [(r, c, 9 + 1e-5 * c, 48 - 1e-5 * r) for r in (0, 320) for c in (0, 448)]},
    ),
    "curved control points": (
        "tif",
        {
            "gcps": [
                (r, c, 9 + 1e-5 * c + 1e-9 * r * c, 48 - 1e-5 * r + 1e-9 * c * c)
                for r in (0, 160, 320)
                for c in (0, 224, 448)
            ]
        },
    ),
}


@pytest.fixture(scope="module", params=ODD)
def odd_place(tmp_path_factory, request):
    """A folder with such an image and a run that reads it at half its size; and its truth as it is seen."""
    root = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    (root / "images").mkdir()
    suffix, place = ODD[request.param]
    path, pixels = root / f"images/s.{suffix}", np.where(truth(), 200, 50).astype(np.uint8)
    if suffix == "tif":
        place = dict(place)
        points = [GroundControlPoint(*point) for point in place.pop("gcps", [])]
        size = {"height": SHAPE[0], "width": SHAPE[1], "count": 1, "dtype": "uint8"}
        with open_raster(path, "w", driver="GTiff", **size, **place) as file:
            file.write(pixels, 1)
            if points:
                file.gcps = (points, "EPSG:4326")
        seen = truth()
    else:
        image = Image.fromarray(pixels)
        marks = image.getexif()
        marks[274] = 6
        image.save(path, exif=marks)
        seen = np.rot90(truth(), -1)
    write_run(root)
    return root, path, seen


@pytest.mark.parametrize("suffix", [".geojson", ".csv", ".tif"])
@pytest.mark.parametrize("spec", [{}, {"resize": 0.5}], ids=["full", "half"])
def test_results_of_turned_and_oddly_placed_images_are_read_back(odd_place, suffix, spec, capsys):
    root, image, seen = odd_place
    folder = root / f"{len(spec)}{suffix}"
    folder.mkdir()
    describe(root, spec)
    output = folder / f"s{suffix}"
    status = run("predict", root / "run", image, output)
    if root.name.startswith("curved") and suffix == ".geojson":
        assert status
        assert "expected an image with a transform, for outlines" in capsys.readouterr().err
        return
    assert status == 0
    dice = dice_as_label(root, output, seen)
    print(f"{root.name} {spec or 'full'} {suffix}: Dice {dice:.4f}")
    assert dice > 0.95


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
