"""`maskzoo inspect`: pictures where they are asked for, two sets compared, mistakes in one line, no heavy imports."""

import json
import subprocess
import sys

import cv2
import nibabel
import numpy as np
import pytest
from PIL import Image
from rasterio.transform import Affine
from run_verb import run_and_capture

from maskzoo.data.images.raster_files import open_raster


def run(capsys, *arguments):
    return run_and_capture(capsys, "inspect", *arguments)


def cloudy(number, seed, brighter=0):
    """Images of cloudy noise, each of a brightness and contrast of its own."""
    rng = np.random.default_rng(seed)
    for _ in range(number):
        image = cv2.GaussianBlur(rng.normal(0, 1, (64, 64, 3)), (0, 0), rng.uniform(1, 2))
        image = rng.uniform(90, 130) + brighter + rng.uniform(60, 100) * image
        yield np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Six cloudy images, their masks, and darker images alone in a folder."""
    for name in ("set/images", "set/masks", "other"):
        (tmp_path / name).mkdir(parents=True)
    for number, image in enumerate(cloudy(6, 0)):
        assert cv2.imwrite(str(tmp_path / "set" / "images" / f"{number}.png"), image)
        assert cv2.imwrite(str(tmp_path / "set" / "masks" / f"{number}.png"), (image[..., 0] > 120).astype(np.uint8))
    for number, image in enumerate(cloudy(6, 1, brighter=-60)):
        assert cv2.imwrite(str(tmp_path / "other" / f"{number}.png"), image)
    return tmp_path / "set"


def test_the_report_is_printed_as_text_or_json(folder, capsys):
    code, out, err = run(capsys, folder)
    assert (code, err) == (0, "")
    assert "6 images, 6 with a label" in out
    assert "nothing suspicious" in out
    assert "--picture" in out
    report = json.loads(run(capsys, folder, "--json")[1])
    assert (report["pairs"], report["channels"], report["suspicious"]) == (6, {"3": 6}, {})


def test_the_picture_is_written_only_where_it_is_asked_for(folder, capsys, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run(capsys, folder)
    assert list((tmp_path / "work").iterdir()) == []
    assert run(capsys, folder, "--picture", "overlays.png", "--samples", 2)[0] == 0
    assert cv2.imread("overlays.png").shape[0] > 200


def test_another_folder_is_compared(folder, capsys, monkeypatch):
    monkeypatch.setattr("maskzoo.data.inspection.shift.RESAMPLES", 100)
    other = folder.parent / "other"
    code, out, _ = run(capsys, folder, "--against", other, "--picture", folder / "found.png")
    assert code == 0
    assert "6 and 6 images" in out
    assert "they differ" in out
    assert cv2.imread(str(folder / "found-against.png")).shape[0] > 400
    report = json.loads(run(capsys, folder, "--against", other, "--json")[1])["against"]
    assert report["auc"] > 0.95
    assert report["path"] == str(other)
    code, _, err = run(capsys, folder, "--against", folder / "none")
    assert code == 2
    assert "none" in err


def test_mistakes_are_one_line(folder, capsys, tmp_path):
    (tmp_path / "set.yaml").write_text("path: .\nclases: [a]\n")
    mistakes = {
        (tmp_path / "nowhere",): "nowhere",
        (tmp_path / "set.yaml",): "classes",
        (folder, "--picture", "overlays.jpg"): "--picture",
        (folder, "--picture", tmp_path / "none" / "a.png"): "none",
        (folder, "--samples", "0"): "--samples",
        (folder, "--spatial-dims", "4"): "--spatial-dims",
        (folder, "--pictrue", "a.png"): "--picture",
    }
    for arguments, expected in mistakes.items():
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert expected in err


def test_neither_keras_nor_tensorflow_is_imported(folder):
    code = (
        "import sys; from maskzoo import cli; cli.main('inspect', sys.argv[1:]);"
        "sys.exit(bool({'keras', 'tensorflow'} & sys.modules.keys()))"
    )
    picture = str(folder / "overlays.png")
    done = subprocess.run([sys.executable, "-c", code, str(folder), "--picture", picture], capture_output=True)
    assert done.returncode == 0, done.stderr


def save_map(path, pixels, *, east=500000.0):
    """A map of pixels of a metre in zone 33, its upper left corner at (east, 5000000)."""
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    size = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    place = {"crs": "EPSG:32633", "transform": Affine(1, 0, east, 0, -1, 5000000)}
    with open_raster(path, "w", driver="GTiff", dtype=pixels.dtype.name, **size, **place) as file:
        file.write(pixels)


def save_volume(path, voxels, spacing):
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)


def save_indices(path, indices, *colors):
    picture = Image.fromarray(indices)
    picture.putpalette([part for color in colors for part in color])
    picture.save(path)


def block(row=4):
    mask = np.zeros((24, 20), np.uint8)
    mask[row : row + 9, 5:12] = 1
    return mask


def types_that_differ(folder):
    for number, image in enumerate(cloudy(4, 0)):
        image = image.clip(0, 200)
        image[0, :2] = [[0], [239 if number else 200]]
        pixels = image if number != 2 else image.astype(np.uint16) * 257
        cv2.imwrite(str(folder / "images" / f"a{number}.png"), pixels)
        cv2.imwrite(str(folder / "masks" / f"a{number}.png"), (image[..., 0] > 120).astype(np.uint8))
    return folder


def spacings_that_differ(folder):
    for number in range(3):
        voxels = np.random.default_rng(number).integers(0, 99, (9, 8, 5)).astype(np.int16)
        spacing = (0.8, 0.8, 5) if number == 1 else (0.5, 0.5, 3)
        save_volume(folder / "images" / f"a{number}.nii.gz", voxels, spacing)
        save_volume(folder / "masks" / f"a{number}.nii.gz", (voxels > 50).astype(np.uint8), spacing)
    return folder


def maps(folder, name="masks"):
    for number in range(3):
        save_map(
            folder / "images" / f"a{number}.tif", np.random.default_rng(number).integers(0, 99, (24, 20), np.uint8)
        )
        if name == "masks":
            save_map(folder / name / f"a{number}.tif", block())
    return folder


def a_label_that_lies_elsewhere(folder):
    save_map(maps(folder) / "masks" / "a1.tif", block(), east=500100.0)
    return folder


def outlines_off_the_image(folder):
    maps(folder, "outlines")
    (folder / "outlines").mkdir()
    for number in range(3):
        x, y = 500002 + 1000 * (number == 1), 4999990
        ring = [[x, y], [x + 9, y], [x + 9, y + 8], [x, y]]
        crs = {"type": "name", "properties": {"name": "EPSG:32633"}}
        content = {"type": "FeatureCollection", "crs": crs, "features": []}
        geometry = {"type": "Polygon", "coordinates": [ring]}
        content["features"].append({"type": "Feature", "properties": {}, "geometry": geometry})
        (folder / "outlines" / f"a{number}.geojson").write_text(json.dumps(content))
    (folder / "set.yaml").write_text("path: .\nlabels: outlines\n")
    return folder / "set.yaml"


def masks_in_colours(folder):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 99, (24, 20, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"a{number}.png"), pixels)
        colours = np.zeros((24, 20, 3), np.uint8)
        colours[3:9], colours[12:16] = (255, 0, 0), (0, 128, 255)
        Image.fromarray(colours).save(folder / "masks" / f"a{number}.png")
    return folder


def a_label_that_is_missing(folder):
    (maps(folder) / "masks" / "a2.tif").unlink()
    return folder


def a_class_that_never_occurs(folder):
    maps(folder)
    (folder / "set.yaml").write_text("path: .\nclasses: {background: 0, kidney: 1, tumour: 2}\n")
    return folder / "set.yaml"


def palettes_that_differ(folder):
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 99, (24, 20), np.uint8)
        cv2.imwrite(str(folder / "images" / f"a{number}.png"), pixels)
        black, white = (0, 0, 0), (255, 255, 255)
        turned = number == 2
        save_indices(
            folder / "masks" / f"a{number}.png", block() ^ turned, *((white, black) if turned else (black, white))
        )
    return folder


@pytest.mark.parametrize(("build", "expected"), [
    (types_that_differ, [
        "suspicious: types that differ (2)",
        "  uint8 from 0 to 239: a0.png, a1.png, a3.png",
        "  uint16 from 0 to 61423: a2.png",
    ]),
    (spacings_that_differ, [
        "suspicious: spacings that differ (2)",
        "  0.5 x 0.5 x 3: a0.nii.gz, a2.nii.gz",
        "  0.8 x 0.8 x 5: a1.nii.gz",
    ]),
    (a_label_that_lies_elsewhere, [
        "suspicious: labels that lie elsewhere (1)",
        "masks/a1.tif: expected a label at the place of ",
        "images/a1.tif, EPSG:32633, pixels of 1 x 1 from (500000, 5000000)",
        "; received EPSG:32633, pixels of 1 x 1 from (500100, 5000000)",
    ]),
    (outlines_off_the_image, [
        "suspicious: labels that lie elsewhere (1)",
        "outlines/a1.geojson: expected outlines that touch ",
        "images/a1.tif, 24 x 20",
        "received outlines from row 2, column 1002 to row 10, column 1011 of it",
    ]),
    (masks_in_colours, [
        "suspicious: unclear labels (1)",
        "masks/a0.png: expected one band of label values, or in the data set's YAML `colors` such as",
        "in the colours [0, 0, 0], [255, 0, 0], [0, 128, 255]",
    ]),
    (a_label_that_is_missing, [
        "suspicious: without counterpart (1)",
        "images/a2.tif: nothing of this name in ",
    ]),
    (a_class_that_never_occurs, ["suspicious: classes that never occur (1)", "  tumour"]),
    (palettes_that_differ, [
        "palettes differ between label files, such as a0.png and a2.png: label values are those",
        "binary class  pixels  images\n  foreground    13.12%       3",
    ]),
], ids=lambda value: getattr(value, "__name__", ""))  # fmt: skip
def test_a_fault_of_a_set_is_named_with_its_file(tmp_path, capsys, build, expected):
    for name in ("images", "masks"):
        (tmp_path / "set" / name).mkdir(parents=True)
    code, out, _ = run(capsys, build(tmp_path / "set"))
    assert code == 0
    for line in expected:
        assert line in out
    # Nothing else is wrong with the set.
    assert out.count("suspicious: ") == any("suspicious: " in line for line in expected)
