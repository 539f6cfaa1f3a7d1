"""The network of a run: its norms, its encoder, the logits behind its activations."""

import keras
import numpy as np
import pytest

from maskzoo import data, models, training
from maskzoo.errors import OptionError
from maskzoo.training import Recipe, network

rng = np.random.default_rng(0)


def test_group_norms_take_the_place_of_batch_norms():
    inputs = keras.Input((None, None, 6))
    x = keras.layers.BatchNormalization(name="norm", epsilon=1e-5)(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, name="mask")(x))
    scale, shift = rng.normal(size=(2, 6))
    model.get_layer("norm").set_weights([scale, shift, np.full(6, 9.0), np.full(6, 9.0)])
    changed = network.with_norms(model, "group").get_layer("norm")
    images = rng.normal(3, 2, size=(2, 5, 5, 6)).astype(np.float32)
    # Six channels in the two groups that divide 32.
    parts = images.reshape(2, 25, 2, 3)
    normal = (parts - parts.mean((1, 3), keepdims=True)) / np.sqrt(parts.var((1, 3), keepdims=True) + 1e-5)
    np.testing.assert_allclose(changed(images), normal.reshape(images.shape) * scale + shift, atol=1e-4)
    kept = network.with_norms(model, "sync")
    assert kept.get_layer("norm").synchronized
    np.testing.assert_allclose(kept(images), model(images), atol=1e-6)


def test_encoder_layers_are_found_by_their_names():
    recipe = Recipe(model="unet_padded", option={"filters": [4, 8]})
    model = models.build_model(recipe.model, (None, None, 1), 1, **recipe.option)
    found = {layer.name for layer in network.encoder_layers(model, recipe)}
    others = {layer.name for layer in model.layers if layer.trainable_variables} - found
    assert any(name.startswith("encoder") for name in found)
    assert all(name.startswith(("decoder", "mask", "head", "segmentation")) for name in others), others
    image = keras.Input((None, None, 1))
    plain = keras.Model(image, keras.layers.Conv2D(1, 1, name="only")(image))
    with pytest.raises(OptionError, match="layers name an encoder"):
        network.encoder_layers(plain, recipe)


def test_a_head_with_an_activation_of_its_own_is_trained_on_its_logits(tmp_path):
    dataset = data.load_data(data.write_synthetic("nuclei", tmp_path / "set", count=2, size=32), spatial_dims=2)
    for option in ({"filters": [4, 8]}, {"filters": [4, 8], "activation": "sigmoid"}):
        built = network.new_network(Recipe(model="unet_padded", option=option, slices=None), dataset)
        assert built.get_layer("mask").activation is keras.activations.linear
    with pytest.raises(OptionError, match="output of unet_padded: expected logits"):
        network.new_network(Recipe(model="unet_padded", option={"filters": [4, 8], "activation": "relu"}), dataset)


def two_stage_recipe(**options):
    small = {"trunk": "unet_padded", "trunk_options": {"filters": [4, 8]}}
    return {"model": "fine_grained_unet", "option": small, "task": "multilabel", "roi_classes": ["lesion"]} | options


def test_other_norms_reach_into_the_shared_trunk(tmp_path):
    dataset = data.load_data(data.write_synthetic("organs", tmp_path / "set", count=2, size=32), spatial_dims=2)
    kinds = {"sync": keras.layers.BatchNormalization, "group": keras.layers.GroupNormalization}
    for norm, kind in kinds.items():
        built = network.new_network(training.Recipe(**two_stage_recipe(norm=norm)), dataset)
        norms = [layer for layer in built.get_layer("trunk").layers if "norm" in type(layer).__name__.lower()]
        assert norms
        assert all(type(layer) is kind and getattr(layer, "synchronized", True) for layer in norms)


def test_options_that_exclude_small_classes_are_refused(tmp_path):
    dataset = data.load_data(data.write_synthetic("organs", tmp_path / "set", count=2, size=32), spatial_dims=2)
    for expected, options in {
        "organ, lesion": {"roi_classes": ["lession"]},
        "not all": {"roi_classes": ["organ", "lesion"]},
        "^label_head: expected none together": {"label_head": 0.2},
        "^class_weights: expected none": {"class_weights": [1, 2]},
        "fine_grained_unet": {"model": "unet_padded", "option": {}},
        "or `roi_classes`": {"roi_classes": None},
        "mapping": {"option": {"trunk_options": "{filters:[4,8]}"}},
    }.items():
        with pytest.raises(OptionError, match=expected):
            network.new_network(training.Recipe(**two_stage_recipe(**options)), dataset)
