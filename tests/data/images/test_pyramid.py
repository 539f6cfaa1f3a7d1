"""A chosen level or resolution is the same picture in fewer pixels, in any window, and so are its labels."""

import json
import pickle
from fractions import Fraction

import cv2
import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.transform import Affine

from maskzoo.data import Window, load_data, open_source, window_grid
from maskzoo.data.images.pyramid import ResampledSource
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.sets.identity import label_version


def whole(source):
    return source.read(Window((0,) * len(source.shape), source.shape))


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


def write_map(path, image, overviews=(), pixel=0.5, **options):
    grid = {"crs": "EPSG:32616", "transform": Affine(pixel, 0, 740_000, 0, -pixel, 3_725_000)}
    layout = {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    height, width, count = image.shape
    size = {"height": height, "width": width, "count": count, "dtype": image.dtype}
    with open_raster(path, "w", **size, **layout, **{**grid, **options}) as file:
        file.write(np.moveaxis(image, -1, 0))
    if overviews:
        with open_raster(path, "r+") as file:
            file.build_overviews(overviews, Resampling.average)
    return path


def averaged_exactly(line, n):
    """Averages a line of numbers to n, in fractions."""
    length, result = len(line), []
    for place in range(n):
        low, high = Fraction(place * length, n), Fraction((place + 1) * length, n)
        covered = [max(Fraction(0), min(high, Fraction(i + 1)) - max(low, Fraction(i))) for i in range(length)]
        result.append(sum(share * int(value) for share, value in zip(covered, line, strict=True)) / (high - low))
    return np.array([float(value) for value in result])


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_pixels_are_the_mean_of_what_they_cover(length, n, data):
    n = min(n, length)
    line = np.array(data.draw(st.lists(st.integers(0, 999), min_size=length, max_size=length)), np.float64)
    source = ResampledSource(open_source(line[None]), (1, n))
    np.testing.assert_allclose(whole(source)[0, :, 0], averaged_exactly(line, n), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_whole_factors_are_those_of_opencv(factor):
    image = noise((factor * 23, factor * 31, 3))
    expected = cv2.resize(image.astype(np.float64), (31, 23), interpolation=cv2.INTER_AREA)
    shown = whole(ResampledSource(open_source(image), (23, 31)))
    assert np.abs(shown - expected).max() <= 0.5 + 1e-5


@settings(max_examples=80)
@given(st.data())
def test_any_window_equals_that_part_of_the_whole_bit_for_bit(data):
    spatial_dims = data.draw(st.sampled_from([2, 2, 3]))
    shape = data.draw(st.tuples(*[st.integers(1, 60 if spatial_dims == 2 else 20)] * spatial_dims))
    smaller = [data.draw(st.integers(1, length)) for length in shape]
    dtype = data.draw(st.sampled_from(["uint8", "int16", "float32", "float64"]))
    image = (np.random.default_rng(data.draw(st.integers(0, 9))).standard_normal((*shape, 2)) * 90).astype(dtype)
    source = ResampledSource(open_source(image, spatial_dims=spatial_dims), smaller, nearest=data.draw(st.booleans()))
    all_of_it = whole(source)
    offset = [data.draw(st.integers(0, length - 1)) for length in smaller]
    size = [data.draw(st.integers(1, length - start)) for length, start in zip(smaller, offset, strict=True)]
    window = Window(offset, size)
    np.testing.assert_array_equal(source.read(window), all_of_it[window.slices])


def test_parts_that_are_averaged_one_after_another_meet_without_a_seam():
    image = noise((2500, 4300), np.float32)
    source = ResampledSource(open_source(image), (700, 37))
    all_of_it = whole(source)
    for window in window_grid(source.shape, (333, 10)):
        np.testing.assert_array_equal(source.read(window), all_of_it[window.slices])
    np.testing.assert_allclose(all_of_it.mean(), image.mean(), rtol=1e-5)


def test_labels_take_the_pixel_in_the_middle():
    image = np.arange(12)[None] * np.ones((9, 1), int)
    source = ResampledSource(open_source(image), (3, 4), nearest=True)
    assert whole(source)[..., 0].tolist() == [[1, 4, 7, 10]] * 3


@pytest.mark.parametrize("number", [1, 2])
def test_levels_of_a_map_are_its_overviews(tmp_path, number):
    path = write_map(tmp_path / "map.tif", noise((400, 300, 3)), overviews=(2, 4))
    assert open_source(path).levels == [((400, 300), 1.0), ((200, 150), 2.0), ((100, 75), 4.0)]
    source = pickle.loads(pickle.dumps(open_source(path, level=number)))
    with open_raster(path, overview_level=number - 1) as file:
        expected = np.moveaxis(file.read(), 0, -1)
    np.testing.assert_array_equal(whole(source), expected)
    np.testing.assert_array_equal(source.read(Window((13, 7), (50, 40))), expected[13:63, 7:47])
    assert source.frame.transform == Affine(0.5 * 2**number, 0, 740_000, 0, -0.5 * 2**number, 3_725_000)
    assert source.frame.spacing == (0.5 * 2**number,) * 2
    assert source.scale == (2.0**number,) * 2


@pytest.mark.parametrize(("resolution", "shape"), [(0.5, (400, 300)), (1.005, (200, 150)), (2, (100, 75))])
def test_a_resolution_near_a_level_is_that_level(tmp_path, resolution, shape):
    path = write_map(tmp_path / "map.tif", noise((400, 300, 1)), overviews=(2, 4))
    source = open_source(path, resolution=resolution)
    level = [shape for shape, _ in source.levels].index(shape)
    np.testing.assert_array_equal(whole(source), whole(open_source(path, level=level)))


def test_another_resolution_is_averaged_from_the_next_finer_level(tmp_path):
    image = noise((400, 300, 3))
    path = write_map(tmp_path / "map.tif", image, overviews=(2, 4))
    source = pickle.loads(pickle.dumps(open_source(path, resolution=1.5)))
    assert source.shape == (133, 100)
    np.testing.assert_array_equal(whole(source), whole(ResampledSource(open_source(path, level=1), (133, 100))))
    # The corners of the map stay where they are.
    np.testing.assert_allclose(source.frame.transform @ (100, 133), (740_150, 3_724_800))
    assert source.levels == open_source(path).levels
    np.testing.assert_allclose(source.frame.spacing, (0.5 * 400 / 133, 1.5))


def test_what_cannot_be_is_refused(tmp_path):
    path = write_map(tmp_path / "map.tif", noise((40, 30, 1)))
    with pytest.raises(ValueError, match=r"map.tif: expected a resolution of at least 0.5 per pixel.*received 0.25"):
        open_source(path, resolution=0.25)
    with pytest.raises(ValueError, match=r"map.tif: expected a level from 0 to 0; received 1"):
        open_source(path, level=1)
    with pytest.raises(ValueError, match="level: expected either `level` or `resolution`"):
        open_source(path, level=0, resolution=1.0)
    with pytest.raises(ValueError, match="array: expected a file that says how large its pixels are"):
        open_source(np.zeros((9, 9)), resolution=1.0)
    with pytest.raises(ValueError, match="array: expected a level from 0 to 0; received 2"):
        open_source(np.zeros((9, 9)), level=2)


def saved_slide(path, compression="jpeg2000", *, flipped=False):
    """Writes a slide as Aperio does: tiled levels with a thumbnail between, and photographs of label and glass."""
    image = cv2.GaussianBlur(noise((900, 600, 3)), (0, 0), 8)
    image = image[::-1].copy() if flipped else image
    text = "Aperio Image Library v11.2.1\n600x900 (64x64) |AppMag = 20|MPP = 0.5000"
    options = {"photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(image, tile=(64, 64), compression=compression, description=text, **options)
        file.write(image[::5, ::5].copy(), rowsperstrip=16, description=f"{text} - thumbnail", **options)
        file.write(image[::4, ::4].copy(), tile=(64, 64), compression=compression, description=text, **options)
        file.write(image[:90, :80].copy(), subfiletype=1, description="Aperio label 80x90", **options)
        file.write(image[:90, :90].copy(), subfiletype=9, description="Aperio macro 90x90", **options)
    return image


@pytest.mark.parametrize("compression", ["jpeg2000", "zlib"])
def test_levels_of_a_slide_are_neither_thumbnail_nor_label(tmp_path, compression):
    image = saved_slide(tmp_path / "slide.svs", compression)
    source = open_source(tmp_path / "slide.svs", spatial_dims=2)
    assert source.levels == [((900, 600), 1.0), ((225, 150), 4.0)]
    assert source.frame.spacing == (0.5, 0.5)
    np.testing.assert_array_equal(whole(open_source(tmp_path / "slide.svs", level=1)), image[::4, ::4])
    np.testing.assert_array_equal(whole(open_source(tmp_path / "slide.svs", resolution=2.0)), image[::4, ::4])
    assert open_source(tmp_path / "slide.svs", resolution=1.0).shape == (450, 300)
    assert open_source(tmp_path / "slide.svs", level=1).frame.spacing == (2.0, 2.0)


def test_a_real_slide_has_the_resolution_that_its_header_says(shared_data):
    source = open_source(shared_data / "raster" / "wsi" / "CMU-1-Small-Region.svs", resolution=0.998)
    assert source.shape == (1484, 1110)
    np.testing.assert_array_equal(source.read(Window((700, 500), (90, 80))), whole(source)[700:790, 500:580])


@pytest.mark.parametrize("name", ["cog.tif", "cogeo.tif"])
def test_levels_of_a_real_map_show_the_same_picture(shared_data, name):
    path = shared_data / "raster" / "cog_reader" / name
    source = open_source(path)
    image = whole(source).astype(float)
    for level, (shape, _) in enumerate(source.levels[1:4], 1):
        smaller = whole(open_source(path, level=level)).astype(float)
        assert smaller.shape[:2] == shape
        averaged = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA).reshape(smaller.shape)
        assert np.corrcoef(smaller.ravel(), averaged.ravel())[0, 1] > 0.8


def test_volumes_are_averaged_to_their_millimetres(tmp_path):
    affine = np.array([[1.0, 0, 0, 5], [0, 1, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(noise((20, 30, 8), np.int16), affine), tmp_path / "volume.nii.gz")
    source = open_source(tmp_path / "volume.nii.gz", resolution=2.0)
    assert source.shape == (10, 15, 8)
    expected = noise((20, 30, 8), np.int16).reshape(10, 2, 15, 2, 8).mean(axis=(1, 3))
    assert np.abs(whole(source)[..., 0] - expected).max() <= 0.5
    # The first voxel's centre moves to the middle of the four that it stands for.
    np.testing.assert_allclose(source.frame.affine @ (0, 0, 0, 1), (5.5, 6.5, 7, 1))
    np.testing.assert_allclose(source.frame.spacing, (2, 2, 2))


def test_ground_control_points_move_with_the_pixels(tmp_path):
    points = [GroundControlPoint(row, col, col * 2.0, row * -3.0) for row, col in ((0, 0), (0, 40), (80, 0))]
    path = write_map(tmp_path / "map.tif", noise((80, 40, 1)), gcps=points, crs="EPSG:32616", transform=None)
    source = ResampledSource(open_source(path), (20, 20))
    moved = [(point.row, point.col, point.x, point.y) for point in source.frame.control_points]
    assert moved == [(0, 0, 0, 0), (0, 20, 80, 0), (20, 0, 0, -240)]


def saved_set(folder, labels, **keys):
    """Writes a map with a square of 40 x 40 pixels at (80, 120) as its label, in one of several forms."""
    (folder / "images").mkdir()
    truth = np.zeros((400, 300), np.uint8)
    truth[80:120, 120:160] = 1
    write_map(folder / "images" / "a.tif", noise((400, 300, 3)), overviews=(2, 4))
    write_map(folder / "images" / "b.tif", 255 - noise((400, 300, 3)), overviews=(2, 4))
    if labels == "masks":
        (folder / "masks").mkdir()
        for name in "ab":
            write_map(folder / "masks" / f"{name}.tif", truth[..., None])
    elif labels == "runs.csv":
        runs = " ".join(f"{column * 400 + 81} 40" for column in range(120, 160))
        (folder / labels).write_text(f"id,rle\na,{runs}\nb,{runs}\n")
    else:
        corners = np.array([[120, 80], [160, 80], [160, 120], [120, 120], [120, 80]])
        corners = (corners * [0.5, -0.5] + [740_000, 3_725_000]).tolist()
        crs = {"type": "name", "properties": {"name": "EPSG:32616"}}
        area = {"type": "Polygon", "coordinates": [corners]}
        (folder / labels).write_text(json.dumps({"crs": crs, "features": [{"type": "Feature", "geometry": area}]}))
    lines = [f"{key}: {value}\n" for key, value in {"path": ".", "labels": labels, **keys}.items()]
    (folder / "set.yaml").write_text("".join(lines) + "task: binary\nclasses: [square]\n")
    return folder / "set.yaml"


def full_size(folder):
    lines = (folder / "set.yaml").read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("level", "resolution"))]
    (folder / "full.yaml").write_text("\n".join(kept))
    return folder / "full.yaml"


@pytest.mark.parametrize("labels", ["masks", "runs.csv", "areas.geojson"])
@pytest.mark.parametrize(("keys", "factor"), [({"level": 1}, 2), ({"resolution": 1.0}, 2), ({"resolution": 2.5}, 5)])
def test_labels_are_read_at_the_size_of_the_image(tmp_path, labels, keys, factor):
    loaded = load_data(saved_set(tmp_path, labels, **keys), spatial_dims=2)
    case = loaded.train[0]
    assert case.image.shape == (400 // factor, 300 // factor)
    window = Window((0, 0), case.image.shape)
    expected = np.zeros(case.image.shape, np.uint8)
    expected[80 // factor : 120 // factor, 120 // factor : 160 // factor] = 1
    np.testing.assert_array_equal(case.read_label(window)[..., 0], expected)
    assert case.read_image(window).shape == (*case.image.shape, 3)
    assert loaded.as_mapping()["spec"]["resolution"] == keys.get("resolution")
    full = load_data(full_size(tmp_path), spatial_dims=2)
    assert loaded.fingerprint != full.fingerprint
    assert label_version(case.read_label.source) != label_version(full.train[0].read_label.source)


def test_polygons_in_pixels_are_those_of_the_full_resolution(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    square = {"type": "Polygon", "coordinates": [[[40, 20], [80, 20], [80, 60], [40, 60], [40, 20]]]}
    for name in "ab":
        saved_slide(tmp_path / "images" / f"{name}.svs", flipped=name == "b")
        (tmp_path / "masks" / f"{name}.geojson").write_text(json.dumps(square))
    (tmp_path / "set.yaml").write_text("path: .\nlevel: 1\n")
    case = load_data(tmp_path / "set.yaml", spatial_dims=2).train[0]
    expected = np.zeros((225, 150), np.uint8)
    expected[5:15, 10:20] = 1
    np.testing.assert_array_equal(case.read_label(Window((0, 0), (225, 150)))[..., 0], expected)


@pytest.mark.parametrize("keys", ["level: -1", "level: 1.5", "resolution: 0", "level: 1\nresolution: 2"])
def test_wrong_keys_are_refused(tmp_path, keys):
    (tmp_path / "set.yaml").write_text(f"{keys}\n")
    with pytest.raises(ValueError, match=r"set.yaml: (level|resolution): expected"):
        load_data(tmp_path / "set.yaml", spatial_dims=2)


def test_missing_pixels_have_no_share_in_an_average(tmp_path, write_raster):
    stored = np.full((1, 40, 40), 100, np.uint8)
    stored[0, :, :21] = 0
    path = write_raster(tmp_path / "a.tif", stored, nodata=0, crs="EPSG:32631", transform=[1, 0, 0, 0, -1, 0])
    source = open_source(path, resolution=2.0)
    everything = Window((0, 0), (20, 20))
    pixels, valid = source.read(everything)[..., 0], source.valid(everything)[..., 0]
    # The eleventh column covers a column of each kind.
    assert (pixels[0, 9], pixels[0, 10], pixels[0, 11]) == (0, 100, 100)
    assert valid[0].tolist() == [False] * 10 + [True] * 10
    outside = source.valid(Window((-2, -3), (6, 18)))[..., 0]
    np.testing.assert_array_equal(outside, np.pad(valid, [(2, 0), (3, 0)], mode="reflect")[:6, :18])
