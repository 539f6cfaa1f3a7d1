"""Images of one type whose values are of another scale, shifted, or mark missing pixels are told from the others."""

import pytest

from maskzoo.data.images.unlike_values import marked_missing, unlike, usual_range
from maskzoo.data.images.value_range import ValueRange


def values(low, high, dtype="float32"):
    return ValueRange((dtype,), low, high)


@pytest.mark.parametrize(
    ("own", "usual", "words"),
    [
        (values(0, 0.8), values(0, 255), "another scale"),
        (values(0, 255), values(0, 0.9), "another scale"),
        (values(0, 0.9), values(0, 20), "another scale"),
        (values(0, 199, "uint16"), values(0, 51143, "uint16"), "another scale"),
        (values(24, 2014, "int16"), values(-1000, 990, "int16"), "may be shifted"),
        (values(-1024, 900, "int16"), values(0, 2000, "int16"), "may be shifted"),
        (values(-80, 990, "int16"), values(-1000, 990, "int16"), None),
        (values(0, 990, "int16"), values(-20, 1000, "int16"), None),
        (values(3, 9, "uint8"), values(0, 255, "uint8"), None),
        (values(0, 0), values(0, 255), None),
        (values(0, 0.02), values(0, 0.5), None),
    ],
)
def test_what_cannot_be_the_same_thing_is_said(own, usual, words):
    said = unlike(own, usual)
    assert (said is None) if words is None else (words in said)


def test_the_usual_range_is_not_that_of_the_first():
    assert usual_range([values(0, 1), values(0, 255), values(-5, 250)]) == values(0, 250)


@pytest.mark.parametrize("mark", [-9999, -32768, 9.96921e36])
def test_marks_of_missing_pixels(mark):
    assert f"{mark:g}, which marks missing pixels" in marked_missing(values(min(mark, 0), max(mark, 200)))
    assert marked_missing(values(-9998, 200)) is None
