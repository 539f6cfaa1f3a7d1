"""Label values mean what is declared, or what they can only mean; everything else is refused."""

import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.labels.finding import find_scheme
from maskzoo.errors import LabelError, OptionError


def label(values, spatial_dims=2):
    return open_source(np.asarray(values), spatial_dims=spatial_dims, palette="index")


def read(scheme, source):
    return scheme.reader(source)(Window((0,) * len(source.shape), source.shape))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, bool])
def test_zero_and_one_is_binary_in_any_type(dtype):
    source = label(np.array([[0, 1], [1, 0]], dtype))
    scheme = find_scheme([source])
    assert (scheme.task, scheme.num_classes, scheme.ignore_index) == ("binary", 1, None)
    array = read(scheme, source)
    assert array.dtype == np.uint8
    assert array.tolist() == [[[0], [1]], [[1], [0]]]


def test_zero_and_255_is_binary():
    source = label([[0, 255], [255, 255]])
    assert read(find_scheme([source]), source)[..., 0].tolist() == [[0, 1], [1, 1]]


def test_class_ids_are_multiclass():
    sources = [label([[0, 1], [1, 0]]), label([[0, 2], [2, 3]])]
    scheme = find_scheme(sources)
    assert (scheme.task, scheme.class_names) == ("multiclass", ("0", "1", "2", "3"))
    assert read(scheme, sources[1]).tolist() == [[0, 2], [2, 3]]


def test_bands_that_differ_are_multilabel():
    source = label([[[0, 1], [255, 1]], [[0, 0], [1, 0]]])
    scheme = find_scheme([source], classes=["lung", "heart"])
    assert (scheme.task, scheme.class_names) == ("multilabel", ("lung", "heart"))
    assert read(scheme, source).tolist() == [[[0, 1], [1, 1]], [[0, 0], [1, 0]]]
    swapped = find_scheme([source], classes={"heart": 2, "lung": 1})
    np.testing.assert_array_equal(read(swapped, source), read(scheme, source)[..., ::-1])
    with pytest.raises(OptionError, match="classes: expected bands between 1 and 2"):
        find_scheme([source], classes=["a", "b", "c"])
    with pytest.raises(LabelError, match="array: expected one band of label values, or equal bands; received 2"):
        find_scheme([source], task="binary")


def test_grey_colours_are_one_band():
    source = label(np.array([[0, 255], [255, 0]])[..., None].repeat(3, -1))
    scheme = find_scheme([source])
    assert scheme.task == "binary"
    assert read(scheme, source)[..., 0].tolist() == [[0, 1], [1, 0]]


def test_the_class_of_interest_may_be_the_value_0():
    source = label([[0, 255], [255, 255]])
    scheme = find_scheme([source], classes={"membrane": 0})
    assert (scheme.task, scheme.class_names) == ("binary", ("membrane",))
    assert read(scheme, source)[..., 0].tolist() == [[1, 0], [0, 0]]
    both = find_scheme([source], task="binary", classes={"cell": 255, "membrane": 0})
    np.testing.assert_array_equal(read(both, source), read(scheme, source))


def test_names_alone_follow_the_label_values():
    assert find_scheme([label([[0, 1]])], classes=["nucleus"]).class_names == ("nucleus",)
    assert find_scheme([label([[0, 255]])], classes=["other", "nucleus"]).class_names == ("nucleus",)
    scheme = find_scheme([label([[0, 1, 2]])], classes=["air", "bone", "fat"])
    assert (scheme.task, scheme.class_names) == ("multiclass", ("air", "bone", "fat"))


def test_a_background_that_nobody_named_is_class_0():
    source = label([[0, 10, 20, 21]])
    scheme = find_scheme([source], classes={"anterior": 10, "posterior": [20, 21]})
    assert (scheme.task, scheme.class_names) == ("multiclass", ("background", "anterior", "posterior"))
    assert read(scheme, source).tolist() == [[0, 1, 2, 2]]


def test_classes_that_share_values_are_multilabel():
    source = label([[0, 1, 2]])
    scheme = find_scheme([source], classes={"kidney": [1, 2], "tumour": 2})
    assert scheme.task == "multilabel"
    assert read(scheme, source).tolist() == [[[0, 0], [1, 0], [1, 1]]]


