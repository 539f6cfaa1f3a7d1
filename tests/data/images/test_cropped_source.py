"""A box of an image is an image: the same pixels, its own borders, its own place in the world."""

import numpy as np
import pytest
from concurrency import whole

from maskzoo.data import Frame, Normalizer, ValueRange, Window, open_source, rescaled
from maskzoo.data.images.cropped_source import CroppedSource, beneath
from maskzoo.data.images.raster_files import open_raster
from maskzoo.data.images.wrapped_source import WrappedSource
from maskzoo.data.windows import mirrored

BOX = Window((3, 5), (8, 9))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(1, 255, (20, 24, 2), np.uint8)


@pytest.mark.parametrize("context", [0, 2, ((0, 4), (9, 1))])
def test_the_box_and_its_context_are_read_as_they_are_and_mirrored_beyond(pixels, context):
    box = CroppedSource(open_source(pixels, spatial_dims=2), BOX, context)
    assert box.shape == (8, 9)
    np.testing.assert_array_equal(whole(box), pixels[3:11, 5:14])
    sides = {0: ((0, 0), (0, 0)), 2: ((2, 2), (2, 2))}.get(context, context)
    # The borders of what may be seen: the box and its context, as far as the image has it.
    seen = [
        (max(0, start - before), min(stop + after, length))
        for start, stop, (before, after), length in zip(BOX.offset, BOX.stop, sides, (20, 24), strict=True)
    ]
    window = Window((-12, -15), (30, 40))
    rows, columns = (
        first + mirrored(start + corner - first, size, last - first)
        for (first, last), start, corner, size in zip(seen, window.offset, BOX.offset, window.size, strict=True)
    )
    np.testing.assert_array_equal(box.read(window), pixels[rows][:, columns])
    assert rows.min() == seen[0][0]
    assert rows.max() == seen[0][1] - 1


def test_what_the_file_lacks_is_lacking_in_the_box(tmp_path):
    values = np.random.default_rng(0).integers(1, 255, (20, 24), np.uint8)
    values[:10, :12] = 0
    profile = {"driver": "GTiff", "width": 24, "height": 20, "count": 1, "dtype": "uint8", "nodata": 0}
    with open_raster(tmp_path / "a.tif", "w", **profile) as file:
        file.write(values[None])
    box = CroppedSource(open_source(tmp_path / "a.tif"), BOX)
    np.testing.assert_array_equal(box.valid(Window((0, 0), (8, 9)))[..., 0], values[3:11, 5:14] > 0)
    assert box.files == [tmp_path / "a.tif"]
    assert CroppedSource(open_source(values, spatial_dims=2), BOX).valid(Window((0, 0), (8, 9))) is None


def test_the_place_of_a_box():
    from affine import Affine
    from rasterio.control import GroundControlPoint

    frame = Frame((20, 24), spacing=(0.5, 0.5), transform=Affine(0.5, 0, 100, 0, -0.5, 200))
    moved = frame.cropped(BOX)
    assert moved.shape == (8, 9)
    assert moved.transform @ (0, 0) == frame.transform @ (5, 3)
    points = Frame((20, 24), control_points=(GroundControlPoint(7, 9, 1, 2, 0),)).cropped(BOX).control_points
    assert [(point.row, point.col, point.x, point.y) for point in points] == [(4, 4, 1, 2)]
    affine = np.array([[0.0, 2, 0, 7], [1, 0, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1]])
    volume = Frame((9, 9, 9), affine=affine).cropped(Window((1, 2, 3), (4, 4, 4)))
    np.testing.assert_array_equal(volume.affine @ [0, 0, 0, 1], affine @ [1, 2, 3, 1])
    np.testing.assert_array_equal(volume.affine[:, :3], affine[:, :3])


def test_an_image_is_changed_as_a_whole(pixels):
    """What is measured to rescale or to normalise is that of the image, which prediction measures too."""
    pixels[:3] = 0
    image = open_source(pixels.astype(np.float32) / 255, spatial_dims=2)
    changed = rescaled(CroppedSource(image, BOX), ValueRange(("uint8",), 0, 255))
    assert isinstance(changed, CroppedSource)
    np.testing.assert_array_equal(whole(changed), pixels[3:11, 5:14])
    assert isinstance(beneath(image, WrappedSource), WrappedSource)
    for kind in ("image", "percentile"):
        normalizer = Normalizer(kind, 2)
        expected = normalizer(image)(Window((0, 0), image.shape))[3:11, 5:14]
        np.testing.assert_allclose(normalizer(CroppedSource(image, BOX))(Window((0, 0), (8, 9))), expected, rtol=1e-6)


def test_two_boxes_of_one_size_are_not_taken_for_each_other(tmp_path):
    """Measurements of large images are remembered by what they were measured on."""
    values = np.zeros((3000, 3000), np.uint8)
    values[:1500] = 10
    values[1500:] = 20
    profile = {"driver": "GTiff", "width": 3000, "height": 3000, "count": 1, "dtype": "uint8"}
    with open_raster(tmp_path / "a.tif", "w", **profile) as file:
        file.write(values[None])
    image = open_source(tmp_path / "a.tif")
    boxes = [CroppedSource(image, Window((start, 0), (1500, 3000))) for start in (0, 1500)]
    assert [Normalizer.measured("dataset", [box]).mean for box in boxes] == [(10.0,), (20.0,)]


def test_the_overview_of_a_box_is_that_part_of_the_image_s(tmp_path):
    values = np.add.outer(np.arange(1200) // 8, np.arange(1600) // 16).astype(np.uint8)
    profile = {"driver": "GTiff", "width": 1600, "height": 1200, "count": 1, "dtype": "uint8"}
    with open_raster(tmp_path / "a.tif", "w", **profile) as file:
        file.write(values[None])
    box = CroppedSource(open_source(tmp_path / "a.tif"), Window((80, 32), (1100, 1280)))
    thumbnail = box.thumbnail((275, 320))
    # A thinned pixel is one of the four by four that it stands for.
    np.testing.assert_allclose(thumbnail[..., 0], values[80:1180:4, 32:1312:4], atol=2)
    assert CroppedSource(open_source(values, spatial_dims=2), BOX).thumbnail((4, 4)) is None
