"""Colours say the class where they are declared; others are refused by name."""

import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.labels.colors import ColorSource, ColorTable, RemappedSource, found_colors, parsed_colors
from maskzoo.errors import LabelError, OptionError

RED, GREEN, BLACK = [255, 0, 0], [0, 128, 0], [0, 0, 0]


def picture(*rows):
    return open_source(np.array(rows, np.uint8), spatial_dims=2, palette="index")


def read(source):
    return source.read(Window((0, 0), source.shape))[..., 0].tolist()


def test_colours_are_classes_and_black_the_background():
    table = ColorTable.of({"road": RED, "tree": "#008000"})
    assert (table.names, table.values) == (("road", "tree"), (1, 2))
    assert read(ColorSource(picture([RED, GREEN], [BLACK, RED]), table)) == [[1, 2], [0, 1]]


def test_listed_black_several_colours_and_ignored_ones():
    table = ColorTable.of({"sky": BLACK, "road": [RED, "00ff00"]}, ["#ffffff"])
    image = picture([BLACK, RED, [0, 255, 0], [255, 255, 255]])
    assert read(ColorSource(image, table)) == [[0, 1, 1, 255]]


def test_a_colour_that_nobody_declared_is_named_with_its_file():
    source = ColorSource(picture([RED, [1, 2, 3]]), ColorTable.of({"road": RED}))
    with pytest.raises(LabelError, match=r"array: .*\[0, 0, 0\], \[255, 0, 0\]; received \[1, 2, 3\]$"):
        read(source)


def test_palettes_and_grey_masks_have_colours_too():
    indices = picture([[0], [1], [2]])
    indices.palette_colors = np.array([BLACK, GREEN, RED], np.uint8)
    table = ColorTable.of({"road": RED, "tree": GREEN})
    assert read(ColorSource(indices, table)) == [[0, 2, 1]]
    assert read(ColorSource(picture([[0], [9]]), ColorTable.of({"cell": [9, 9, 9]}))) == [[0, 1]]


def test_what_is_transparent_is_black_and_bands_go_by_their_names():
    image = picture([[0, 0, 255, 255], [0, 128, 0, 0]])
    image.roles = ("blue", "green", "red", "alpha")
    assert read(ColorSource(image, ColorTable.of({"road": RED}))) == [[1, 0]]


def test_the_most_frequent_colours_come_first():
    assert found_colors(picture([RED, GREEN, RED])) == [255 << 32, 128 << 16]


def test_indices_are_brought_into_another_order():
    assert read(RemappedSource(picture([[0], [1], [1]]), np.array([1, 0], np.uint8))) == [[1, 0, 0]]


@pytest.mark.parametrize("value", [None, "red", [256, 0, 0], [1, 2], [], [RED, 3], [True, 0, 0]])
def test_what_is_no_colour_is_refused(value):
    with pytest.raises(OptionError, match=r"colors: expected colours such as \[255, 0, 0\]"):
        parsed_colors("colors", value)


def test_one_colour_for_two_things_is_refused():
    with pytest.raises(OptionError, match="colors: expected every colour once"):
        ColorTable.of({"a": RED, "b": "#ff0000"})
    with pytest.raises(OptionError, match="colors: expected every colour once"):
        ColorTable.of({"a": RED}, [RED])


def test_colours_of_16_bits():
    image = open_source(np.array([[RED, BLACK]], np.uint16) * 257, spatial_dims=2)
    assert read(ColorSource(image, ColorTable.of({"road": RED}))) == [[1, 0]]