def test_zero_and_one_beside_zero_and_255_is_one_mask(caplog):
    sources = [label([[0, 1]]), label([[0, 255]]), label([[0, 0]])]
    scheme = find_scheme(sources)
    assert [read(scheme, source)[0, :, 0].tolist() for source in sources] == [[0, 1], [0, 1], [0, 0]]
    assert "some files have 0 and 1, others 0 and 255" in caplog.text


@pytest.mark.parametrize(
    ("values", "options", "task"),
    [
        ([[0, 1, 255]], {}, "binary"),
        ([[0, 1, 255]], {"task": "binary"}, "binary"),
        ([[0, 1, 255]], {"classes": {"cell": 1}}, "binary"),
        ([[0, 1, 2, 255]], {}, "multiclass"),
        ([[0, 1, 2, 255]], {"classes": ["a", "b", "c"]}, "multiclass"),
        ([[0, 255]], {"classes": {"a": 1, "b": 2}}, "multiclass"),
    ],
)
def test_255_beside_other_values_does_not_count(values, options, task, caplog):
    scheme = find_scheme([label(values)], **options)
    assert (scheme.task, scheme.ignore, scheme.ignore_index) == (task, (255,), 255)
    assert read(scheme, label(values)).ravel().tolist()[-1] == 255
    assert "255 beside other values does not count" in caplog.text


def test_255_means_what_was_declared():
    assert find_scheme([label([[0, 1, 255]])], classes={"a": 1, "b": 255}).ignore == ()
    with pytest.raises(LabelError, match="expected label values 0, 1, 9; received 255"):
        find_scheme([label([[0, 1, 255]])], classes={"a": 1}, ignore=[9])
    with pytest.raises(LabelError, match="array: expected label values 0, 1; received 255"):
        find_scheme([label([[0, 1]]), label([[0, 255]])], classes={"a": 1})


@pytest.mark.parametrize(("values", "ids"), [([[0, 2, 5]], "025"), ([[0, 1, 3]], "013"), ([[2, 5]], "025")])
def test_ids_with_gaps_are_as_many_classes(values, ids, caplog):
    scheme = find_scheme([label(values)])
    assert (scheme.task, scheme.class_names) == ("multiclass", tuple(ids))
    assert read(scheme, label([[0, int(ids[2])]])).tolist() == [[0, 2]]
    assert "are 3 classes" in caplog.text


@pytest.mark.parametrize(("mark", "dtype"), [(65535, np.uint16), (-1, np.int16)])
def test_what_else_marks_unlabelled_pixels_does_not_count(mark, dtype, caplog):
    for values in ([[0, 1, mark]], [[0, 1, 2, mark]]):
        source = label(np.array(values, dtype))
        scheme = find_scheme([source])
        assert scheme.ignore == (mark,)
        assert read(scheme, source).ravel().tolist() == [*values[0][:-1], 255]
        assert f"{mark} beside other values does not count" in caplog.text


def test_a_mark_that_is_not_the_last_value_or_has_no_background_is_none():
    for values in ([[0, 1, 255, 300]], [[-1, 1]], [[-2, -1, 0, 1]], [[0, 128, 255]]):
        with pytest.raises(LabelError, match="expected class ids from 0 to 63"):
            find_scheme([label(np.array(values, np.int16))])


def test_there_is_no_background_where_0_does_not_count(caplog):
    scheme = find_scheme([label([[0, 1, 2]])], ignore=[0])
    assert (scheme.task, scheme.class_names) == ("multiclass", ("1", "2"))
    assert read(scheme, label([[0, 1, 2]])).tolist() == [[255, 0, 1]]
    assert not caplog.text


def test_a_background_that_never_occurs_is_said(caplog):
    assert find_scheme([label([[1, 2]])]).class_names == ("0", "1", "2")
    assert "0 occurs nowhere: it is kept as the background" in caplog.text


