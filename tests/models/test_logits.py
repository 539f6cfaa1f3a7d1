"""Activations at the end of networks are cut off."""

import keras
import numpy as np
import pytest
from keras import layers

from maskzoo import models
from maskzoo.models.blocks import LinearUpsampling


def _random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def _fused(x):
    return layers.Conv2D(2, 1, activation="sigmoid", name="mask")(x)


def _own_layer(x):
    return layers.Activation("softmax", name="probabilities")(layers.Conv2D(2, 1, name="mask")(x))


def _softmax_layer(x):
    return layers.Softmax(name="probabilities")(layers.Conv2D(2, 1, name="mask")(x))


def _operation(x):
    return keras.ops.sigmoid(layers.Conv2D(2, 1, name="mask")(x))


def _before_enlarging(x):
    x = layers.Activation("sigmoid")(layers.Conv2D(2, 1, name="mask")(layers.MaxPooling2D(2)(x)))
    return layers.Cropping2D(0)(LinearUpsampling(2)(x))


def _per_class(x):
    return layers.Concatenate()([layers.Conv2D(1, 1, activation="sigmoid", name=f"mask{n}")(x) for n in range(2)])


def _inner_model(x):
    image = keras.Input((None, None, 3))
    return keras.Model(image, _fused(image), name="inner")(x)


def _sequence(x):
    return keras.Sequential([layers.Conv2D(2, 1, name="mask"), layers.Activation("sigmoid")])(x)


@pytest.mark.parametrize(
    "head", [_fused, _own_layer, _softmax_layer, _operation, _before_enlarging, _per_class, _inner_model, _sequence]
)
def test_a_network_that_ends_in_an_activation_gives_its_logits(head):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, head(image))
    images = 30 * _random(1, 8, 8, 3)
    logits = models.with_logits(model)
    # No probabilities; which side of 0 they are on follows from random kernels.
    assert np.max(np.abs(logits(images))) > 1
    kernels = [weight.numpy() for weight in model.weights if weight.ndim == 4]
    biases = [weight.numpy() for weight in model.weights if weight.ndim == 1]
    expected = images @ np.concatenate(kernels, -1)[0, 0] + np.concatenate(biases)
    if head is not _before_enlarging:
        np.testing.assert_allclose(logits(images), expected, rtol=1e-4, atol=1e-4)
    assert models.with_logits(logits) is logits


def test_named_outputs_are_cut_one_by_one_and_kept_where_the_network_uses_them():
    image = keras.Input((None, None, 1))
    weight = layers.Activation("sigmoid", name="map")(layers.Conv2D(1, 1, name="map_logits")(image))
    mask = layers.Conv2D(1, 1, name="mask")(layers.Multiply()([image, weight]))
    model = keras.Model(image, {"mask": mask, "map": weight})
    images = _random(1, 4, 4, 1)
    outputs = models.with_logits(model)(images)
    np.testing.assert_array_equal(outputs["mask"], model(images)["mask"])
    np.testing.assert_allclose(1 / (1 + np.exp(-outputs["map"])), model(images)["map"], rtol=1e-5)


@pytest.mark.parametrize("slices", [1, 3])
def test_networks_over_slices_are_cut_as_well(slices):
    flat = models.build_model("unet_padded", (None, None, 1), filters=(2, 4), activation="sigmoid")
    volumes = 9 * _random(1, 8, 8, 4, 1)
    probabilities = models.inflate_25d(flat, slices)
    logits = models.with_logits(probabilities)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits(volumes))), probabilities(volumes), rtol=1e-4)


@pytest.mark.parametrize("name", ["unet", "fpn", "unet_plus_plus", "branch2_unet", "vnet3d"])
def test_every_kind_of_head_is_cut_before_its_activation(name):
    options = {"encoder": "resnet18"} if name == "fpn" else {}
    shape = (None,) * models.spatial_dims_of(name) + (1,)
    if name == "branch2_unet":
        options = {"trunk": "unet_padded", "trunk_options": {"filters": (4, 6, 8)}}
    elif name.startswith("unet"):
        options = {"filters": (2, 4)}
    elif name == "vnet3d":
        options = {"depth": 2, "start_filters": 4}
    plain = models.build_model(name, shape, 2, **options)
    cut = models.with_logits(models.build_model(name, shape, 2, activation="sigmoid", **options))
    assert set(models.analysis.outputs_by_name(cut)) == set(models.analysis.outputs_by_name(plain))
    cut.set_weights(plain.get_weights())
    image = 5 * _random(1, *(64,) * models.spatial_dims_of(name), 1)
    for one, other in zip(*(keras.tree.flatten(model(image)) for model in (plain, cut)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_activations_without_logits_are_refused():
    image = keras.Input((None, None, 3))
    for head in (
        layers.Conv2D(1, 1, activation="relu", name="mask")(image),
        layers.Activation("tanh")(layers.Conv2D(1, 1)(image)),
    ):
        with pytest.raises(
            ValueError, match=r"output of .*: expected logits, or a sigmoid or softmax of them; received"
        ):
            models.with_logits(keras.Model(image, head))
    fused = layers.Conv2D(1, 1, activation="sigmoid", name="once")(image)
    reused = keras.Model(image, {"mask": layers.Conv2D(1, 1, name="mask")(fused), "map": fused})
    with pytest.raises(ValueError, match="values of the layer once, activated and used in the model again"):
        models.with_logits(reused)
    mixed = layers.Concatenate(name="classes")([fused, layers.Conv2D(1, 1)(image)])
    with pytest.raises(ValueError, match="expected logits in all channels or in none; received both, in the layer"):
        models.with_logits(keras.Model(image, mixed))


def _sigmoid(x):
    return layers.Conv2D(1, 1, activation="sigmoid")(x)


class Squashing(layers.Layer):
    """A layer of somebody's own."""

    def call(self, x):
        return 1 / (1 + keras.ops.exp(-x))


@pytest.mark.parametrize(
    "head",
    [
        layers.ReLU(),
        layers.LeakyReLU(),
        layers.PReLU(shared_axes=[1, 2]),
        keras.ops.relu,
        keras.ops.tanh,
        keras.ops.hard_sigmoid,
        lambda x: keras.ops.clip(x, 0, 1),
        layers.TimeDistributed(layers.Dense(1, activation="sigmoid")),
        layers.Lambda(lambda x: keras.ops.sigmoid(x)),
        Squashing(),
        lambda x: layers.Average()([_sigmoid(x), _sigmoid(x)]),
        lambda x: layers.AveragePooling2D(3, 1, "same")(_sigmoid(x)),
        lambda x: layers.Rescaling(255.0)(_sigmoid(x)),
        lambda x: 1 - keras.ops.sigmoid(x),
    ],
)
def test_answers_that_cannot_be_logits_are_refused(head):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(2, 1)(image)
    with pytest.raises(ValueError, match=r"^output of .*: expected logits"):
        models.with_logits(keras.Model(image, head(x)))


@pytest.mark.parametrize(
    "head",
    [
        layers.BatchNormalization(),
        lambda x: layers.Conv2D(1, 1)(layers.ReLU()(x)),
        lambda x: layers.Multiply()([layers.Conv2D(1, 1)(x), _sigmoid(x)]),
        lambda x: 2.0 * layers.Conv2D(1, 1)(x),
        layers.Lambda(lambda x: x - 1),
    ],
)
def test_layers_behind_which_values_are_logits_stay(head):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, head(layers.Conv2D(2, 1)(image)))
    assert models.with_logits(model) is model
