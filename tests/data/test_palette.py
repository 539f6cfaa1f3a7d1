"""The palette is Okabe and Ito's; its colours differ, and start again after the last."""

from maskzoo.data.palette import COLORS, OKABE_ITO, class_color, hex_color


def test_the_first_colours_are_those_of_okabe_and_ito():
    published = ["e69f00", "56b4e9", "009e73", "f0e442", "0072b2", "d55e00", "cc79a7"]
    assert [hex_color(number) for number in range(7)] == [f"#{color}" for color in published]
    assert COLORS[:8] == OKABE_ITO


def test_colours_differ_and_start_again():
    assert len(set(COLORS)) == len(COLORS) == 16
    assert class_color(16) == class_color(0)
