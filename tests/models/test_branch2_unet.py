"""The second branch beside a U-Net."""

import keras
import numpy as np
import pytest

from maskzoo import models
from maskzoo.models import analysis
from maskzoo.models.branch2_unet import LinearInterpolation, PlaceChannels


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def _numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_a_branch_of_one_channel_over_64_channels_at_stride_4_has_130_parameters():
    options = {"encoder": "resnet18"}
    trunk = models.build_model("backbone_unet", (None, None, 2), 4, **options)
    model = models.build_model("branch2_unet", (None, None, 2), 4, trunk_options=options, channels=[1])
    assert model.count_params() - trunk.count_params() == 130


@pytest.mark.parametrize("channels", [[1], [0, 3]])
def test_a_new_branch_leaves_the_trunk_as_it_is_and_a_trained_one_changes_its_channels_alone(channels):
    trunk = models.build_model("unet_padded", (None, None, 2), 4, filters=(4, 6, 8))
    model = models.build_model("branch2_unet", (None, None, 2), 4, trunk=trunk, level=2, channels=channels)
    images = _images(1, 16, 24, 2)
    before = _numpy(trunk(images))
    np.testing.assert_array_equal(_numpy(model(images)), before)
    model.get_layer("branch_conv").bias.assign([1.0] * len(channels))
    change = _numpy(model(images)) - before
    assert set(np.flatnonzero(np.abs(change).max((0, 1, 2)) > 0.1)) == set(channels)


def test_a_branch_interpolates_linearly_at_first():
    for size in ((5, 7), (3, 4, 5)):
        kind = {2: keras.layers.Conv2DTranspose, 3: keras.layers.Conv3DTranspose}[len(size)]
        layer = kind(2, 8, strides=4, padding="same", kernel_initializer=LinearInterpolation())
        x = _images(1, *size, 2)
        inner = (slice(None), *[slice(4, -4)] * len(size))
        np.testing.assert_allclose(_numpy(layer(x))[inner], _enlarged(x)[inner], atol=1e-5)


def _enlarged(x):
    for axis in range(1, x.ndim - 1):
        length = x.shape[axis]
        position = np.clip((np.arange(4 * length) + 0.5) / 4 - 0.5, 0, length - 1)
        below = np.minimum(position.astype(int), length - 2)
        share = (position - below).reshape([-1 if each == axis else 1 for each in range(x.ndim)])
        x = np.take(x, below, axis) * (1 - share) + np.take(x, below + 1, axis) * share
    return x


def test_channels_are_placed_among_zeros():
    found = PlaceChannels((2, 0), 4)(np.array([[5.0, 7.0]], "float32"))
    np.testing.assert_array_equal(_numpy(found), [[7, 0, 5, 0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [4]}, "channels: expected different ones from 0 to 3; received"),
        ({"channels": [1, 1]}, "channels: expected different ones"),
        ({"level": 3}, "level: expected one of the strides 1, 2, 4 of unet_padded; received 3"),
        ({"level": "nowhere"}, "level: expected a stride, or the name of a layer of unet_padded; received nowhere"),
    ],
)
def test_branches_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model(
            "branch2_unet", (None, None, 2), 4, trunk="unet_padded", trunk_options={"filters": (4, 6, 8)}, **options
        )


@pytest.mark.parametrize(
    ("trunk", "options", "shape", "level"),
    [
        ("unet", {"filters": (4, 6, 8), "dropout": 0.0}, (60, 44), 2),
        ("unet", {"filters": (4, 6, 8), "dropout": 0.0}, (60, 44), 4),
        ("unet25d", {"filters": (2, 4, 4, 6), "in_plane_levels": 1}, (16, 8, 5), 4),
        ("unet25d", {"filters": (2, 4, 4, 6), "in_plane_levels": 1}, (16, 8, 4), 2),
    ],
)
def test_a_branch_of_a_valid_padded_or_thin_trunk_looks_where_the_logits_lie(trunk, options, shape, level):
    free = (*(None,) * len(shape), 1)
    model = models.build_model("branch2_unet", free, 1, trunk=trunk, trunk_options=options, level=level)
    plain = models.build_model(trunk, free, 1, **options)
    assert model.output_names == ["mask"]
    images = _images(1, *shape, 1)
    assert model(images).shape == plain(images).shape
    # The branch alone shows where it looks: one bright element of its level appears on the logits that lie on it.
    conv = model.get_layer("branch_conv")
    fine, coarse = analysis.places(model, [model.output, conv.output])
    inner = keras.Model([conv.output, model.get_layer("trunk_mask").output], model.output)
    logits = np.zeros((1, *_sizes(plain, images)[1:-1], 1), "float32")
    element = np.zeros(_sizes(keras.Model(model.input, conv.output), images), "float32")
    place = tuple((length - 1) // 2 for length in element.shape[1:-1])
    element[(0, *place, 0)] = 1
    shown = _numpy(inner([element, logits]))[0, ..., 0]
    for axis, index in enumerate(place):
        centre = float(coarse.start[axis] + coarse.stride[axis] * index) + float(coarse.stride[axis]) / 2
        others = tuple(other for other in range(shown.ndim) if other != axis)
        profile = shown.sum(others)
        positions = float(fine.start[axis]) + np.arange(len(profile)) + 0.5
        assert abs((profile * positions).sum() / profile.sum() - centre) < 1e-4 or profile[[0, -1]].any()


def _sizes(model, images):
    return tuple(model(images).shape)


def test_a_trained_trunk_keeps_its_weights_under_other_names():
    trunk = models.build_model("fpn", (None, None, 1), 2, encoder="resnet18")
    model = models.build_model("branch2_unet", (None, None, 1), 2, trunk=trunk)
    names = [layer.name for layer in model.layers if "mask" in layer.name]
    assert names.count("mask") == 1
    assert set(names) == {
        layer.name.replace("mask", "trunk_mask") for layer in trunk.layers if "mask" in layer.name
    } | {"mask"}
    assert trunk.get_layer("mask") is not None


def test_a_model_saved_with_the_older_name_of_its_output_still_takes_heads_and_weights(tmp_path):
    trunk = models.build_model("unet_padded", (None, None, 1), 2, filters=(4, 6))
    x = keras.layers.Conv2D(1, 1, name="branch_conv")(trunk.get_layer("encoder0_1_relu").output)
    old = keras.Model(trunk.input, keras.layers.Add(name="branch_sum")([trunk.output, x]), name="branch2_unet")
    old.save(tmp_path / "best.keras")
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    assert set(models.add_label_head(loaded, 1).output) == {"mask", "label"}
