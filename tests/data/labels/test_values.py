"""Label values are read as integers; bands are put together from files; sizes must be equal."""

import nibabel
import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.images.pyramid import ResampledSource
from maskzoo.data.labels.values import StackedSource, bands_are_equal, is_rounded, label_values, undeclared, unresampled
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
    assert not bands_are_equal(np.array([[[0, 0, 0, 1]]]))
    assert label_values(label(grey), WHOLE).tolist() == [[1, 0, 4]]
    assert label_values(label(coloured), WHOLE, [2, 0]).tolist() == [[[0, 1], [0, 0], [4, 0]]]
    with pytest.raises(LabelError, match="array: expected one band of label values, or equal bands; received 3 that"):
        label_values(label(coloured), WHOLE)


def test_scaled_values_are_rounded_within_half_a_step(tmp_path):
    stored = np.array([[[0]], [[1]], [[2]]], np.int16)
    for slope, fits in ((0.99, True), (0.9, True), (0.6, False)):
        image = nibabel.Nifti1Image(stored, np.eye(4))
        image.header.set_slope_inter(slope, 0)
        # nibabel writes the header's slope only with the bytes that are stored.
        path = tmp_path / f"{slope}.nii"
        nibabel.save(image, path)
        content = bytearray(path.read_bytes())
        content[112:116] = np.float32(slope).tobytes()
        path.write_bytes(bytes(content))
        source = open_source(path)
        window = Window((0, 0, 0), source.shape)
        assert is_rounded(source)
        if fits:
            assert label_values(source, window).ravel().tolist() == [0, 1, 2]
        else:
            with pytest.raises(LabelError, match=r"whole numbers; received 0\.6"):
                label_values(source, window)


def test_computed_values_are_rounded():
    source = label(np.array([[0, 1.00002, 1.99999]], np.float32))
    assert label_values(source, WHOLE).tolist() == [[0, 1, 2]]
    assert is_rounded(source)
    assert not is_rounded(label(np.array([[0, 1, 2]], np.float32)))


def test_a_class_whose_file_is_missing_is_unknown_or_empty():
    shown = label(np.array([[0, 1, 1]], np.uint8))
    unknown = StackedSource([shown, None])
    assert (unknown.channels, unknown.unknown) == (2, (1,))
    assert unknown.read(WHOLE).tolist() == [[[0, -1], [1, -1], [1, -1]]]
    empty = StackedSource([None, shown], 0)
    assert (empty.unknown, empty.read(WHOLE).tolist()) == ((), [[[0, 0], [0, 1], [0, 1]]])


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
