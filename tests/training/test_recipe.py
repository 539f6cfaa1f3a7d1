"""A recipe: its stages, the names of earlier versions, what it refuses, and what of it is stored."""

import logging
from dataclasses import fields

import pytest

from maskzoo.errors import OptionError
from maskzoo.training import RENAMED, Recipe, recipe


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch):
    monkeypatch.setattr(recipe, "already_noted", set())


def test_a_stage_reads_numbers_that_yaml_takes_for_text():
    stage = Recipe(stages=[{"learning_rate": "1e-4", "freeze_encoder": True, "epochs": 3}]).each_stage()[0]
    assert (stage.learning_rate, stage.freeze_encoder_epochs) == (1e-4, 3)


def test_stages_differ_from_the_recipe_in_what_they_name():
    first, second = Recipe(patch=64, stages=[{"epochs": 2}, {"patch": 128, "loss": "bce"}]).each_stage()
    assert (first.patch, first.epochs, first.loss) == (64, 2, None)
    assert (second.patch, second.epochs, second.loss) == (128, 6, "bce")
    assert first.stages is second.stages is None
    assert Recipe().each_stage() == [Recipe()]


def test_every_old_name_is_read_and_noted_once(caplog):
    values = {"hard": 0.5, "soften": 1.0, "mix": {"cutmix": 0.2}, "fine": ["lesion"], "start_from": "runs/a"}
    assert values.keys() == RENAMED.keys()
    for _ in range(2):
        read = Recipe.from_mapping(values, "old.yaml")
        assert read == Recipe(**{RENAMED[name]: value for name, value in values.items()})
    assert [record.getMessage() for record in caplog.records] == [
        f"note: {old} is now called {new} in old.yaml" for old, new in RENAMED.items()
    ]


def test_stages_are_read_by_their_old_names_too(caplog):
    read = Recipe(stages=[{"hard": 0.5, "mix": {"cutmix": 0.1}}])
    assert read == Recipe(stages=[{"hard_example_fraction": 0.5, "mix_probabilities": {"cutmix": 0.1}}])
    assert read.each_stage()[0].hard_example_fraction == 0.5
    assert "hard is now called hard_example_fraction in stage 1" in caplog.text


def test_old_names_in_run_folders_are_no_news(caplog):
    Recipe.from_mapping({"hard": 0.5}, "run", logging.DEBUG)
    assert not caplog.records


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"learning_rat": 1}, r"a\.yaml: expected learning_rate \(of model, option, .*\); received learning_rat"),
        ({"hard": 0.1, "hard_example_fraction": 0.2}, "hard_example_fraction: expected one value in a.yaml"),
        ({"batch_size": 0}, "batch_size: expected at least 1; received 0"),
        ({"folds": 1}, "folds: expected a file, or at least 2"),
        ({"fold": 0}, "folds: expected the JSON file of the folds, which `fold` needs"),
        (
            {"stages": [{"loss": "bce"}, {"augment": "none", "batch_size": "x"}]},
            "stages: expected another kind of value for batch_size in stage 2; received x",
        ),
        ({"resume": True}, "resume: expected `run`, the folder of the run to resume; received none"),
        ({"hard_example_fraction": 2.0}, "hard_example_fraction: expected a fraction between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(mapping, expected):
    with pytest.raises(OptionError, match=expected):
        Recipe.from_mapping(mapping, "a.yaml")


def test_what_is_stored_makes_the_same_recipe_again():
    made = Recipe(model="unet", option={"filters": [4]}, run="runs/a", seeds=3, stages=[{"epochs": 2}])
    stored = made.as_mapping()
    assert {field.name for field in fields(Recipe)} - stored.keys() == {"run", "resume", "hosts", "host"}
    assert Recipe.from_mapping(stored, "a.yaml") == Recipe(**stored)
    assert made.is_several
    assert not Recipe().is_several
