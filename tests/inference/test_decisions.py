"""A joint decision is found by what the runs are: under other names, in other places, for whole folds."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from maskzoo.inference.decisions import decided_together, distinct_names, restricted_to, warn_of_other_conditions
from maskzoo.inference.options import PredictOptions
from maskzoo.inference.run_files import Decision

# Two architectures on two folds, in the layout of many runs: names repeat, models do not.
JOINT = Decision(
    (0.3,),
    members=("a/fold0", "b/fold0", "a/fold1", "b/fold1"),
    weights=(0.45, 0.05, 0.45, 0.05),
    models=("a0", "b0", "a1", "b1"),
    folds=(0, 0, 1, 1),
    metric="dice",
    chosen_on={"tta": "flips", "images": 4},
)


@dataclass(frozen=True)
class StandIn:
    """What a decision asks of a run."""

    path: Path
    identity: str | None = None
    decision: Decision = field(default_factory=lambda: Decision((0.5,), ensemble=JOINT))

    @property
    def name(self):
        return self.path.name


A0, B0, A1, B1 = (
    StandIn(Path(f"runs/{kind}/fold{n}"), f"{kind}{n}") for kind, n in (("a", 0), ("b", 0), ("a", 1), ("b", 1))
)


def test_weights_follow_the_models_whatever_the_order(caplog):
    assert decided_together([B1, A1, B0, A0]).weights == (0.05, 0.45, 0.05, 0.45)
    moved = [replace(run, path=Path(f"elsewhere/{n}")) for n, run in enumerate([A0, B0, A1, B1])]
    assert decided_together(moved).weights == JOINT.weights
    assert not caplog.text


def test_any_of_the_runs_may_know(caplog):
    runs = [replace(A0, decision=Decision((0.5,))), B0, A1, B1]
    assert decided_together(runs).weights == JOINT.weights
    other = replace(JOINT, members=("a/fold0", "c"), models=("a0", "c"), folds=(0, 0), weights=(0.5, 0.5))
    runs = [replace(A0, decision=Decision((0.5,), ensemble=other)), B0, A1, B1]
    assert decided_together(runs).weights == JOINT.weights
    assert not caplog.text


def test_whole_folds_keep_their_weights():
    assert decided_together([B0, A0]).weights == (0.05, 0.45)


@pytest.mark.parametrize(
    "runs", [[A0, B1], [A0, A1], [A0, B0, A1], [A0, B0, A1, B1, B1], [A0, replace(B0, identity="retrained")]]
)
def test_a_decision_for_others_is_said_and_not_taken(runs, caplog):
    assert decided_together(runs) is None
    assert "what was decided for an ensemble of a/fold0 + b/fold0 + a/fold1 + b/fold1 does not hold" in caplog.text
    assert "weights are equal" in caplog.text


def test_nothing_is_said_where_nothing_was_decided(caplog):
    assert decided_together([replace(run, decision=Decision((0.5,))) for run in (A0, B0)]) is None
    assert decided_together([A0]) == A0.decision
    assert not caplog.text


def test_decisions_of_earlier_versions_know_their_members_by_name():
    old = replace(JOINT, members=("x", "y"), weights=(1, 3), models=None, folds=None)
    x, y = StandIn(Path("1/x")), StandIn(Path("2/y"))
    assert restricted_to(old, [y, x]).weights == (3, 1)
    assert restricted_to(replace(old, members=("x", "x")), [x, StandIn(Path("2/x"))]) is None
    assert restricted_to(old, [x]) is None
    assert restricted_to(replace(old, weights=(1,)), [y, x]) is None


def test_a_decision_under_other_conditions_is_said(caplog):
    same = PredictOptions(tta="flips")
    warn_of_other_conditions(JOINT, same)
    warn_of_other_conditions(JOINT, replace(same, weights=[9, 1, 9, 1]))
    warn_of_other_conditions(JOINT, PredictOptions(threshold=0.5))
    warn_of_other_conditions(JOINT, PredictOptions(no_decision=True))
    warn_of_other_conditions(Decision((0.5,)), PredictOptions(tta="flips"))
    assert not caplog.text
    for options, said in [
        (PredictOptions(), "`tta` flips, not none"),
        (replace(same, weights=[1, 1, 1, 1]), "other `weights`"),
        (replace(same, reduction="votes"), "`reduction` probabilities, not votes"),
        (replace(same, temperature=0.5), "`temperature` 1, not 0.5"),
        (replace(same, crf=3), "no `crf`"),
    ]:
        caplog.clear()
        warn_of_other_conditions(JOINT, options)
        assert said in caplog.text


def test_names_tell_runs_apart():
    assert distinct_names([A0, A1]) == ["fold0", "fold1"]
    assert distinct_names([A0, B0]) == ["a/fold0", "b/fold0"]
    assert distinct_names([A0, A0]) == ["fold0", "fold0"]
