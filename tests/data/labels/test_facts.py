"""The values of labels, and whether their bands differ, are read over all of them."""

import numpy as np

from maskzoo.data import open_source
from maskzoo.data.labels import facts
from maskzoo.data.labels.facts import scan
from maskzoo.data.labels.run_source import RunSource


def label(values):
    return open_source(np.asarray(values, np.uint8), spatial_dims=2)


def test_each_label_is_read():
    grey, bands = label([[[4, 4], [0, 0]]]), label([[[4, 4], [0, 9]]])
    assert [(found.values, found.several) for found in scan([grey, bands])] == [({0, 4}, False), ({0, 4, 9}, True)]


def test_runs_need_no_reading():
    (found,) = scan([RunSource("runs", (4, 4), [np.array([[0, 2]])])])
    assert (found.values, found.several) == ({0, 1}, False)


def test_of_many_values_some_suffice(monkeypatch):
    monkeypatch.setattr(facts, "MOST_VALUES", 3)
    values = np.zeros((2049, 1), np.uint8)
    values[:4, 0], values[2048] = range(4), 9
    (found,) = scan([label(values)])
    assert found.values == {0, 1, 2, 3}
