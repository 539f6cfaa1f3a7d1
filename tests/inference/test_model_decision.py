"""A decision holds for the model that it was made for; of another one that is said."""

from pathlib import Path

import pytest

from maskzoo.inference.model_decision import decision_for_model
from maskzoo.inference.run_files import Decision

BEST, LAST = Path("run/best.keras"), Path("run/last.keras")
OTHERS = Decision((0.4,), members=("a", "b"), weights=(1, 3))
DECIDED = Decision((0.3,), minimum_area=(5,), models=("1",), ensemble=OTHERS, metric="dice")
HALF = Decision((0.5,), ensemble=OTHERS)


@pytest.mark.parametrize(
    ("stored", "model", "identity", "expected", "said"),
    [
        (DECIDED, BEST, "1", DECIDED, None),
        (DECIDED, BEST, "2", HALF, "an earlier model of this run"),
        (DECIDED, LAST, "1", HALF, "run:last: what was decided holds for the best epoch"),
        (Decision((0.5,)), LAST, "2", Decision((0.5,)), None),
        # Earlier versions did not say for which model.
        (Decision((0.3,)), BEST, "1", Decision((0.3,)), None),
        (
            Decision((0.3,), last=Decision((0.2,), models=("2",)), models=("1",)),
            LAST,
            "2",
            Decision((0.2,), models=("2",)),
            None,
        ),
        (
            Decision((0.3,), last=Decision((0.2,), models=("2",)), models=("1",)),
            BEST,
            "1",
            Decision((0.3,), models=("1",)),
            None,
        ),
        (Decision((0.3,), last=Decision((0.2,), models=("2",))), LAST, "3", Decision((0.5,)), "earlier model"),
    ],
)
def test_what_holds_for_a_model(stored, model, identity, expected, said, caplog):
    assert decision_for_model(stored, model, identity) == expected
    assert (said in caplog.text) if said else not caplog.text
