"""What the pages of a TIFF say: sizes of pixels in any unit, colours of Aperio."""

import numpy as np
import pytest
import tifffile
from concurrency import whole

from maskzoo.data import open_source
from maskzoo.data.images.tiff_pages import from_ycbcr, physical_size, read_facts


def test_luminance_and_colour_differences_of_aperio_become_colours(tmp_path):
    # Red, green, blue and grey by the formulas of ITU-T T.871.
    stored = np.array([[76, 85, 255], [150, 44, 21], [29, 255, 107], [128, 128, 128]], np.uint8)
    shown = np.array([[254, 0, 0], [0, 255, 1], [0, 0, 254], [128, 128, 128]], np.uint8)
    path = tmp_path / "slide.svs"
    tifffile.imwrite(path, np.tile(stored[:, None], (16, 64, 1)), photometric="rgb", compression=33003, tile=(64, 64))
    assert np.abs(whole(open_source(path)).astype(int) - np.tile(shown[:, None], (16, 64, 1))).max() <= 1


def test_colours_of_all_three_channels_are_within_their_range():
    pixels = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], np.uint8)
    assert from_ycbcr(pixels).dtype == np.uint8
    # ITU-T T.871: 0 + 1.402 * -128, 0 - 0.344136 * -128 - 0.714136 * -128, 0 + 1.772 * -128
    assert from_ycbcr(pixels)[0].tolist() == [0, 135, 0]


@pytest.mark.parametrize(
    ("attributes", "micrometres"),
    [
        ('PhysicalSizeX="0.5"', 0.5),
        ('PhysicalSizeX="500" PhysicalSizeXUnit="nm"', 0.5),
        ('PhysicalSizeX="2e-3" PhysicalSizeXUnit="mm"', 2.0),
        ('PhysicalSizeX="0.5" PhysicalSizeXUnit="&#181;m"', 0.5),
        ('PhysicalSizeX="0.5" PhysicalSizeXUnit="pixel"', None),
        ('PhysicalSizeY="0.5"', None),
    ],
)
def test_the_size_of_a_pixel_in_ome(attributes, micrometres):
    assert physical_size(f"<OME><Pixels {attributes}/></OME>", "X") == micrometres


@pytest.mark.parametrize(("unit", "expected"), [("CENTIMETER", 20.0), ("INCH", 50.8), ("NONE", None)])
def test_the_size_of_a_pixel_in_the_tags_of_a_tiff(tmp_path, unit, expected):
    image = np.zeros((8, 8), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, resolution=(500, 500), resolutionunit=unit, metadata=None)
    spacing = read_facts(tmp_path / "a.tif").spacing
    assert spacing == [expected, expected, None]
