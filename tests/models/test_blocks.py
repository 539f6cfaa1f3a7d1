"""Blocks and heads against numbers worked out elsewhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from maskzoo import models
from maskzoo.models import analysis, blocks, checks, heads
from maskzoo.models.unet25d import FitSlices
from maskzoo.models.vnet3d import DepthwiseConv3D

# Keras 3.15 hands its own variables to numpy.array without the copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_linear_upsampling_of_a_ramp_is_the_ramp_with_clamped_ends():
    ramp = np.array([0.0, 4.0, 8.0], "float32").reshape(1, 3, 1, 1)
    result = blocks.LinearUpsampling((2, 1))(ramp)
    assert np.ravel(result).tolist() == [0, 1, 3, 5, 7, 8]


@pytest.mark.parametrize("size", [2, 4, (2, 1), (1, 4)])
def test_linear_upsampling_equals_bilinear_resizing(size):
    images = _random(2, 7, 5, 3)
    factors = (size, size) if isinstance(size, int) else size
    expected = tf.image.resize(images, (7 * factors[0], 5 * factors[1]), "bilinear")
    np.testing.assert_allclose(blocks.LinearUpsampling(size)(images), expected, rtol=0, atol=3e-7)


@pytest.mark.parametrize("factor", [3, 8])
def test_linear_upsampling_by_other_factors_equals_bilinear_resizing(factor):
    images = _random(2, 7, 5, 3)
    expected = tf.image.resize(images, (7 * factor, 5 * factor), "bilinear")
    np.testing.assert_allclose(blocks.LinearUpsampling(factor)(images), expected, rtol=0, atol=2e-6)


def test_linear_upsampling_of_volumes_is_trilinear():
    volumes = _random(2, 3, 4, 5, 2)
    planes = tf.image.resize(volumes.reshape(6, 4, 5, 2), (8, 10), "bilinear")
    columns = tf.image.resize(tf.reshape(planes, (2, 3, 80, 2)), (6, 80), "bilinear")
    result = blocks.LinearUpsampling(2)(volumes)
    np.testing.assert_allclose(result, tf.reshape(columns, (2, 6, 8, 10, 2)), rtol=0, atol=3e-7)


def test_linear_upsampling_of_one_element_repeats_it():
    assert np.ravel(blocks.LinearUpsampling(2)(np.full((1, 1, 1, 1), 5.0, "float32"))).tolist() == [5] * 4


def test_linear_upsampling_follows_the_precision_and_free_sizes_of_its_input():
    image = keras.Input((None, 6, 4))
    assert blocks.LinearUpsampling((2, 3))(image).shape == (None, None, 18, 4)
    assert blocks.LinearUpsampling(2, dtype="mixed_float16")(_random(1, 2, 2, 1)).dtype == "float16"


def test_linear_upsampling_refuses_factors_that_do_not_match_the_axes():
    with pytest.raises(ValueError, match=r"up: expected size to hold 3 factors of at least 1; received \(2, 2\)"):
        blocks.LinearUpsampling((2, 2), name="up")(_random(1, 2, 2, 2, 1))


def test_pad_channels_appends_zeros():
    padded = np.asarray(blocks.PadChannels(5)(_random(1, 2, 3, 2)))
    np.testing.assert_array_equal(padded[..., :2], _random(1, 2, 3, 2))
    assert padded.shape == (1, 2, 3, 5)
    assert not padded[..., 2:].any()


@pytest.mark.parametrize("kernel_size", [3, (1, 3, 5)])
def test_depthwise_convolution_equals_a_correlation_of_each_channel(kernel_size):
    layer = DepthwiseConv3D(kernel_size)
    volumes = _random(2, 5, 4, 6, 3)
    layer.build(volumes.shape)
    layer.bias.assign([1.0, 2.0, 3.0])
    kernel = np.asarray(layer.kernel.value)
    expected = np.stack(
        [ndimage.correlate(volumes[..., c], kernel[None, ..., c, 0], mode="constant") + c + 1 for c in range(3)], -1
    )
    np.testing.assert_allclose(layer(volumes), expected, atol=1e-5)


def test_depthwise_convolution_refuses_even_kernels():
    with pytest.raises(ValueError, match="expected odd kernel sizes; received 2"):
        DepthwiseConv3D(2)


@pytest.mark.parametrize("slices", [2, 3, 5])
def test_fit_slices_cuts_off_or_appends_zeros(slices):
    volumes, reference = _random(1, 2, 2, 3, 1), np.zeros((1, 2, 2, slices, 4), "float32")
    fitted = np.asarray(FitSlices()([volumes, reference]))
    assert fitted.shape == (1, 2, 2, slices, 1)
    np.testing.assert_array_equal(fitted[..., :3, :], volumes[..., :slices, :])
    assert not fitted[..., 3:, :].any()


def test_sizes_and_crops_of_valid_u_nets_are_those_of_the_papers():
    assert checks.valid_sizes(5) == analysis.SizeRule(16, 12, 188)
    assert checks.valid_sizes(4) == analysis.SizeRule(8, 4, 92)
    assert checks.valid_crops(5) == [88, 40, 16, 4]


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_the_smallest_size_of_a_valid_u_net_is_the_smallest_that_leaves_something(levels):
    rule = checks.valid_sizes(levels)
    size = rule.minimum

    def left(size):
        for _ in range(levels - 1):
            size = (size - 4) // 2
        size -= 4
        for _ in range(levels - 1):
            size = 2 * size - 4
        return size

    assert size % rule.multiple == rule.remainder
    assert left(size) > 0
    assert left(size - rule.multiple) <= 0


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


@pytest.mark.parametrize("name", ["fpn", "linknet", "unet_aspp_fpn", "upernet"])
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
    with pytest.raises(ValueError, match=r"layer of unet: expected one like decoder1_up, .*; received decoder1"):
        models.add_auxiliary_heads(valid, {"aux1": "decoder1"})
    with pytest.raises(ValueError, match="sources: expected at most 1 levels of unet; received 2"):
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