@pytest.mark.parametrize("value", [7, 127, 200, 65535])
def test_zero_and_another_value_is_a_mask(value):
    scheme = find_scheme([label([[0, value]])])
    assert (scheme.task, read(scheme, label([[0, value]]))[0, :, 0].tolist()) == ("binary", [0, 1])


def test_nodata_does_not_count(caplog):
    source = label(np.array([[0, 1, 2, -9999]], np.int16))
    source.nodata = -9999.0
    scheme = find_scheme([source])
    assert (scheme.task, scheme.ignore) == ("multiclass", (-9999,))
    assert read(scheme, source).tolist() == [[0, 1, 2, 255]]
    assert "-9999, which files declare as nodata, does not count" in caplog.text


@pytest.mark.parametrize(("values", "nodata"), [([[0, 1]], 0), ([[0, 255]], 255), ([[0, 1]], 7)])
def test_nodata_that_a_mask_would_vanish_with_counts(values, nodata):
    source = label(np.array(values, np.uint8))
    source.nodata = float(nodata)
    scheme = find_scheme([source])
    assert (scheme.task, scheme.ignore, read(scheme, source)[0, :, 0].tolist()) == ("binary", (), [0, 1])


def test_bands_are_compared_over_all_labels():
    empty = np.zeros((2, 2, 4), np.uint8)
    last = empty.copy()
    last[0, 0, 3] = 1
    sources = [label(empty), label(last)]
    scheme = find_scheme(sources)
    assert (scheme.task, scheme.class_names) == ("multilabel", ("1", "2", "3", "4"))
    assert read(scheme, sources[1]).sum(axis=(0, 1)).tolist() == [0, 0, 0, 1]


def colored(*pixels):
    source = label(np.array([pixels], np.uint8))
    source.roles = ("red", "green", "blue")
    return source


def test_colours_that_nobody_declared_are_named():
    source = colored((255, 0, 0), (255, 255, 0), (255, 0, 0))
    for options in ({}, {"task": "multiclass"}, {"classes": list("abcdefg")}):
        with pytest.raises(LabelError, match=r"array: .*`colors` .* in the colours \[255, 0, 0\], \[255, 255, 0\]$"):
            find_scheme([source], **options)


def test_colours_may_be_declared_to_be_bands():
    source = colored((255, 0, 0), (255, 255, 0))
    for options in ({"task": "multilabel"}, {"classes": ["a", "b", "c"]}, {"classes": {"a": 1, "b": 2}}):
        assert find_scheme([source], **options).task == "multilabel"
    assert find_scheme([colored((1, 0, 0), (1, 1, 0))]).task == "multilabel"


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([[0, 1, 2]], {"task": "binary"}, "array: expected values within 0, 1 or 0, 255"),
        ([[0, 0]], {}, "labels: expected a class besides the background"),
        ([[0, 3, 300]], {}, "array: expected class ids from 0 to 63"),
        ([[0, 3]], {"classes": ["a", "b", "c"]}, "array: expected label values 0, 1, 2; received 3"),
        ([[0.0, 0.5]], {}, "array: expected label values that are whole numbers; received 0.5"),
        ([[0, 1]], {"task": "multilabel"}, "classes: expected a mapping from name to label values"),
        ([[0, 1]], {"task": "multi"}, r"task: expected multilabel \(of .*\); received multi"),
        ([[0, 1]], {"classes": {"a": 1, "b": 1}, "task": "multiclass"}, "classes: expected every label value once"),
        ([[0, 1]], {"classes": {"a": 1}, "ignore": [1]}, "classes: expected every label value once"),
        ([[0, 1]], {"classes": {"a": "x"}}, "classes: expected whole numbers"),
        ([[0, 1]], {"classes": {"a": 1}, "ignore": [10**9]}, "classes: expected label values within a million"),
        ([[0, 1]], {"classes": [f"c{n}" for n in range(193)]}, "classes: expected at most 192; received 193"),
        ([[0, 1]], {"classes": {"a": 1, "b": 2, "c": 3}, "task": "binary"}, "classes: expected a class, or background"),
    ],
)
def test_contradictions_are_refused(values, options, message):
    with pytest.raises((OptionError, LabelError), match=message):
        find_scheme([label(values)], **options)
