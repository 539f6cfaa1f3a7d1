"""The scores among which the best is chosen: all of them on the same windows."""

import types

import pytest

from maskzoo import data
from maskzoo.errors import RunError
from maskzoo.training import Recipe
from maskzoo.training.choice import Carried, Choice, measured_on, minimum_of, ranked
from maskzoo.training.history import History


@pytest.fixture
def history(tmp_path):
    scores = [0.9, 0.8, 0.3, 0.4]
    return History(tmp_path, [{"epoch": n + 1, "stage": 1 + n // 2, "val_dice": str(s)} for n, s in enumerate(scores)])


def test_epochs_compete_with_earlier_stages_as_their_own_windows_score_these(tmp_path, history):
    choice = Choice(tmp_path, carried={2: Carried(2, {1: 0.35})})
    assert choice.scores(history, 1) == {1: 0.9, 2: 0.8}
    assert choice.scores(history, 2) == {1: 0.35, 3: 0.3, 4: 0.4}
    assert ranked(choice.scores(history, 2)) == [4, 1, 3]


def test_a_stage_after_one_that_did_not_train_the_mask_competes_with_itself(tmp_path, history):
    assert choice_of(tmp_path, Carried(2, {})).scores(history, 2) == {3: 0.3, 4: 0.4}


def test_until_the_minimum_the_models_of_earlier_stages_stay(tmp_path, history):
    assert choice_of(tmp_path, Carried(2, {1: 0.35})).scores(history, 2, 3) == {1: 0.35}
    assert choice_of(tmp_path, Carried(2, {1: 0.35})).scores(history, 2, 2) == {1: 0.35, 4: 0.4}
    assert choice_of(tmp_path, Carried(2, {})).scores(history, 2, 3) == {3: 0.3, 4: 0.4}


def test_runs_of_earlier_versions_go_on_as_they_began(tmp_path, history):
    assert Choice.read(tmp_path).scores(history, 2) == {1: 0.9, 2: 0.8, 3: 0.3, 4: 0.4}


def test_what_is_written_is_read_again(tmp_path):
    choice = Choice(tmp_path, {"epoch": 3, "val_dice": 0.5}, {2: Carried(2, {1: 0.35})})
    choice.write()
    assert Choice.read(tmp_path) == choice


def test_of_equal_scores_the_earlier_epoch_comes_first():
    assert ranked({1: 0.1, 2: 0.7, 3: 0.3, 4: 0.7}) == [2, 4, 3, 1]


def test_of_epochs_that_found_nothing_the_later_one_comes_first():
    """Those of a fold whose held-out images show no class are all 0."""
    assert ranked({1: 0.0, 2: 0.0, 3: 0.0}) == [3, 2, 1]
    assert ranked({1: 0.0, 2: 0.1, 3: 0.0}) == [2, 3, 1]


def test_a_minimum_that_a_stage_does_not_reach_delays_nothing():
    assert minimum_of(Recipe(epochs=4, min_epochs=4)) == 4
    assert minimum_of(Recipe(epochs=3, min_epochs=4)) == 0


def choice_of(run, carried):
    return Choice(run, carried={2: carried})


def test_the_models_of_epochs_before_a_lost_one_are_out_of_the_choice(tmp_path, history, caplog):
    """`best.keras` was deleted: the last checkpoint is what is left, and competes with what follows."""
    choice = Choice(tmp_path, {"epoch": 1, "val_dice": 0.9}, {2: Carried(2, {1: 0.9})})
    choice.forget_lost(history)
    expected = "best.keras is gone: the best is chosen among the models of epoch 4, the last one, and later ones"
    assert expected in caplog.text
    assert choice.scores(history, 2) == {4: 0.4}
    history.rows.append({"epoch": 5, "stage": 2, "val_dice": 0.2})
    assert choice.scores(history, 2) == {4: 0.4, 5: 0.2}
    choice.write()
    again = Choice.read(tmp_path)
    assert (again.described, again.scores(history, 2)) == ({}, {4: 0.4, 5: 0.2})
    (tmp_path / "best.keras").touch()
    again.forget_lost(history)
    assert again.first == 4


def test_pixels_outside_of_an_image_are_not_measured_on(tmp_path):
    small, large = (types.SimpleNamespace(image=types.SimpleNamespace(shape=shape)) for shape in ((20, 24), (52, 40)))
    places = [(small, (0, -4)), (large, (0, 0)), (large, (20, 8))]
    shown = [(case, data.Window(offset, (32, 32))) for case, offset in places]
    measured = measured_on(types.SimpleNamespace(shown=shown))
    assert measured == {"windows": 3, "images": 2, "pixels": 20 * 24 + 2 * 32 * 32, "window": [32, 32]}


@pytest.mark.parametrize("text", ["{", "[]", '{"carried": {"two": 1}}', '{"carried": {"2": {"after": 1}}}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "best.json").write_text(text)
    with pytest.raises(RunError, match=r"best\.json: expected"):
        Choice.read(tmp_path)
