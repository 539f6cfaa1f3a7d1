"""Images of another type or range are told from those that are the same thing, and stretched to one range."""

import json

import numpy as np
import pytest
from concurrency import whole

from maskzoo.data import open_source
from maskzoo.data.images.value_range import ValueRange, in_one_range, require_same_kind, rescaled
from maskzoo.errors import ImageError

BYTES = ValueRange(("uint8",), 0, 255)


def source(values, dtype, spatial_dims=2):
    return open_source(np.asarray(values, dtype).reshape(2, -1), spatial_dims=spatial_dims)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (BYTES, ValueRange(("uint8",), 3, 7), True),
        (BYTES, ValueRange(("uint16",), 0, 65535), False),
        (BYTES, ValueRange(("uint16",), 0, 200), False),
        (BYTES, ValueRange(("bool",), 0, 1), False),
        (BYTES, ValueRange(("float32",), 0, 1), False),
        (BYTES, ValueRange(("float32",), 0, 255), True),
        (BYTES, ValueRange(("float32",), 0, 0), True),
        (BYTES, ValueRange(("int16",), 0, 30000), False),
        (ValueRange(("float32",), 0, 1), ValueRange(("float64",), 0, 0.3), True),
        (ValueRange(("float32",), 0, 1), ValueRange(("float32",), 0, 255), False),
        (ValueRange(("float32",), 0, 1), ValueRange(("uint8",), 0, 20), False),
        (ValueRange(("float32",), 0, 3000), ValueRange(("float32",), 700, 730), True),
        (ValueRange(("int16",), -1024, 3000), ValueRange(("float32",), -1000, 1500), True),
        (ValueRange(("int16",), -1024, 3000), ValueRange(("int16",), 0, 1), True),
        (ValueRange(("uint16",), 0, 4095, 12), ValueRange(("uint16",), 0, 60000), False),
        (ValueRange(("uint16",), 0, 4095, 12), ValueRange(("uint16",), 0, 3000), True),
        (ValueRange(("uint8", "uint16"), 0, 65535), ValueRange(("uint16",), 0, 9), True),
    ],
)
def test_which_values_can_be_the_same_thing(one, other, same):
    assert one.can_be(other) is same
    if len(one.dtypes) == 1:
        assert other.can_be(one) is same


def test_a_range_is_measured_and_kept_as_json():
    found = ValueRange.of([source([1, 2, 3, 9], np.uint16), source([0, 2, 3, 4], np.uint8)])
    assert found == ValueRange(("uint16", "uint8"), 0, 9)
    assert ValueRange.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_the_message_says_how_to_convert():
    with pytest.raises(
        ImageError,
        match=r"array: expected values such as those of the run, uint8 from 0 to 255; received uint16 from 0 to 65535: "
        r"convert it, or let `rescale` bring 0 to 65535 to 0 to 255",
    ):
        require_same_kind(source([0, 9, 8, 65535], np.uint16), BYTES, "the run")


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 257, 514, 65535], np.uint16, [0, 1, 2, 255]),
        ([-32768, 0, 1, 32767], np.int16, [0, 128, 128, 255]),
        ([0, 0.5, 0.25, 1], np.float32, [0, 128, 64, 255]),
        ([0, 1, 1, 0], bool, [0, 255, 255, 0]),
        ([0, 1, 2, 255], np.uint8, [0, 1, 2, 255]),
    ],
)
def test_values_are_stretched_from_the_range_of_their_type(values, dtype, expected):
    shown = rescaled(source(values, dtype), BYTES)
    assert shown.dtype == np.uint8
    assert whole(shown).ravel().tolist() == expected


def test_bytes_become_twelve_bits():
    shown = rescaled(source([0, 1, 128, 255], np.uint8), ValueRange(("uint16",), 0, 4095, 12))
    assert whole(shown).ravel().tolist() == [0, 16, 2056, 4095]


def test_floating_point_values_beyond_0_and_1_have_no_range_of_their_own():
    with pytest.raises(ImageError, match="expected floating point values from 0 to 1, which `rescale` can stretch"):
        rescaled(source([0, 1, 2, 3], np.float32), BYTES)


def test_a_set_of_several_types_is_refused_or_stretched_to_the_widest():
    images = [source([0, 51, 255, 1], np.uint8), source([0, 65535, 257, 0], np.uint16)]
    with pytest.raises(ImageError, match="uint16"):
        in_one_range(images, rescale=False)
    with pytest.raises(ImageError, match="uint8"):
        in_one_range(images[::-1], rescale=False)
    shown = in_one_range(images, rescale=True)
    assert [str(image.dtype) for image in shown] == ["uint16", "uint16"]
    assert whole(shown[0]).ravel().tolist() == [0, 51 * 257, 65535, 257]
    assert shown[1] is images[1]
    shown = in_one_range([*images, source([0, 1, 0.5, 0], np.float32)], rescale=True)
    assert whole(shown[0]).ravel().tolist() == pytest.approx([0, 0.2, 1, 1 / 255])
    assert {str(image.dtype) for image in shown} == {"float32"}
    assert in_one_range(images[:1], rescale=True) == images[:1]


@pytest.mark.parametrize(("dtype", "message"), [("float32", "from 0 to 1, which"), ("int16", "numbers without sign")])
def test_what_has_no_range_of_its_own_is_not_mixed_with_what_was_stretched(dtype, message):
    """It would be left as it is beside images that are brought to its type."""
    images = [source([0, 9, 8, 255], np.uint8), source([0, 9, 8, 199], dtype)]
    for order in (images, images[::-1]):
        with pytest.raises(ImageError, match=message):
            in_one_range(order, rescale=True)
    assert in_one_range([images[0]] * 2, rescale=True) == [images[0]] * 2


def test_nothing_is_stretched_to_signed_numbers():
    with pytest.raises(ImageError, match="`rescale` stretches none to signed numbers"):
        rescaled(source([0, 9, 8, 255], np.uint8), ValueRange(("int16",), -1000, 900))
