"""Values of DICOM are those that viewers show: padding is lacking, and images whose 0 is white are inverted."""

import numpy as np
import pydicom
import pytest
from concurrency import whole

from maskzoo.data import Window, held_pixels, lacks_pixels, open_source
from maskzoo.data.images.statistics import moments

PIXELS = np.array([[[-2000, 5, 6], [7, 8, -2000]], [[9, -2000, -2000], [1, 2, 3]]], np.int16)


def declare(path, value, limit=None, *, kind="SS"):
    content = pydicom.dcmread(path)
    content.add_new("PixelPaddingValue", kind, value)
    if limit is not None:
        content.add_new("PixelPaddingRangeLimit", kind, limit)
    content.save_as(path)


@pytest.fixture
def series(tmp_path, write_slice):
    """A folder of two slices, each with its own rescale, that declare -2000 for padding."""
    for number, (slope, intercept) in enumerate([(1, -1024), (2, 10)]):
        path = write_slice(
            tmp_path / "series" / f"{number}.dcm", PIXELS[number], (0, 0, number), slope=slope, intercept=intercept
        )
        declare(path, -2000)
    return tmp_path / "series"


def test_padding_of_every_slice_is_lacking_and_zero(series):
    source = open_source(series)
    padded = (PIXELS == -2000).transpose(2, 1, 0)
    expected = np.stack([PIXELS[0].astype(int) - 1024, PIXELS[1].astype(int) * 2 + 10]).transpose(2, 1, 0)
    np.testing.assert_array_equal(whole(source)[..., 0], np.where(padded, 0, expected))
    assert lacks_pixels(source)
    np.testing.assert_array_equal(source.valid(Window((0, 0, 0), source.shape))[..., 0], ~padded)
    part = Window((1, 0, 1), (2, 2, 1))
    np.testing.assert_array_equal(held_pixels(source, part), ~padded[part.slices])
    np.testing.assert_allclose(moments([source])[0], expected[~padded].mean())


def test_a_slice_is_an_image_with_rows_first(tmp_path, write_slice):
    path = write_slice(tmp_path / "a.dcm", PIXELS[0], (0, 0, 0))
    assert not lacks_pixels(open_source(path))
    # Some write the bits of a negative number as a positive one.
    declare(path, 65536 - 2000, kind="US")
    source = open_source(path)
    np.testing.assert_array_equal(source.valid(Window((0, 0), (2, 3)))[..., 0], PIXELS[0] != -2000)
    assert whole(source)[..., 0].tolist() == [[0, 5, 6], [7, 8, 0]]


def test_a_range_of_values_may_pad(tmp_path, write_slice):
    path = write_slice(tmp_path / "a.dcm", PIXELS[0], (0, 0, 0), slope=-1)
    declare(path, -2000, 6)
    assert whole(open_source(path))[..., 0].tolist() == [[0, 0, 0], [-7, -8, 0]]


def test_frames_are_padded_as_each_is_rescaled(tmp_path, write_frames):
    path = write_frames(tmp_path / "a.dcm", PIXELS, [(0, 0, 1), (0, 0, 0)], rescales=[(1, 5), (2, 0)])
    declare(path, -2000)
    source = open_source(path)
    padded = (PIXELS == -2000)[::-1].transpose(2, 1, 0)
    np.testing.assert_array_equal(source.valid(Window((0, 0, 0), source.shape))[..., 0], ~padded)
    assert whole(source)[2, 1, 0, 0] == 6


def make_white(path, bits=None):
    content = pydicom.dcmread(path)
    content.PhotometricInterpretation = "MONOCHROME1"
    if bits is not None:
        content.BitsStored, content.HighBit = bits, bits - 1
    content.save_as(path)
    return path


@pytest.mark.parametrize(
    ("dtype", "bits", "slope", "intercept", "expected"),
    [
        (np.uint16, 12, 1, 0, [[4095, 4090, 4085], [0, 4094, 4093]]),
        (np.uint16, 12, 1, -1024, [[3071, 3066, 3061], [-1024, 3070, 3069]]),
        (np.uint8, 8, 1, 0, [[255, 250, 245], [0, 254, 253]]),
        (np.int16, 16, 1, 0, [[-1, -6, -11], [-4096, -2, -3]]),
    ],
)
def test_the_least_value_may_be_white(tmp_path, write_slice, dtype, bits, slope, intercept, expected):
    last = 255 if dtype == np.uint8 else 4095
    pixels = np.array([[0, 5, 10], [last, 1, 2]], dtype)
    path = write_slice(tmp_path / "a.dcm", pixels, (0, 0, 0), slope=slope, intercept=intercept)
    source = open_source(make_white(path, bits))
    assert whole(source)[..., 0].tolist() == expected
    assert source.notes == ("0 is white: inverted",)
    part = Window((0, 1), (2, 2))
    np.testing.assert_array_equal(source.read(part)[..., 0], np.array(expected)[:, 1:])


def test_slices_are_inverted_one_by_one_and_their_padding_is_that_which_is_stored(series):
    make_white(series / "1.dcm")
    voxels = whole(open_source(series))[..., 0]
    # Signed: what is stored as s stands for -1 - s, rescaled by 2 and 10.
    expected = 2 * (-1 - PIXELS[1].astype(int)) + 10
    np.testing.assert_array_equal(voxels[..., 1], np.where(PIXELS[1] == -2000, 0, expected).T)
    np.testing.assert_array_equal(voxels[..., 0], np.where(PIXELS[0] == -2000, 0, PIXELS[0].astype(int) - 1024).T)
