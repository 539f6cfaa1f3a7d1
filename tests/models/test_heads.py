"""Heads, on features and on models that are built already."""

import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.models import blocks, heads


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_an_auxiliary_head_enlarges_its_logits():
    x = keras.Input((None, 8, 4))
    assert heads.auxiliary_head(x, 2, factor=4, name="aux").shape == (None, None, 32, 2)
    assert heads.auxiliary_head(x, 2, name="aux").shape == (None, None, 8, 2)
    probabilities = heads.auxiliary_head(x, 2, "sigmoid", factor=2, name="aux")
    scores = keras.Model(x, probabilities)(100 * _random(2, 3, 8, 4))
    assert np.min(scores) >= 0
    assert np.max(scores) <= 1


def test_auxiliary_heads_have_the_sizes_that_they_claim():
    model = models.build_model("unet_padded", (None, None, 1), 2, filters=(4, 6, 8))
    sources = {"aux1": "decoder1_1_relu", "aux2": "encoder2_1_relu"}
    images = _random(1, 16, 24, 1)
    full = models.add_auxiliary_heads(model, sources, 3)(images)
    assert {name: x.shape for name, x in full.items()} == {
        "mask": (1, 16, 24, 2),
        "aux1": (1, 16, 24, 3),
        "aux2": (1, 16, 24, 3),
    }
    np.testing.assert_array_equal(full["mask"], model(images))
    own = models.add_auxiliary_heads(model, sources, 3, full_size=False)(images)
    assert {name: x.shape for name, x in own.items()} == {
        "mask": (1, 16, 24, 2),
        "aux1": (1, 8, 12, 3),
        "aux2": (1, 4, 6, 3),
    }


@pytest.mark.parametrize(
    ("name", "options", "levels"),
    [
        ("unet_padded", {"filters": (4, 4, 6, 8)}, ["decoder1_1_relu", "decoder2_1_relu"]),
        ("unet", {"filters": (4, 4, 6, 8)}, ["decoder1_1_relu", "decoder2_1_relu"]),
        ("backbone_unet", {"encoder": "resnet18"}, [f"decoder{level}b_relu" for level in (3, 2, 1, 0)]),
        ("deeplabv3plus", {"encoder": "resnet18"}, ["decoder_relu"]),
        ("branch2_unet", {"trunk": "unet_padded", "trunk_options": {"filters": (4, 6, 8)}}, ["decoder1_1_relu"]),
    ],
)
def test_decoder_levels_are_those_that_the_builder_names(name, options, levels):
    assert heads.decoder_levels(models.build_model(name, (None, None, 3), 2, **options)) == levels


@pytest.mark.parametrize(
    "name", ["fpn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("linknet", "unet_aspp_fpn", "upernet"))]
)
def test_deep_supervision_of_a_decoder_is_finest_first_and_as_large_as_it_claims(name):
    model = models.build_model(name, (None, None, 1), 2, encoder="resnet18")
    levels = len(heads.decoder_levels(model))
    assert levels >= 3
    full = models.add_auxiliary_heads(model, levels, 2).compute_output_spec(keras.KerasTensor((1, 128, 192, 1)))
    assert {x.shape for x in full.values()} == {(1, 128, 192, 2)}
    own = models.add_auxiliary_heads(model, levels, 2, full_size=False)
    shapes = [x.shape for x in own.compute_output_spec(keras.KerasTensor((1, 128, 192, 1))).values()]
    factors = [128 // shape[1] for shape in shapes]
    assert factors == sorted(set(factors))
    assert shapes == [(1, 128 // factor, 192 // factor, 2) for factor in factors]


def test_heads_refuse_what_does_not_fit():
    valid = models.build_model("unet", (None, None, 1), filters=(4, 6, 8))
    with pytest.raises(ValueError, match="aux1: expected features whose size divides that of the output"):
        models.add_auxiliary_heads(valid, {"aux1": "decoder1_1_relu"})
    with pytest.raises(
        ValueError,
        match=r"layer of unet: expected the name .*; received decoder1 \(nearest: decoder1_",
    ):
        models.add_auxiliary_heads(valid, {"aux1": "decoder1"})
    with pytest.raises(ValueError, match="sources: expected at most 1 level of unet; received 2"):
        models.add_auxiliary_heads(valid, 2)
    with pytest.raises(ValueError, match="unet: expected a name that no output has; received mask"):
        models.add_label_head(valid, 2, name="mask")
    with pytest.raises(ValueError, match="num_labels: expected a whole number of at least 1; received 0"):
        models.add_label_head(valid, 0)


@pytest.mark.parametrize(
    ("name", "options", "input_shape", "deepest"),
    [
        ("unet", {}, (188, 188, 1), "encoder4_dropout"),
        ("unet", {}, (None, None, 1), "encoder4_dropout"),
        ("unet_3plus", {"filters": (4, 6, 8), "deep_supervision": True}, (None, None, 1), "encoder2_1_relu"),
        ("vnet3d", {"start_filters": 8}, (None, None, None, 1), "bottom_2_relu"),
        ("unet25d", {"filters": (2, 4, 6)}, (None, None, None, 1), "bottom_1_relu"),
    ],
)
def test_a_label_head_reads_the_bottom_of_the_network(name, options, input_shape, deepest):
    model = models.build_model(name, input_shape, **options)
    assert heads.deepest_features(model) is model.get_layer(deepest).output
    assert models.add_label_head(model, 3).output["label"].shape == (None, 3)


def test_a_pooled_map_does_not_count_as_the_deepest_features():
    x = inputs = keras.Input((None, None, 4))
    x = blocks.max_pool(blocks.conv(x, 4, name="fine"), name="pool")
    x = blocks.conv(x, 6, name="bottom")
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True, name="pooled")(x)
    weighed = blocks.multiply([x, pooled], name="weighed")
    narrow = blocks.conv(weighed, 2, 1, name="narrow")
    model = keras.Model(inputs, blocks.upsample(narrow, name="up"))
    assert heads.deepest_features(model) is weighed
