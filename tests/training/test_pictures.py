"""Pictures of a run: which windows they show, stages in the curves."""

import types

import cv2
import numpy as np
from labelled_cases import labelled

from maskzoo import data
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


def test_samples_are_shown_in_their_own_colours_with_file_names_and_the_worst_windows(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name in "ab":
        mask = np.zeros((32, 32), np.uint8)
        mask[:8, :8] = 255
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), rng.integers(0, 256, (32, 32, 3)).astype(np.uint8))
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), mask)
    dataset = data.load_data(str(tmp_path), spatial_dims=2)
    (case,) = dataset.validation
    drawn = []
    monkeypatch.setattr(pictures.data, "save_overlays", lambda path, rows, names, title: drawn.extend(rows))
    monkeypatch.setattr(pictures.strategy, "log_picture", lambda *arguments: None)
    callback = pictures.Pictures(tmp_path, WindowDataset([case], 8, 4, shuffle=False), dataset)
    optimizer = types.SimpleNamespace(exchange_averages=lambda: None)

    def masks(images):
        """No foreground, but in the window that ends the first row."""
        wrong = images[0].sum() == callback.validation.sample(3)[0].sum()
        return np.full((1, 8, 8, 1), 5.0 if wrong else -5.0, np.float32)

    callback.set_model(types.SimpleNamespace(masks=masks, optimizer=optimizer))
    callback.draw_samples("now")
    names = [name for name, _, _ in drawn]
    # First the class, then the worst of the others.
    assert names[:2] == [f"{case.name}.png at 0, 0: Dice 0.00", f"{case.name}.png at 0, 24: Dice 0.00"]
    assert all(name.endswith("Dice 1.00") for name in names[2:])
    pixels = cv2.imread(str(tmp_path / "images" / f"{case.name}.png"))[..., ::-1]
    np.testing.assert_array_equal(drawn[0][1], pixels[:8, :8])
    np.testing.assert_array_equal(drawn[1][1], pixels[:8, 24:])
