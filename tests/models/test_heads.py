"""Heads, on features and on models that are built already."""

import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.models import analysis, blocks, heads
from maskzoo.models.alignment import CropTo


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


@pytest.mark.parametrize("layer", ["decoder1_1_relu", "encoder2_1_relu", "encoder0_0_relu"])
def test_auxiliary_heads_of_a_valid_padded_net_lie_on_its_mask(layer):
    model = models.build_model("unet", (None, None, 1), filters=(4, 6, 8), dropout=0.0)
    with_head = models.add_auxiliary_heads(model, {"aux1": layer})
    row = np.arange(60, dtype="float32")
    image = np.broadcast_to(row[None, :, None, None], (1, 60, 44, 1))
    assert with_head(image)["aux1"].shape == with_head(image)["mask"].shape == (1, 20, 4, 1)
    # Features at which the image itself could be read: a head whose output is linear in the row says where it looks.
    places = analysis.places(model, [model.get_layer(layer).output, model.output])
    stride, first = float(places[0].stride[0]), float(places[0].start[0])
    centres = first + stride * (np.arange(int(places[0].sizes[0][0])) + 0.5) - 0.5
    assert centres[0] < 20 + stride
    x = np.broadcast_to(centres[None, :, None, None], (1, len(centres), len(centres), 1)).astype("float32")
    reference = np.zeros((1, int(places[1].sizes[0][0]), 4, 1), "float32")
    enlarged = x if stride == 1 else blocks.LinearUpsampling(int(stride))(x)
    start = places[0].crop(places[1])
    found = keras.ops.convert_to_numpy(CropTo(start)([enlarged, reference]))[0, :, 0, 0]
    np.testing.assert_allclose(found, 20 + np.arange(len(found)), atol=1e-4)


def test_auxiliary_heads_of_few_thick_slices_have_as_many_of_them():
    model = models.build_model("unet25d", (None, None, None, 1), filters=(2, 4, 4, 6), in_plane_levels=1)
    for slices in (1, 3, 5, 6):
        outputs = models.add_auxiliary_heads(model, 2)(_random(1, 16, 8, slices, 1))
        assert {x.shape for x in outputs.values()} == {(1, 16, 8, slices, 1)}


def test_a_side_branch_takes_further_heads():
    options = {"trunk": "unet_padded", "trunk_options": {"filters": (4, 6, 8)}, "level": 2}
    model = models.build_model("branch2_unet", (None, None, 1), 2, **options)
    assert set(models.add_label_head(models.add_auxiliary_heads(model, 1, 2), 1).output) == {"mask", "aux1", "label"}


def test_heads_refuse_what_does_not_fit():
    valid = models.build_model("unet", (None, None, 1), filters=(4, 6, 8))
    image = keras.Input((None, None, 1))
    narrow = keras.layers.Conv2D(2, 3, name="narrow")(image)
    narrowed = keras.Model(image, [keras.layers.Conv2D(1, 1, name="mask")(image), narrow])
    with pytest.raises(ValueError, match="aux1: expected features whose strides are multiples of the output's"):
        models.add_auxiliary_heads(narrowed, {"aux1": "narrow"})
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


def test_levels_lead_to_the_mask_whatever_the_other_outputs_are_called():
    model = models.build_model("unet_padded", (None, None, 1), 1, filters=[4, 6, 8])
    levels = heads.decoder_levels(model)
    assert len(levels) == 1
    assert heads.decoder_levels(models.add_label_head(model, 3)) == levels
    assert set(models.add_auxiliary_heads(models.add_label_head(model, 3), 1).output) == {"mask", "label", "aux1"}
