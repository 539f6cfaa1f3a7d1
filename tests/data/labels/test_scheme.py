"""Labels are read as their scheme says; other values are refused with the file's name."""

import json

import numpy as np
import pytest

from maskzoo.data import LabelScheme, Window, open_source
from maskzoo.data.labels.finding import find_scheme
from maskzoo.errors import DataError, LabelError


def label(values, spatial_dims=2):
    return open_source(np.asarray(values), spatial_dims=spatial_dims, palette="index")


def read(scheme, source):
    return scheme.reader(source)(Window((0,) * len(source.shape), source.shape))


def test_a_scheme_survives_json():
    source = label([[0, 1, 2, 9]])
    scheme = find_scheme([source], classes={"kidney": [1, 2], "tumour": 2}, ignore=[9])
    again = LabelScheme.from_dict(json.loads(json.dumps(scheme.as_dict())))
    assert again == scheme
    np.testing.assert_array_equal(read(again, source), read(scheme, source))


def test_ignored_values_become_255():
    ids = label([[0, 1, 11]])
    scheme = find_scheme([ids], classes=["road", "car"], task="multiclass", ignore=[11])
    assert scheme.ignore_index == 255
    assert read(scheme, ids).tolist() == [[0, 1, 255]]
    binary = label([[0, 1, 255]])
    assert read(find_scheme([binary], ignore=[255]), binary)[..., 0].tolist() == [[0, 1, 255]]
    bands = label([[[0, 1], [255, 0]]])
    assert read(find_scheme([bands], ignore=[255]), bands).tolist() == [[[0, 1], [255, 0]]]


def test_a_value_met_later_is_refused_with_the_files_name():
    scheme = find_scheme([label([[0, 1]])])
    with pytest.raises(LabelError, match=r"array: expected label values 0, 1, 255; received 7"):
        read(scheme, label([[0, 7]]))


def test_labels_outside_the_image_are_mirrored():
    source = label([[0, 1, 1, 0]])
    assert find_scheme([source]).reader(source)(Window((0, -2), (1, 4)))[..., 0].tolist() == [[1, 1, 0, 1]]


def test_a_label_with_too_few_bands_is_refused():
    scheme = LabelScheme("multilabel", ("lung", "heart"), ((0,), (1, 255)), bands=(0, 1))
    with pytest.raises(LabelError, match="array: expected a label with at least 2 bands, one per class; received 1"):
        scheme.reader(label([[0, 1]]))


def test_numbers_outside_those_declared_are_refused_in_any_type():
    scheme = LabelScheme("binary", ("cell",), ((-3,), (300,)))
    source = label(np.array([[-3, 300]], np.int32))
    assert read(scheme, source)[..., 0].tolist() == [[0, 1]]
    for value in (-(2**31), -4, 0, 301, 2**31 - 1):
        with pytest.raises(LabelError, match=rf"array: expected label values -3, 300; received {value}$"):
            read(scheme, label(np.array([[-3, value]], np.int32)))


def test_more_classes_than_class_ids_are_refused():
    names = tuple(map(str, range(256)))
    LabelScheme("multiclass", names[:255], tuple((number,) for number in range(255)))
    LabelScheme("multilabel", names, tuple((number,) for number in range(256)))
    with pytest.raises(DataError, match="classes: expected at most 255 classes, as class ids are bytes; received 256"):
        LabelScheme("multiclass", names, tuple((number,) for number in range(256)))
