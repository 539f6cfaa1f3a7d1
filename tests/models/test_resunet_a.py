"""ResUNet-a: maxima over parts of a map of any size, and which dilations belong to which level."""

import numpy as np
import pytest

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.resunet_a import MaxBins, RepeatLike


def test_maxima_over_parts_that_divide_a_map_and_that_overlap():
    rows = np.arange(1, 11, dtype="float32")[None, :, None, None]
    x = rows * np.array([1, -1, 0, 2], "float32")[:, None]
    # Ten rows in four parts: 0-2, 2-4, 5-7, 7-9; four columns in as many.
    expected = [[3, -1, 0, 6], [5, -3, 0, 10], [8, -6, 0, 16], [10, -8, 0, 20]]
    np.testing.assert_array_equal(MaxBins(4)(x)[0, ..., 0], expected)


def test_parts_are_repeated_to_the_size_of_a_map():
    small = np.array([[1, 2], [3, 4]], "float32")[None, ..., None]
    repeated = RepeatLike()([small, np.zeros((1, 4, 3, 5), "float32")])
    np.testing.assert_array_equal(repeated[0, ..., 0], [[1, 1, 2], [1, 1, 2], [3, 3, 4], [3, 3, 4]])


def test_it_sees_the_whole_image():
    options = {"filters": (2, 3), "dilations": ((1,), (1,)), "decoder_dilations": ((1,),), "bins": (1, 2)}
    model = models.build_model("resunet_a", (None, None, 1), **options)
    assert any("maxima over parts of the whole image" in layer for layer in analysis.geometry(model).global_layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dilations": ((1,), (1,))}, "dilations: expected 6 lists of dilations, one per level"),
        ({"decoder_dilations": ((1,),) * 6}, "decoder_dilations: expected 5 lists of dilations, one per level"),
        ({"dilations": ((1,), (1,), (1,), (0,), (1,), (1,))}, "dilations: expected a list of whole numbers"),
        ({"bins": ()}, "bins: expected a list of whole numbers"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("resunet_a", (None, None, 3), **options)
