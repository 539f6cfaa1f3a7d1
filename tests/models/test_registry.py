"""Names of models and encoders, and the hints where one is misspelt."""

import collections
import importlib
import pkgutil
import re
import types

import keras
import pytest

from maskzoo import models
from maskzoo.errors import OptionError


def test_an_unknown_name_is_refused_with_the_nearest_right_one():
    with pytest.raises(ValueError, match=r"model: expected .*unet_padded.*received unet_pad \(nearest: unet_padded\)"):
        models.build_model("unet_pad", (None, None, 1))
    with pytest.raises(ValueError, match=r"encoder: expected .*received resnet_thirtyfour"):
        models.build_encoder("resnet_thirtyfour", (None, None, 3))


def test_a_name_registers_once():
    def unet(input_shape, num_classes):
        """Has a name that is taken."""

    with pytest.raises(ValueError, match="model unet: expected a name that is not registered yet"):
        models.register_model(unet)


@pytest.mark.parametrize(
    ("received", "near"), [("Unet", "unet"), ("unet++", "unet_plus_plus"), ("UNet3+", "unet_3plus"), ("FPN", "fpn")]
)
def test_names_of_papers_and_other_libraries_lead_to_ours(received, near):
    with pytest.raises(OptionError, match=rf"received {re.escape(received)} \(nearest: {near}\)$"):
        models.build_model(received, (None, None, 1))


@pytest.mark.parametrize(
    ("received", "near"), [("backbone", "encoder"), ("classes", "num_classes"), ("Encoder", "encoder")]
)
def test_options_of_other_libraries_lead_to_ours(received, near):
    with pytest.raises(
        OptionError, match=rf"option of fpn: expected one of .*; received {received} \(nearest: {near}\)$"
    ):
        models.build_model("fpn", (None, None, 3), **{received: 1})


def test_nothing_is_named_where_nothing_is_near():
    with pytest.raises(OptionError, match=r"; received qqqq$"):
        models.build_model("qqqq", (None, None, 1))
    with pytest.raises(OptionError, match=r"; received qqqq$"):
        models.build_model("fpn", (None, None, 3), qqqq=1)


def test_options_and_dimensions_are_those_of_the_builder():
    assert models.model_options("linknet")["final_filters"] == 16
    assert not {"input_shape", "num_classes"} & set(models.model_options("linknet"))
    assert models.encoder_options("mit_b0") == {"encoder_weights": None, "freeze_encoder": False, "drop_path": 0.0}
    assert [models.spatial_dims_of(name) for name in ("unet", "unet3d", "unet25d")] == [2, 3, 3]


def test_no_two_layers_are_saved_under_one_name():
    """Keras keeps the one that was registered last, and loads files of the other with it."""
    found = collections.defaultdict(set)
    for module in pkgutil.walk_packages(models.__path__, f"{models.__name__}."):
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type | types.FunctionType):
                found[keras.saving.get_registered_name(thing)].add(thing)
    saved = {name: things for name, things in found.items() if name.startswith("maskzoo>")}
    assert "maskzoo>LinearUpsampling" in saved
    assert {name for name, things in saved.items() if len(things) > 1} == set()
