"""Sizes as people type them."""

import pytest

from maskzoo.cli.sizes import parse_bytes, parse_shape, parse_sizes
from maskzoo.errors import OptionError


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4096", 4096),
        ("1K", 1024),
        ("800MB", 800 * 1024**2),
        ("16 GiB", 16 * 1024**3),
        ("0.5gb", 512 * 1024**2),
        ("2T", 2 * 1024**4),
        (7, 7),
    ],
)
def test_bytes(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "much", "4 bytes", "-1GB", "0", "0.1", "1GBx"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(OptionError, match=r"memory: expected a size such as 800MB or 16GB; received"):
        parse_bytes(text)


def test_sizes_of_one_or_of_every_axis():
    assert parse_sizes(None) is None
    assert parse_sizes("512") == 512
    assert parse_sizes("384x512") == [384, 512]
    assert parse_sizes("0.5") == parse_sizes(".5") == 0.5
    for text in ("512x", "0x5", "big", "3.5", "0.0", "0.", "0.5x0.5", "1.0"):
        with pytest.raises(OptionError, match=r"resize: expected sizes such as 512 or 384x512, or a fraction below 1;"):
            parse_sizes(text)


@pytest.mark.parametrize("text", ["512,256,3", "512x256x3", "[512, 256, 3]", "(512,256,3)"])
def test_shapes_in_every_spelling(text):
    assert parse_shape(text) == (512, 256, 3)


def test_shapes_have_two_or_three_axes_and_channels():
    assert parse_shape(None) is None
    assert parse_shape("64,64,32,1") == (64, 64, 32, 1)
    for text in ("256", "256,1", "1,2,3,4,5", "256,-1,1", "a,b,c"):
        with pytest.raises(OptionError, match=r"input_shape: expected sizes and channels"):
            parse_shape(text)
