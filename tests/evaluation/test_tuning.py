"""What `decide` finds for several runs together."""

import dataclasses

import keras
import pytest
from exact_run import exact_run, logits_of, row_of, sure_run

from maskzoo import evaluation, inference
from maskzoo.errors import OptionError, RunError
from maskzoo.evaluation.tuning import arrange_folds


@pytest.fixture
def load(tmp_path):
    """A function that makes runs, each with its pairs of predicted and true masks, and loads them."""

    def make(*runs):
        return [inference.load_run(sure_run(tmp_path / f"{number}", pairs)) for number, pairs in enumerate(runs)]

    return make


def test_folds_of_one_model_get_one_decision(load):
    pairs = [(row_of(8, 1, 2), row_of(8, 1, 2)), (row_of(8, 3, 4, 5), row_of(8, 3, 4))]
    tuning = evaluation.decide(load(pairs[:1], pairs[1:]), areas=False)
    assert [len(fold) for fold in tuning.folds] == [1, 1]
    assert tuning.ensemble is None
    (found,) = tuning.members
    assert found.images == 2
    assert found.decision.score == pytest.approx((1 + 0.8) / 2)
    assert found.decision.chosen_on == {"images": 2, "runs": ["run", "run"], "tta": "none"}
    assert list(tuning.named()) == ["run + run"]


def test_members_of_an_ensemble_get_weights(tmp_path):
    """One member predicts an image well, the other badly; both held out the same data set."""
    truth = row_of(16, 1, 2, 3, 4)
    good = exact_run(tmp_path, [(logits_of(truth), truth[..., None])])
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in good.iterdir():
        (bad / path.name).write_bytes(path.read_bytes())
    runs = [inference.load_run(path) for path in (good, bad)]
    tuning = evaluation.decide(runs, areas=False)
    assert [len(fold) for fold in tuning.folds] == [2]
    assert len(tuning.members) == 2
    assert tuning.ensemble is not None
    assert tuning.ensemble.decision.members == ("run", "bad")
    assert sum(tuning.ensemble.decision.weights) == pytest.approx(1)
    assert tuning.ensemble.decision.score == 1
    assert list(tuning.named()) == ["run", "bad", "ensemble"]


def test_weights_of_several_folds_sum_to_one(load):
    first, second = ([(row_of(8, *filled), row_of(8, *filled))] for filled in ((1, 2), (3, 4)))
    one, other = load(first, second)
    tuning = evaluation.decide([one, one, other, other], areas=False)
    assert [len(fold) for fold in tuning.folds] == [2, 2]
    decision = tuning.ensemble.decision
    assert (len(decision.members), len(decision.weights)) == (4, 4)
    assert sum(decision.weights) == pytest.approx(1)


def with_another_architecture(run, name):
    """A run of other weights, which answers as another one does."""
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")(image))
    return dataclasses.replace(run, model=model, path=run.path.with_name(name))


def test_folds_may_differ_in_their_architectures(load, caplog):
    first, second = ([(row_of(8, *filled), row_of(8, *filled))] for filled in ((1, 2), (3, 4)))
    one, two = load(first, second)
    other = with_another_architecture(two, "other")
    # One run of each fold: they are one model, whose thresholds are searched together.
    tuning = evaluation.decide([one, other], areas=False)
    assert [len(fold) for fold in tuning.folds] == [1, 1]
    assert (len(tuning.members), tuning.ensemble, tuning.members[0].images) == (1, None, 2)
    assert caplog.text == ""
    # Several of each fold: an architecture keeps its place, a new one takes that of what its fold lacks.
    third = with_another_architecture(one, "third")
    assert arrange_folds([one, third, other, two]) == [[one, third], [two, other]]
    assert caplog.text == ""
    assert arrange_folds([one, third, two, two]) == [[one, third], [two, two]]
    assert "take the places of third, whose architectures their fold lacks, and share their weights" in caplog.text


def test_runs_that_do_not_belong_together_are_refused(load, tmp_path):
    one, other = load([(row_of(8, 1), row_of(8, 1))], [(row_of(8, 2), row_of(8, 2))])
    with pytest.raises(OptionError, match="the same number of runs for each set of held-out images; received 1"):
        arrange_folds([one, one, other])
    path = one.path / "data.json"
    path.write_text(path.read_text().replace('"validation": ["0"]', '"validation": []'))
    with pytest.raises(RunError, match="expected a run that held out images to decide on; received one without"):
        arrange_folds([inference.load_run(one.path)])


def test_the_curves_are_drawn(tmp_path, load):
    tuning = evaluation.decide(load([(row_of(8, 1), row_of(8, 1))]), areas=False)
    evaluation.draw_curves(tmp_path / "curves.png", tuning.named(), ["cell"])
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_groups_that_no_name_has_are_refused_before_anything_is_predicted(load, monkeypatch):
    monkeypatch.setattr("maskzoo.evaluation.tuning.predict_held_out", lambda *_: pytest.fail("predicted"))
    runs = load([(row_of(8, 1), row_of(8, 1))])
    for pattern in ("(", "^patient"):
        with pytest.raises(OptionError, match="group: expected"):
            evaluation.decide(runs, groups=pattern)
