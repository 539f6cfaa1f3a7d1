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


class Small(NamedTuple):
    """A configuration small enough to train in a blink: two allowed sizes, and one that is refused."""

    options: dict
    sizes: tuple = ((64, 64), (32, 96))
    wrong: tuple = (65, 64)
    channels: int = 1


DEFAULT = Small({}, channels=3)
SMALL = {
    "attention_unet": Small({"filters": [4, 6, 8]}, ((16, 24), (32, 16)), (18, 16)),
    "unet": Small({"filters": [4, 6, 8], "dropout": 0.0}, ((44, 60), (52, 44)), (46, 44)),
    "unet25d": Small(
        {"filters": [2, 4, 4, 6], "in_plane_levels": 1, "attention_maps": True},
        ((16, 8, 5), (8, 24, 6)),
        (12, 8, 5),
    ),
    "unet_3plus": Small(
        {"filters": [4, 6, 8], "branch_filters": 3, "deep_supervision": True}, ((16, 24), (32, 16)), (18, 16)
    ),
    "unet_padded": Small({"filters": [4, 6, 8]}, ((16, 24), (32, 16)), (18, 16)),
    "unet3d": Small({"filters": [2, 3, 4]}, ((44, 44, 48), (44, 48, 44)), (46, 44, 44)),
    "unet3d_padded": Small({"filters": [2, 3, 4]}, ((8, 4, 12), (4, 8, 8)), (6, 4, 4)),
    "unet_plus_plus": Small({"filters": [4, 6, 8], "deep_supervision": True}, ((16, 24), (32, 16)), (18, 16)),
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
    return np.random.default_rng(1).normal(size=(2, *size, _small(name).channels)).astype("float32")


def _outputs(result):
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(result)]


def _shapes(model):
    return [output.shape for output in keras.tree.flatten(model.output)]


def _assert_close(one, other, tolerance=1e-5):
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1, np.abs(one).max()))


def _count(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def _registered(row):
    names = models.list_encoders() if row["part"] == "encoder" else models.list_models()
    return row["name"] in names


def _label(row):
    options = ",".join(f"{key}={value}" for key, value in row["options"].items())
    return f"{row['name']}-{row['input_shape'][-1]}ch-{options or 'default'}"


every_model = pytest.mark.parametrize("name", models.list_models())


@pytest.mark.parametrize("row", [pytest.param(row, id=_label(row)) for row in ZOO if _registered(row)])
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


@pytest.mark.parametrize("num_classes", [0, -1, 1.5, "2"])
def test_the_number_of_classes_is_checked(num_classes):
    with pytest.raises(ValueError, match="num_classes: expected"):
        models.build_model("unet_padded", (None, None, 1), num_classes, filters=(2, 2))
