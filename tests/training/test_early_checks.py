"""What cannot be trained is refused before images are read; looking for it changes no name and no weight."""

import random

import keras
import nibabel
import numpy as np
import pytest

from maskzoo import data, models, training
from maskzoo.errors import MaskzooError
from maskzoo.training.early_checks import EarlyChecks, apart, without_weights


class Read(Exception):
    """The images would be read now."""


@pytest.fixture
def refused(monkeypatch, squares, tmp_path):
    """Function from the options of a training to the error that it ends with, before images are read."""

    def read(*arguments, **options):
        raise Read

    monkeypatch.setattr(data, "load_data", read)

    def message(**options):
        recipe = training.Recipe(
            **{"data": str(squares), "model": "unet_padded", "run": str(tmp_path / "run")} | options
        )
        with pytest.raises(MaskzooError) as error:
            training.train(recipe, tmp_path / "run")
        return str(error.value)

    return message


@pytest.fixture
def volume(tmp_path):
    """A data set of one volume of 20 x 24 x 28 voxels."""
    rng = np.random.default_rng(0)
    for kind, high in (("images", 200), ("masks", 2)):
        (tmp_path / "volumes" / kind).mkdir(parents=True)
        pixels = rng.integers(0, high, (20, 24, 28)).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / "volumes" / kind / "a.nii.gz")
    return str(tmp_path / "volumes")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"option": {"filtres": [4]}}, "option of unet_padded: .* received filtres .nearest: filters."),
        ({"option": {"filters": []}}, "filters: expected a list of whole numbers"),
        ({"model": "vnet3d"}, "vnet3d: expected input_shape to have 3 spatial axes"),
        ({"loss": "bce+dise"}, "loss: expected dice "),
        ({"task": "multiclass", "loss": "bce"}, "loss: .* for task multiclass; received bce"),
        ({"loss": "bce", "loss_weights": {"dice": [[0, 1]]}}, "loss_weights: expected a term of the loss"),
        (
            {"stages": [{"output_weights": {"mask": 0}, "label_head": 1}, {"epochs": 1}], "patience": 3},
            "patience: expected none that goes by the Dice of the mask in a stage that does not train it; received 3",
        ),
        ({"label_head": 1, "output_weights": {"mask": 0}, "schedule": "plateau"}, "schedule: expected none that goes"),
        ({"class_weights": [5.0], "task": "binary"}, "class_weights: expected none for a single class"),
        ({"auxiliary": {"aux1": "nowhere"}, "option": {"filters": [2, 4]}}, "one of its layers; received nowhere"),
        ({"output_weights": {"aux7": 1}, "option": {"filters": [2]}}, "output_weights: expected one of mask"),
        ({"patch": [64, 64, 64]}, "patch: expected one positive size, or one for each of 2 axes"),
        ({"stages": [{"epochs": 1}, {"patch": [8, 8, 8]}]}, "patch: expected one positive size"),
        ({"stages": [{"loss": "bcee"}]}, "loss: expected bce "),
        ({"augment": [{"Foo": {}}]}, "augment: .* received Foo"),
        ({"mask_sigma": 1.0, "task": "multiclass"}, "mask_sigma: expected 0"),
        ({"classes": ["a", "b"], "balance": {"c": 0.5}}, "balance: expected one of a, b; received c"),
        ({"validation": 0, "patience": 3}, "patience: expected none that needs held-out images"),
        ({"validation": 0, "stages": [{"schedule": "plateau"}]}, "schedule: expected none that needs held-out images"),
        ({"validation": 0, "average_best": 2}, "average_best: expected none that needs held-out images"),
        ({"slices": 3}, "slices: expected volumes"),
        ({"init_from": "nowhere.keras"}, "nowhere.keras: expected a run folder or a .keras file"),
        (
            {"model": "backbone_unet", "option": {"encoder": "resnet50", "encoder_weights": "nowhere.h5"}},
            "nowhere.h5: expected a file with the weights of resnet50",
        ),
        ({"roi_classes": ["a"]}, "model: expected one with two inputs"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_are_refused_before_images_are_read(refused, options, expected):
    import re

    assert re.search(expected, refused(**options))


def test_mistakes_about_volumes(refused, volume):
    message = refused(data=volume, model="unet")
    assert message.startswith(
        "model: expected one that takes windows of the size of these volumes, at most 20 x 24 x 28"
    )
    assert message.endswith("received unet, whose smallest windows are 188 x 188 x 188")
    assert "cutmix for volumes; received mosaic" in refused(data=volume, mix_probabilities={"mosaic": 0.5})
    assert "an odd number" in refused(data=volume, slices=4)


def test_what_fits_is_read(refused, volume, squares):
    for options in (
        {"data": volume, "option": {"filters": [2, 4]}},
        {"data": volume, "slices": 3, "option": {"filters": [2]}},
        {"model": "unet", "option": {"filters": [2, 4]}},
        {"freeze_encoder_epochs": 1, "option": {"filters": [2, 4]}},
        {"loss": "cross_entropy"},
        {"label_head": 0.1, "option": {"filters": [2]}, "output_weights": {"mask": 0}},
        {"validation": 0},
    ):
        with pytest.raises(Read):
            training.train(training.Recipe(**{"data": str(squares), "model": "unet_padded"} | options), squares)


def test_a_stage_may_go_without_the_patience_of_the_others(refused):
    stages = [{"output_weights": {"mask": 0}, "label_head": 1, "patience": None}, {"output_weights": {"mask": 1}}]
    with pytest.raises(Read):
        refused(stages=stages, patience=3)


def test_looking_changes_no_name_and_no_weight(squares):
    recipe = training.Recipe(model="unet_padded", option={"filters": [2, 4]}, data=str(squares))

    def built(look):
        keras.utils.set_random_seed(1)
        before = random.getstate()
        if look:
            EarlyChecks(recipe, data.read_spec(squares), 2).run()
        assert random.getstate() == before
        return models.build_model("unet_padded", (None, None, 1), 1, filters=[2, 4])

    count = keras.backend.get_uid("input_layer")
    apart(lambda: keras.Input((None, None, 1)))
    assert keras.backend.get_uid("input_layer") == count + 1
    for one, other in zip(built(True).get_weights(), built(False).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"option": {"filters": [2, 4]}}, "local"), ({"model": "pspnet", "option": {"encoder": "resnet18"}}, "global")],
)
def test_the_receptive_field_is_known_before_the_data(squares, options, expected):
    recipe = training.Recipe(**{"model": "unet_padded", "data": str(squares)} | options)
    field = EarlyChecks(recipe, data.read_spec(squares), 2).receptive_field()
    if expected == "global":
        assert field is None
    else:
        # Two convolutions of 3 before the pooling, two below it on pixels twice as large, up by 2, two above.
        assert len(field) == 2
        assert 16 < field[0] < 24


def test_no_weights_are_read_to_look_at_a_model():
    option = {"trunk": "backbone_unet", "trunk_options": {"encoder": "resnet34", "encoder_weights": "imagenet"}}
    assert without_weights(option) == {"trunk": "backbone_unet", "trunk_options": {"encoder": "resnet34"}}
