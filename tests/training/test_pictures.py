"""Pictures of a run: which windows they show, stages in the curves."""

import types

import numpy as np
from labelled_cases import labelled

from maskzoo.data import LabelScheme, WindowDataset
from maskzoo.training import pictures

SCHEME = LabelScheme("multiclass", ("background", "road", "car"), ((0,), (1,), (2,)))


def test_every_class_is_shown_in_the_window_that_shows_most_of_it():
    mask = np.zeros((32, 64), np.uint8)
    mask[8:16, :20], mask[0, 40], mask[24:26, 56:60] = 1, 2, 2
    validation = WindowDataset([labelled(mask, scheme=SCHEME)], 8, 4, shuffle=False)
    dataset = types.SimpleNamespace(task="multiclass", class_names=SCHEME.class_names)
    each_class, others = pictures.windows_to_show(validation, dataset)
    assert [validation.shown[number][1].offset for number in each_class] == [(8, 0), (24, 56)]
    assert not set(each_class) & set(others)
    assert len(others) == pictures.CANDIDATES


def test_the_overlap_of_a_window():
    truth = np.array([1, 1, 0, 0], bool)
    assert pictures.overlap(truth, truth) == 1
    assert pictures.overlap(truth, np.roll(truth, 1)) == 0.5
    assert pictures.overlap(~truth & truth, truth & ~truth) == 1


def test_stages_are_marked_where_there_are_several():
    rows = [{"epoch": n, "stage": stage} for n, stage in enumerate([1, 1, 2, 3], 1)]
    assert pictures.stage_starts(rows) == [(1, 1), (3, 2), (4, 3)]
    assert pictures.stage_starts(rows[:2]) == []
