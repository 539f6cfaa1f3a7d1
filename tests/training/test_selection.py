"""Which models of earlier stages a stage competes with."""

import types

import pytest

from maskzoo.training import Recipe, selection
from maskzoo.training.choice import Carried, Choice
from maskzoo.training.history import History

LABELS = {"output_weights": {"mask": 0}, "label_head": 1}
MASK = {"output_weights": {"mask": 1}}


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        # The best mask stays one, whatever a stage of labels alone made of it since.
        ([MASK, LABELS], {1: 0.9}),
        ([LABELS, MASK], {2: 0.3}),
        # A mask that nothing has trained.
        ([LABELS, LABELS], {}),
    ],
)
def test_stages_compete_with_those_that_trained_the_mask(tmp_path, monkeypatch, before, expected):
    monkeypatch.setattr(selection, "measure", lambda *_: {"windows": 1})
    stages = Recipe(stages=[*before, MASK]).each_stage()
    history = History(tmp_path, [{"epoch": n, "stage": n, "val_dice": score} for n, score in ((1, "0.9"), (2, "0.3"))])
    choice = Choice(tmp_path)
    session = types.SimpleNamespace(dataset=types.SimpleNamespace(validation=["held out"]))
    rows = history.rows
    for number in (2, 3):
        history.rows = rows[: number - 1]
        selection.carry_over(session, stages, number, history, choice)
    assert choice.carried[3] == Carried(2, expected)
