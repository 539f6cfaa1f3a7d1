"""What every registered model must do; a model is covered as soon as it registers."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from maskzoo import models

# Keras 3.15 hands its own variables to numpy.array without the copy keyword when it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

ZOO = json.loads((Path(__file__).parent / "zoo.json").read_text())


@models.register_encoder
def tiny(input_shape=(None, None, 3), *, encoder_weights=None, freeze_encoder=False):
    """Builds an encoder of one strided convolution per level, to try decoders on."""
    x = inputs = keras.Input(input_shape, name="image")
    features = []
    for level, filters in enumerate((8, 8, 8, 8, 16)):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="elu", name=f"level{level}")(x)
        features.append(x)
    return keras.Model(inputs, features, name="tiny")


class Small(NamedTuple):
    """A configuration small enough to train in a blink: two allowed sizes, and one that is refused."""

    options: dict
    sizes: tuple = ((64, 64), (32, 96))
    wrong: tuple = (65, 64)
    channels: int = 1
    images: int = 1


DEFAULT = Small({}, channels=3)
SMALL = {
    "attention_unet": Small({"filters": [4, 6, 8]}, ((16, 24), (32, 16)), (18, 16)),
    "backbone_unet": Small({"encoder": "tiny", "decoder_filters": [8, 6, 6, 4, 4]}),
    "branch2_unet": Small(
        {"trunk": "unet_padded", "trunk_options": {"filters": [4, 6, 8]}, "level": 2, "channels": [1]},
        ((16, 24), (32, 16)),
        wrong=(),
    ),
    "daformer": Small({"encoder": "tiny", "decoder_filters": 8}),
    "deeplabv3plus": Small({"encoder": "tiny", "decoder_filters": 8, "low_level_filters": 4, "dropout": 0.0}),
    "fine_grained_unet": Small(
        {"trunk": "unet_padded", "trunk_options": {"filters": [4, 6, 8]}}, ((16, 24), (32, 16)), wrong=(), images=2
    ),
    "fpn": Small({"encoder": "tiny", "pyramid_filters": 8}),
    "linknet": Small({"encoder": "tiny", "final_filters": 4}),
    "pspnet": Small({"encoder": "tiny", "pyramid_filters": 8}),
    "segformer": Small({"encoder": "tiny", "decoder_filters": 8, "dropout": 0.0}),
    "unet": Small({"filters": [4, 6, 8], "dropout": 0.0}, ((44, 60), (52, 44)), (46, 44)),
    "unet25d": Small(
        {"filters": [2, 4, 4, 6], "in_plane_levels": 1, "attention_maps": True},
        ((16, 8, 5), (8, 24, 6)),
        (12, 8, 5),
    ),
    "unet_3plus": Small(
        {"filters": [4, 6, 8], "branch_filters": 3, "deep_supervision": True}, ((16, 24), (32, 16)), (18, 16)
    ),
    "unet_aspp_fpn": Small(
        {
            "encoder": "tiny",
            "aspp_filters": 16,
            "decoder_filters": [8, 6, 6, 4],
            "pyramid_filters": 4,
            "aspp_dropout": 0.0,
            "dropout": 0.0,
        }
    ),
    "unet_padded": Small({"filters": [4, 6, 8]}, ((16, 24), (32, 16)), (18, 16)),
    "unet3d": Small({"filters": [2, 3, 4]}, ((44, 44, 48), (44, 48, 44)), (46, 44, 44)),
    "unet3d_padded": Small({"filters": [2, 3, 4]}, ((8, 4, 12), (4, 8, 8)), (6, 4, 4)),
    "unet_plus_plus": Small({"filters": [4, 6, 8], "deep_supervision": True}, ((16, 24), (32, 16)), (18, 16)),
    "upernet": Small({"encoder": "tiny", "decoder_filters": 8, "dropout": 0.0}),
    "vnet": Small({"depth": 3, "start_filters": 4}, ((8, 12), (16, 8)), (10, 8)),
    "vnet3d": Small({"depth": 3, "start_filters": 8}, ((8, 4, 8), (4, 12, 8)), (6, 8, 8)),
    "vnet3d_depthwise": Small({"depth": 3, "start_filters": 4}, ((8, 4, 8), (4, 12, 8)), (6, 8, 8), channels=3),
    "vnet3d_paper": Small(
        {"start_filters": 4, "encoder_convs": [1, 2, 2], "decoder_convs": [2, 1]}, ((8, 4, 8), (4, 12, 8)), (6, 8, 8)
    ),
    "vnet3d_plain": Small(
        {"depth": 3, "start_filters": 4, "kernel_size": 3}, ((8, 4, 8), (4, 12, 8)), (6, 8, 8), channels=3
    ),
}


def _small(name):
    return SMALL.get(name, DEFAULT)


@functools.cache
def _model(name):
    small = _small(name)
    keras.utils.set_random_seed(0)
    free = (None,) * len(small.sizes[0])
    return models.build_model(name, (*free, small.channels), 2, **small.options)


def _images(name, size):
    small = _small(name)
    rng = np.random.default_rng(1)
    images = [rng.normal(size=(2, *size, small.channels)).astype("float32") for _ in range(small.images)]
    return images if small.images > 1 else images[0]


def _outputs(result):
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(result)]


def _shapes(model):
    return [output.shape for output in keras.tree.flatten(model.output)]


def _assert_close(one, other, tolerance=1e-5):
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1, np.abs(one).max()))


def _count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def _label(row):
    options = ",".join(f"{key}={value}" for key, value in row["options"].items())
    return f"{row['name']}-{row['input_shape'][-1]}ch-{options or 'default'}"


every_model = pytest.mark.parametrize("name", models.list_models())


@pytest.mark.parametrize("row", [pytest.param(row, id=_label(row)) for row in ZOO])
def test_parameter_counts_and_shapes_are_those_of_the_reference(row):
    if row["part"] == "encoder":
        model = models.build_encoder(row["name"], row["input_shape"], **row["options"])
    else:
        model = models.build_model(row["name"], row["input_shape"], row["num_classes"], **row["options"])
    counts = {"total": model.count_params(), "trainable": _count(model.trainable_weights)}
    if row["part"] == "decoder+head":
        encoder = models.build_encoder(row["options"]["encoder"], row["input_shape"])
        counts["total"] -= encoder.count_params()
        counts["trainable"] -= _count(encoder.trainable_weights)
    expected = {key: row[key] for key in counts if row[key] is not None}
    assert {key: counts[key] for key in expected} == expected
    if row["output_shape"]:
        assert model.output_shape == (None, *row["output_shape"])


# The wider record of papers and reference implementations.
OTHER_COUNTS = [
    ("unet_padded", (256, 256, 1), 1, {"up": "transpose"}, 34535745, 34523969),
    ("vnet3d", (64, 64, 64, 1), 1, {"depth": 5}, 1361061, 1352133),
    ("vnet3d_depthwise", (128, 128, 128, 1), 1, {"up": "transpose"}, 867505, 862257),
    ("vnet3d_depthwise", (128, 128, 128, 1), 1, {"pointwise": True}, 824609, 816257),
    ("vnet3d_depthwise", (128, 128, 128, 1), 1, {"pointwise": True, "up": "transpose"}, 1204513, 1196161),
    ("vnet3d_paper", (128, 128, 64, 1), 1, {}, 65179252, 65179252),
    ("vnet3d_paper", (32, 32, 32, 1), 2, {"shared_prelu": False}, 68849816, 68849816),
    (
        "vnet3d_paper",
        (128, 128, 64, 1),
        2,
        {"encoder_convs": (1, 1, 2, 3, 3), "decoder_convs": (3, 2, 1, 1)},
        61982682,
        61982682,
    ),
    ("unet3d", (132, 132, 116, 3), 3, {}, 19079299, 19074627),
    ("unet3d_padded", (128, 128, 128, 1), 1, {"up": "nearest"}, 16324929, 16320257),
    ("unet3d_padded", (128, 128, 128, 1), 1, {"batch_norm": False}, 19068993, 19068993),
    ("unet_plus_plus", (256, 256, 3), 1, {"up": "linear"}, 9170625, 9163329),
    ("unet_plus_plus", (256, 256, 1), 1, {"filters": (64, 128, 256, 512, 1024)}, 36185985, 36171393),
    ("unet_3plus", (320, 320, 3), 1, {}, 26984833, 26971777),
]


@pytest.mark.parametrize(("name", "input_shape", "num_classes", "options", "total", "trainable"), OTHER_COUNTS)
def test_parameter_counts_of_other_options(name, input_shape, num_classes, options, total, trainable):
    model = models.build_model(name, input_shape, num_classes, **options)
    assert (model.count_params(), _count(model.trainable_weights)) == (total, trainable)


@every_model
def test_free_and_fixed_sizes_give_the_same_finite_float32_logits(name):
    free = _model(name)
    assert free.name == name
    for size in _small(name).sizes:
        fixed = models.build_model(name, (*size, _small(name).channels), 2, **_small(name).options)
        assert [layer.name for layer in fixed.layers] == [layer.name for layer in free.layers]
        fixed.set_weights(free.get_weights())
        images = _images(name, size)
        for one, other, shape in zip(_outputs(free(images)), _outputs(fixed(images)), _shapes(fixed), strict=True):
            assert one.dtype == "float32"
            assert np.isfinite(one).all()
            assert one.shape == (2, *shape[1:])
            _assert_close(one, other)


@every_model
def test_one_gradient_step_lowers_the_loss_and_reaches_every_weight(name):
    model = _model(name)
    start = model.get_weights()
    images = _images(name, _small(name).sizes[0])
    rng = np.random.default_rng(2)
    targets = [rng.integers(0, 2, output.shape).astype("float32") for output in _outputs(model(images))]

    def loss():
        outputs = keras.tree.flatten(model(images, training=True))
        return sum(tf.reduce_mean((output - target) ** 2) for target, output in zip(targets, outputs, strict=True))

    with tf.GradientTape() as tape:
        before = loss()
    weights = [variable.value for variable in model.trainable_variables]
    gradients = tape.gradient(before, weights)
    unreached = [w.path for w, g in zip(model.trainable_variables, gradients, strict=True) if g is None]
    assert not unreached
    # A step that lowers the loss by 1 % to first order.
    rate = 0.01 * before / sum(tf.reduce_sum(gradient**2) for gradient in gradients)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        variable.assign_sub(rate * gradient)
    after = loss()
    model.set_weights(start)
    assert after < before


@every_model
def test_saves_and_loads_to_equal_outputs(name, tmp_path):
    model = _model(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = _images(name, _small(name).sizes[1])
    for one, other in zip(_outputs(model(images)), _outputs(loaded(images)), strict=True):
        _assert_close(one, other)


@every_model
def test_exports_to_a_saved_model_with_free_sizes(name, tmp_path):
    model = _model(name)
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    for size in _small(name).sizes:
        images = _images(name, size)
        for one, other in zip(_outputs(model(images)), _outputs(exported.serve(images)), strict=True):
            _assert_close(one, other)


@pytest.mark.parametrize("name", [name for name in models.list_models() if _small(name).wrong])
def test_a_wrong_size_is_refused_with_what_was_expected_and_received(name):
    small = _small(name)
    with pytest.raises(ValueError, match=f"{name}: expected axis 0 to be .*received {small.wrong[0]}") as refusal:
        models.build_model(name, (*small.wrong, small.channels), 2, **small.options)
    assert "\n" not in str(refusal.value)


@every_model
def test_an_unknown_option_is_refused_with_the_nearest_right_one(name):
    option = next(iter(models.model_options(name)))
    with pytest.raises(ValueError, match=rf"option of {name}: expected .*received {option}s \(nearest: {option}\)"):
        models.build_model(name, (None, None, 1), **{f"{option}s": 1})


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
    ("input_shape", "message"),
    [
        ((64, 1), "unet: expected input_shape to have 2 spatial axes"),
        ((None, None, None), "unet: expected the channels in input_shape"),
        ((200, 572, 1), r"axis 0 to be 16\*k \+ 12, at least 188; received 200 \(nearest: 188, 204\)"),
        ((572, 100, 1), r"axis 1 to be 16\*k \+ 12, at least 188; received 100 \(nearest: 188\)"),
    ],
)
def test_input_shapes_are_checked(input_shape, message):
    with pytest.raises(ValueError, match=message):
        models.build_model("unet", input_shape)


@pytest.mark.parametrize("num_classes", [0, -1, 1.5, "2", True])
def test_the_number_of_classes_is_checked(num_classes):
    with pytest.raises(ValueError, match="num_classes: expected"):
        models.build_model("unet_padded", (None, None, 1), num_classes, filters=(2, 2))


@every_model
def test_a_label_head_fits_on_the_model_and_leaves_its_outputs_alone(name):
    model = _model(name)
    images = _images(name, _small(name).sizes[0])
    outputs = models.add_label_head(model, 3)(images)
    assert outputs["label"].shape == (2, 3)
    assert len(outputs) == len(_outputs(model(images))) + 1


@pytest.mark.parametrize("name", ["unet25d", "unet_3plus", "vnet", "vnet3d", "vnet3d_depthwise"])
def test_logits_are_float32_under_mixed_precision(name):
    small = _small(name)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = models.build_model(name, (*small.sizes[0], small.channels), 2, **small.options)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.layers[2].compute_dtype == "bfloat16"
    for output in _outputs(model(_images(name, small.sizes[0]))):
        assert output.dtype == "float32"
        assert np.isfinite(output).all()


def test_feature_maps_of_the_unet_have_the_sizes_of_the_figure():
    model = models.build_model("unet", (572, 572, 1), 2)
    blocks = [f"encoder{level}_1_relu" for level in range(5)] + [f"decoder{level}_1_relu" for level in (3, 2, 1, 0)]
    sizes = [model.get_layer(block).output.shape[1:] for block in blocks]
    assert [size[0] for size in sizes] == [568, 280, 136, 64, 28, 52, 100, 196, 388]
    assert [size[-1] for size in sizes] == [64, 128, 256, 512, 1024, 512, 256, 128, 64]


def test_residual_blocks_add_their_input():
    model = models.build_model("unet_padded", (16, 16, 1), filters=(4, 6), residual=True)
    block = keras.Model(model.input, model.get_layer("encoder0_add").output)
    for index in range(2):
        model.get_layer(f"encoder0_{index}_conv").kernel.assign(
            np.zeros_like(model.get_layer(f"encoder0_{index}_conv").kernel)
        )
    shortcut = keras.Model(model.input, model.get_layer("encoder0_shortcut").output)
    images = np.random.default_rng(0).normal(size=(1, 16, 16, 1)).astype("float32")
    np.testing.assert_array_equal(block(images), shortcut(images))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_vnet_stage_adds_a_single_channel_to_all_filters_and_pads_several(channels):
    model = models.build_model("vnet", (8, 8, channels), depth=2, start_filters=4)
    kernel = model.get_layer("encoder0_0_conv").kernel
    kernel.assign(np.zeros(kernel.shape))
    images = np.random.default_rng(0).normal(size=(1, 8, 8, channels)).astype("float32")
    stage = np.asarray(keras.Model(model.input, model.get_layer("encoder0_add").output)(images))
    expected = np.repeat(images, 4, -1) if channels == 1 else np.pad(images, [(0, 0)] * 3 + [(0, 1)])
    np.testing.assert_array_equal(stage, expected)


def test_a_vnet_has_a_slope_per_channel_or_per_element():
    shared = models.build_model("vnet", (16, 24, 1), depth=3, start_filters=4)
    own = models.build_model("vnet", (16, 24, 1), depth=3, start_filters=4, shared_prelu=False)
    assert shared.get_layer("encoder1_down_prelu").alpha.shape == (1, 1, 8)
    assert own.get_layer("encoder1_down_prelu").alpha.shape == (8, 12, 8)
    with pytest.raises(
        ValueError, match=r"vnet: expected fixed sizes with shared_prelu=False; received \(None, 32, 1\)"
    ):
        models.build_model("vnet", (None, 32, 1), shared_prelu=False)


def test_a_vnet_refuses_more_channels_than_its_first_stage_has_filters():
    with pytest.raises(ValueError, match="vnet: expected at most 16 channels in input_shape; received 17"):
        models.build_model("vnet", (None, None, 17))


def test_attention_maps_of_the_25d_unet_follow_the_slices_of_their_level():
    model = models.build_model("unet25d", (512, 512, 5, 1), attention_maps=True)
    assert {name: output.shape[1:] for name, output in model.output.items()} == {
        "mask": (512, 512, 5, 1),
        "attention0": (512, 512, 5, 1),
        "attention1": (256, 256, 5, 1),
        "attention2": (128, 128, 6, 1),
        "attention3": (64, 64, 4, 1),
        "attention4": (32, 32, 2, 1),
    }
    assert [model.get_layer(f"encoder{level}_1_relu").output.shape[3] for level in range(4)] == [5, 5, 5, 3]
    assert model.get_layer("bottom_1_relu").output.shape[3] == 2


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 7])
def test_the_25d_unet_takes_any_number_of_slices(slices):
    outputs = _model("unet25d")(_images("unet25d", (16, 8, slices)))
    assert outputs["mask"].shape == (2, 16, 8, slices, 2)
    for level in range(4):
        weights = np.asarray(outputs[f"attention{level}"])
        assert weights.min() >= 0
        assert weights.max() <= 1


def test_in_plane_levels_of_the_25d_unet_do_not_mix_slices():
    model = _model("unet25d")
    level = keras.Model(model.input, model.get_layer("encoder0_pool").output)
    images = _images("unet25d", (16, 8, 5))
    other = images.copy()
    other[:, :, :, 2] += 1
    changed = np.abs(np.asarray(level(other)) - np.asarray(level(images))).max((0, 1, 2, 4))
    assert (changed > 0).tolist() == [False, False, True, False, False]


def test_deep_supervision_outputs_have_the_size_of_the_image():
    images = _images("unet_plus_plus", (16, 24))
    for name, outputs in [("unet_plus_plus", {"aux1", "mask"}), ("unet_3plus", {"aux1", "aux2", "mask"})]:
        result = _model(name)(images)
        assert set(result) == outputs
        assert {output.shape for output in result.values()} == {(2, 16, 24, 2)}


def test_a_pruned_unet_plus_plus_equals_its_own_intermediate_head():
    model = models.build_model("unet_plus_plus", (None, None, 1), filters=(2, 3, 4, 5), deep_supervision=True)
    images = _images("unet_plus_plus", (16, 24))
    outputs = model(images)
    for depth in (1, 2):
        pruned = models.prune(model, depth)
        np.testing.assert_array_equal(pruned(images), outputs[f"aux{depth}"])
        assert not any(layer.name.startswith(f"node{depth + 1}") for layer in pruned.layers)
        shallow = models.build_model("unet_plus_plus", (None, None, 1), filters=(2, 3, 4, 5)[: depth + 1])
        assert pruned.count_params() == shallow.count_params()
    with pytest.raises(ValueError, match="depth to prune unet_plus_plus to: expected one of 1, 2; received 3"):
        models.prune(model, 3)
    with pytest.raises(ValueError, match="expected a model with deep supervision; received 1"):
        models.prune(shallow, 1)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("attention_unet", (8, 4, 12)),
        ("unet", (44, 48, 44)),
        ("unet_3plus", (8, 4, 12)),
        ("unet_padded", (8, 4, 12)),
        ("unet_plus_plus", (8, 4, 12)),
    ],
)
def test_u_nets_take_volumes_as_well(name, size):
    model = models.build_model(name, (None, None, None, 2), 3, filters=(2, 3, 4))
    images = np.random.default_rng(0).normal(size=(1, *size, 2)).astype("float32")
    left = tuple(side - 40 for side in size) if name == "unet" else size
    assert model(images).shape == (1, *left, 3)


@pytest.mark.parametrize(
    ("name", "input_shape", "options", "message"),
    [
        ("unet", (None, None, 1), {"up": "linear"}, "up: expected one of transpose, upsample; received linear"),
        ("unet3d_padded", (None, None, None, 1), {"up": "up"}, "up: expected one of transpose, nearest; received up"),
        ("unet", (None, None, 1), {"filters": 8}, "filters: expected a list of whole numbers.*; received 8"),
        ("unet_3plus", (None, None, 1), {"filters": []}, r"filters: expected a list of whole numbers.*; received \[\]"),
        ("vnet", (None, None, 1), {"depth": 0}, "depth: expected a whole number of at least 1; received 0"),
        ("vnet3d", (None, None, None, 1), {"start_filters": "8"}, "start_filters: expected a whole number"),
        ("vnet3d", (None, None, None, 1), {"depth": 6}, "depth: expected 2 to 5; received 6"),
        ("vnet3d", (None, None, None, 1), {"start_filters": 6}, "start_filters: expected a multiple of 4; received 6"),
        ("vnet3d_plain", (None, None, None, 1), {"up": "near"}, "up: expected one of linear, transpose; received near"),
        ("vnet3d_paper", (None, None, None, 1), {"decoder_convs": [1]}, "decoder_convs: expected one stage fewer"),
        ("unet25d", (None, None, None, 1), {"attention": False, "attention_maps": True}, "attention_maps: expected"),
        ("unet25d", (None, None, 1), {}, "unet25d: expected input_shape to have 3 spatial axes and channels"),
    ],
)
def test_wrong_options_are_refused(name, input_shape, options, message):
    with pytest.raises(ValueError, match=message):
        models.build_model(name, input_shape, **options)
