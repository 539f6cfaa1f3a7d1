"""Distances in the units of the images."""

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import SimpleITK as sitk
from brute_force import surface_scores
from exact_run import blobs, sure_run, write_image

from maskzoo import data
from maskzoo.data.images.placement import sizes_agree
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.images.scale import Scale
from maskzoo.errors import ImageError
from maskzoo.evaluation.spacing import pixel_spacing, shared_unit

TILTED = np.array([[0, -0.7, 0, 5], [0, 0, 0.4, 6], [3, 0, 0, 7], [0, 0, 0, 1]])
NORTH_UP = rasterio.Affine(0.5, 0, 733601, 0, -0.25, 3725139)


@pytest.mark.parametrize(
    ("shape", "suffix", "georeference", "spacing", "read", "unit"),
    [
        ((9, 14, 12), ".nii", {"affine": np.diag([3, 0.7, 0.4, 1])}, (3, 0.7, 0.4), (3, 0.7, 0.4), "mm"),
        # The axes of the array lie along those of the body in another order, one of them backwards: read as the body's.
        ((9, 14, 12), ".nii", {"affine": TILTED, "unit": "micron"}, (3, 0.7, 0.4), (0.7, 0.4, 3), "um"),
        ((30, 25), ".tif", {"crs": "EPSG:32616", "transform": NORTH_UP}, (0.25, 0.5), (0.25, 0.5), "m"),
        ((30, 25), ".npy", {}, (1, 1), (1, 1), "px"),
    ],
)
def test_surface_scores_have_the_real_spacing(tmp_path, evaluated, shape, suffix, georeference, spacing, read, unit):
    pairs = [blobs(shape, seed)[::-1] for seed in (0, 1)]
    folder = sure_run(tmp_path, pairs, suffix=suffix, **georeference)
    scores = evaluated(folder, "--metrics", "surface", "--tolerance", 0.6, "--tile", 16)["surface"]
    expected = np.array([surface_scores(truth, guess, spacing, 0.6) for guess, truth in pairs])
    names = ("hausdorff95", "average_surface_distance", "surface_dice")
    assert [scores[f"mean_{name}"] for name in names] == [pytest.approx([mean]) for mean in expected.mean(0)]
    assert (scores["unit"], scores["tolerance"], scores["one_sided"]) == (unit, 0.6, [0])
    images = evaluated(folder, "--metrics", "surface", "--tolerance", 0.6)["images"]
    for image, row in zip(images, expected, strict=True):
        assert image["surface"]["spacing"] == pytest.approx(list(read))
        assert [image["surface"][name] for name in names] == [pytest.approx([value]) for value in row]


def source(path, **georeference):
    array = np.zeros((4, 4, 1), np.float32)
    write_image(path, array, **georeference)
    return data.open_source(path)


def test_spacing_of_maps_is_in_metres(tmp_path):
    path = tmp_path / "map.tif"
    # A thousandth of a degree at 60 degrees north, on WGS 84: 111.412 m to the north, 55.800 m to the east.
    degrees = rasterio.Affine(0.001, 0, 10, 0, -0.001, 60.002)
    spacing, unit = pixel_spacing(source(path, crs="EPSG:4326", transform=degrees))
    assert unit == "m"
    assert spacing == pytest.approx((111.412, 55.800), rel=1e-5)
    # A pixel of 2 by 1 US survey feet, which are 1200/3937 m.
    feet = rasterio.Affine(1, 0, 0, 0, -2, 0)
    spacing, unit = pixel_spacing(source(path, crs="EPSG:2229", transform=feet))
    assert (spacing, unit) == (pytest.approx((2400 / 3937, 1200 / 3937)), "m")
    # Turned by 30 degrees, pixels are as large as before.
    sine, cosine = 1 / 2, np.sqrt(3) / 2
    turned = rasterio.Affine(0.5 * cosine, -0.25 * sine, 0, 0.5 * sine, 0.25 * cosine, 0)
    spacing, unit = pixel_spacing(source(path, crs="EPSG:32616", transform=turned))
    assert (spacing, unit) == (pytest.approx((0.25, 0.5)), "m")
    spacing, unit = pixel_spacing(source(path, transform=NORTH_UP))
    assert (spacing, unit) == ((0.25, 0.5), "map unit")


def test_slides_and_slices_say_the_size_of_their_pixels(tmp_path):
    path = tmp_path / "slide.tif"
    for dots, expected in (((20000, 10000), ((1.0, 0.5), "um")), ((28, 28), ((1, 1), "px"))):
        profile = {"driver": "GTiff", "width": 4, "height": 4, "count": 1, "dtype": "uint8"}
        with open_raster(path, "w", **profile) as file:
            file.update_tags(TIFFTAG_XRESOLUTION=dots[0], TIFFTAG_YRESOLUTION=dots[1], TIFFTAG_RESOLUTIONUNIT="3")
        assert pixel_spacing(data.open_source(path)) == expected
    plane = sitk.GetImageFromArray(np.zeros((1, 4, 5), np.int16))
    plane.SetSpacing((0.5, 0.7, 1))
    plane.SetMetaData("0028|0030", "0.7\\0.5")
    sitk.WriteImage(plane, str(tmp_path / "a.dcm"))
    image = data.open_source(tmp_path / "a.dcm")
    assert pixel_spacing(image) == (pytest.approx((0.7, 0.5)), "mm")
    # A mask of it says the same.
    with data.open_writer(tmp_path / "mask.tif", image.shape, data.WriterOptions(like=image)):
        pass
    assert data.open_source(tmp_path / "mask.tif").frame.spacing == pytest.approx((700, 500))
    assert sizes_agree(image.frame, data.open_source(tmp_path / "mask.tif").frame)


def test_distances_are_in_the_pixels_that_are_read(tmp_path):
    write_image(tmp_path / "a.nii", np.zeros((8, 6, 12, 1), np.float32), affine=TILTED)
    seen = Scale(orientation="RAS", spacing=(1.4, 0.8, 3)).applied(data.open_source(tmp_path / "a.nii"))
    assert seen.shape == (3, 6, 8)
    assert pixel_spacing(seen) == (pytest.approx((1.4, 0.8, 3)), "mm")
    degrees = rasterio.Affine(0.001, 0, 10, 0, -0.001, 60.002)
    small = Scale(resize=(2, 1)).applied(source(tmp_path / "map.tif", crs="EPSG:4326", transform=degrees))
    assert pixel_spacing(small)[0] == pytest.approx((2 * 111.412, 4 * 55.800), rel=1e-5)


def test_images_in_several_units_are_refused(tmp_path):
    for name, unit in (("0.nii", "mm"), ("1.nii", "micron")):
        write_image(tmp_path / name, np.zeros((4, 4, 4, 1), np.float32), affine=np.eye(4), unit=unit)
    sources = [data.open_source(tmp_path / name) for name in ("0.nii", "1.nii")]
    cases = [SimpleNamespace(image=image) for image in sources]
    with pytest.raises(ImageError, match=r"1.nii: expected pixel sizes in the unit of .*0.nii, mm, .*; received um"):
        shared_unit(cases)
    assert shared_unit(cases[:1]) == "mm"
