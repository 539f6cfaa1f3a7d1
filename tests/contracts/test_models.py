"""What every registered model must do; a model is covered as soon as it registers."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import arrays, images_for, small, small_model

from maskzoo import models

ZOO = json.loads((Path(__file__).parent / "zoo.json").read_text())


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


def _marks(row):
    """Building them all takes half a minute: fast are the counts that the zoo is known by."""
    known = (row["name"] in ("unet", "unet3d") and not row["options"]) or row["name"] in ("vnet3d", "vnet3d_depthwise")
    return () if known else pytest.mark.slow


@pytest.mark.parametrize("row", [pytest.param(row, id=_label(row), marks=_marks(row)) for row in ZOO])
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
    if row["part"] == "scse-extra":
        options = {key: value for key, value in row["options"].items() if key != "attention"}
        plain = models.build_model(row["name"], row["input_shape"], row["num_classes"], **options)
        counts["trainable"] -= _count(plain.trainable_weights)
    expected = {key: row[key] for key in counts if row[key] is not None}
    assert {key: counts[key] for key in expected} == expected
    if row["output_shape"]:
        assert model.output_shape == (None, *row["output_shape"])


# A plan of nnU-Net for thick slices.
THIN_KERNELS = [(1, 3, 3), (1, 3, 3), 3, 3, 3, 3]
THIN_STRIDES = [1, (1, 2, 2), 2, 2, 2, (1, 2, 2)]
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
    # Two more for each of the filters of every normalised convolution, and as many that do not train.
    (
        "vnet3d_paper",
        (32, 32, 32, 1),
        1,
        {"encoder_convs": (1, 2), "decoder_convs": (1,), "start_filters": 4, "batch_norm": True},
        26260,
        26178,
    ),
    ("unet3d", (132, 132, 116, 3), 3, {}, 19079299, 19074627),
    ("unet3d_padded", (128, 128, 128, 1), 1, {"up": "nearest"}, 16324929, 16320257),
    ("unet3d_padded", (128, 128, 128, 1), 1, {"batch_norm": False}, 19068993, 19068993),
    ("unet_plus_plus", (256, 256, 3), 1, {"up": "linear"}, 9170625, 9163329),
    ("unet_plus_plus", (256, 256, 1), 1, {"filters": (64, 128, 256, 512, 1024)}, 36185985, 36171393),
    ("unet_3plus", (320, 320, 3), 1, {}, 26984833, 26971777),
    ("mednext", (32, 32, 32, 1), 3, {"size": "S", "deep_supervision": True}, 5553839, 5553839),
    ("mednext", (32, 32, 3), 2, {"size": "B"}, 10432002, 10432002),
    ("mednext", (32, 32, 32, 1), 3, {"size": "M"}, 17533539, 17533539),
    ("mednext", (32, 32, 32, 1), 3, {"size": "L", "kernel_size": 5}, 62940419, 62940419),
    (
        "nnunet",
        (256, 256, 3),
        2,
        {"filters": (32, 64, 128, 256, 512, 512, 512, 512), "deep_supervision": True},
        46325134,
        46325134,
    ),
    (
        "nnunet",
        (64, 64, 64, 1),
        3,
        {"kernel_size": THIN_KERNELS, "strides": THIN_STRIDES, "deep_supervision": True},
        30372527,
        30372527,
    ),
    ("resenc_unet", (128, 128, 1), 2, {"size": "L", "deep_supervision": True}, 140017038, 140017038),
    ("resenc_unet", (32, 32, 32, 2), 4, {"size": "M", "deep_supervision": True}, 102352244, 102352244),
    ("segresnet", (32, 32, 32, 4), 3, {"filters": 32}, 18798627, 18798627),
    ("segresnet", (32, 32, 32, 1), 2, {"filters": 16, "up": "transpose"}, 4744034, 4744034),
    (
        "segresnet",
        (32, 32, 3),
        2,
        {"filters": 16, "encoder_blocks": (1, 2, 2, 4, 4), "decoder_blocks": (1, 1, 1, 1)},
        6922482,
        6922482,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "input_shape", "num_classes", "options", "total", "trainable"), OTHER_COUNTS)
def test_parameter_counts_of_other_options(name, input_shape, num_classes, options, total, trainable):
    model = models.build_model(name, input_shape, num_classes, **options)
    assert (model.count_params(), _count(model.trainable_weights)) == (total, trainable)


@every_model
def test_free_and_fixed_sizes_give_the_same_finite_float32_logits(name):
    free = small_model(name)
    assert free.name == name
    for size in small(name).sizes:
        fixed = models.build_model(name, (*size, small(name).channels), 2, **small(name).options)
        assert [layer.name for layer in fixed.layers] == [layer.name for layer in free.layers]
        fixed.set_weights(free.get_weights())
        images = images_for(name, size)
        for one, other, shape in zip(arrays(free(images)), arrays(fixed(images)), _shapes(fixed), strict=True):
            assert one.dtype == "float32"
            assert np.isfinite(one).all()
            assert one.shape == (2, *shape[1:])
            _assert_close(one, other)


@pytest.mark.slow
@every_model
def test_one_gradient_step_lowers_the_loss_and_reaches_every_weight(name):
    model = small_model(name)
    start = model.get_weights()
    images = images_for(name, small(name).sizes[0])
    rng = np.random.default_rng(2)
    targets = [rng.integers(0, 2, output.shape).astype("float32") for output in arrays(model(images))]

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


@pytest.mark.slow
@every_model
def test_saves_and_loads_to_equal_outputs(name, tmp_path):
    model = small_model(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = images_for(name, small(name).sizes[1])
    for one, other in zip(arrays(model(images)), arrays(loaded(images)), strict=True):
        _assert_close(one, other)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "unet_padded" else pytest.mark.slow) for name in models.list_models()],
)
def test_exports_to_a_saved_model_with_free_sizes(name, tmp_path):
    model = small_model(name)
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    for size in small(name).sizes:
        images = images_for(name, size)
        for one, other in zip(arrays(model(images)), arrays(exported.serve(images)), strict=True):
            _assert_close(one, other)


@pytest.mark.parametrize("name", [name for name in models.list_models() if small(name).wrong])
def test_a_wrong_size_is_refused_with_what_was_expected_and_received(name):
    tiny = small(name)
    with pytest.raises(ValueError, match=f"{name}: expected axis 0 to be .*received {tiny.wrong[0]}") as refusal:
        models.build_model(name, (*tiny.wrong, tiny.channels), 2, **tiny.options)
    assert "\n" not in str(refusal.value)


@every_model
def test_an_unknown_option_is_refused_with_the_nearest_right_one(name):
    option = next(iter(models.model_options(name)))
    with pytest.raises(ValueError, match=rf"option of {name}: expected .*received {option}s \(nearest: {option}\)"):
        models.build_model(name, (None, None, 1), **{f"{option}s": 1})


@pytest.mark.parametrize("num_classes", [0, -1, 1.5, "2", True])
def test_the_number_of_classes_is_checked(num_classes):
    with pytest.raises(ValueError, match="num_classes: expected"):
        models.build_model("unet_padded", (None, None, 1), num_classes, filters=(2, 2))


@every_model
def test_a_label_head_fits_on_the_model_and_leaves_its_outputs_alone(name):
    model = small_model(name)
    images = images_for(name, small(name).sizes[0])
    outputs = models.add_label_head(model, 3)(images)
    assert outputs["label"].shape == (2, 3)
    assert len(outputs) == len(arrays(model(images))) + 1


@pytest.mark.parametrize(
    "name", ["resunet_a", "segnet", "u2net", "unet25d", "unet_3plus", "vnet", "vnet3d", "vnet3d_depthwise"]
)
def test_logits_are_float32_under_mixed_precision(name):
    tiny = small(name)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = models.build_model(name, (*tiny.sizes[0], tiny.channels), 2, **tiny.options)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.layers[2].compute_dtype == "bfloat16"
    for output in arrays(model(images_for(name, tiny.sizes[0]))):
        assert output.dtype == "float32"
        assert np.isfinite(output).all()


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("attention_unet", (8, 4, 12)),
        ("r2_unet", (8, 4, 12)),
        ("resunet", (8, 4, 12)),
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
