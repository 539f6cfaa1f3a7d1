"""Label values are read as integers; bands are put together from files; sizes must be equal."""

import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.images.pyramid import ResampledSource
from maskzoo.data.labels.values import StackedSource, bands_are_equal, label_values, undeclared, unresampled
from maskzoo.errors import LabelError


def label(values):
    return open_source(np.asarray(values), spatial_dims=2, palette="index")


WHOLE = Window((0, 0), (1, 3))


def test_whole_numbers_of_any_type_are_integers():
    for dtype in (np.uint8, np.int16, np.float32, np.float64):
        values = label_values(label(np.array([[0, 1, 90]], dtype)), WHOLE)
        assert values.dtype.kind in "iu"
        assert values.tolist() == [[0, 1, 90]]
    with pytest.raises(LabelError, match=r"array: expected label values that are whole numbers; received 0.5, 2.25$"):
        label_values(label([[0.5, 1, 2.25]]), WHOLE)


def test_one_band_or_chosen_ones():
    grey, coloured = np.array([[[1, 1, 1], [0, 0, 0], [4, 4, 4]]]), np.array([[[1, 0, 0], [0, 2, 0], [0, 0, 4]]])
    assert bands_are_equal(grey)
    assert not bands_are_equal(coloured)
    assert label_values(label(grey), WHOLE).tolist() == [[1, 0, 4]]
    assert label_values(label(coloured), WHOLE, [2, 0]).tolist() == [[[0, 1], [0, 0], [4, 0]]]
    with pytest.raises(LabelError, match="array: expected one band of label values, or equal bands; received 3 that"):
        label_values(label(coloured), WHOLE)


def test_files_are_stacked_to_bands():
    stacked = StackedSource([label(np.array([[0, 1, 2]], np.uint8)), label(np.array([[3, 4, 500]], np.uint16))])
    assert (stacked.channels, stacked.dtype, stacked.shape) == (2, np.uint16, (1, 3))
    assert stacked.read(WHOLE).tolist() == [[[0, 3], [1, 4], [2, 500]]]
    with pytest.raises(LabelError, match="array: expected the size of array, 1 x 3; received 3 x 1"):
        StackedSource([label([[0, 1, 2]]), label([[0], [1], [2]])])


def test_the_first_values_that_no_class_has_are_listed():
    assert str(undeclared("a.png", [0, 1], [7])) == "a.png: expected label values 0, 1; received 7"
    error = undeclared("a.png", [0, 1], np.arange(3, 13))
    assert str(error) == "a.png: expected label values 0, 1; received 3, 4, 5, 6, 7, 8, 9, 10, ..."


def test_the_source_behind_a_resampled_one():
    source = label(np.zeros((8, 8), np.uint8))
    assert unresampled(ResampledSource(source, (4, 4), nearest=True)) is source
    assert unresampled(source) is source
