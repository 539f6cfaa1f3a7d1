"""An image and its label are read once, whatever their size; what is wrong with them is noted."""

import numpy as np
import pytest

from maskzoo.data import Window, open_source
from maskzoo.data.inspection import examined_pairs
from maskzoo.data.inspection.examined_pairs import ExaminedPair, compare_pairs, examine
from maskzoo.data.labels.scheme import LabelScheme


class Notes(list):
    def __call__(self, kind, line):
        self.append((kind, line))


def array(values, dtype=np.uint8):
    return open_source(np.asarray(values, dtype), spatial_dims=2)


def test_counts_and_range_of_a_pair():
    notes = Notes()
    image, label = array([[3, 9, 4], [5, 6, 7]]), array([[0, 1, 1], [0, 0, 2]])
    pair = examine("one", lambda: image, lambda _: label, notes)
    assert (pair.low, pair.high, pair.values) == (3, 9, [{0: 3, 1: 2, 2: 1}])
    assert (pair.found_values(), pair.window, notes) == ({0, 1, 2}, Window((0, 0), (2, 3)), [])
    multiclass = LabelScheme("multiclass", ("a", "b", "c"), ((0,), (1,), (2,)))
    assert pair.foreground(multiclass) == [3, 2, 1]
    assert pair.foreground(LabelScheme("binary", ("any",), ((0,), (1, 2)))) == [3]


def test_a_large_label_is_shown_where_it_has_most_foreground(monkeypatch):
    monkeypatch.setattr(examined_pairs, "SHOWN_PIXELS", 100)
    label = np.zeros((2048, 1024), np.uint8)
    label[1500:1510, 300:310] = 1
    pair = examine("large", lambda: array(np.ones((2048, 1024))), lambda _: array(label), Notes())
    assert pair.window == Window((1024, 0), (1024, 1024))


@pytest.mark.parametrize(("label", "expected"), [
    (np.zeros((3, 2), np.uint8), ("sizes that differ", "array: (2, 3), its label (3, 2), rows and columns swapped")),
    (np.zeros((2, 2), np.uint8), ("sizes that differ", "array: (2, 3), its label (2, 2)")),
    (np.full((2, 3), 0.5, np.float32), ("labels that cannot be used", "whole numbers")),
])  # fmt: skip
def test_labels_that_do_not_fit_are_noted(label, expected):
    notes = Notes()
    pair = examine("one", lambda: array([[1, 2, 3], [4, 5, 6]]), lambda _: array(label, label.dtype), notes)
    assert pair.label is None
    ((kind, line),) = notes
    assert kind == expected[0]
    assert expected[1] in line


def test_images_that_cannot_be_opened_are_noted():
    def fail():
        raise OSError("disk on fire")

    notes = Notes()
    assert examine("one", fail, None, notes).image is None
    assert notes == [("unreadable", "disk on fire")]


def test_blank_images_are_no_duplicates():
    notes = Notes()
    blank = [examine(name, lambda: array([[1, 1]]), None, Notes()) for name in "ab"]
    same = [examine(name, lambda: array([[1, 2]]), None, Notes()) for name in "cd"]
    compare_pairs([*blank, *same, ExaminedPair("unread")], notes)
    assert notes == [("duplicate images", "c = d")]
