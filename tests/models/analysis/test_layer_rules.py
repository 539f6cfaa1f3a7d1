"""What layers do along a spatial axis, and which are named because they see everything."""

import keras
import pytest
from keras import layers, ops

from maskzoo.models import analysis


def functional(build, spatial_dims=1, name="net"):
    inputs = keras.Input((*[None] * spatial_dims, 1), name="image")
    return keras.Model(inputs, build(inputs), name=name)


def conv(x, kernel=3, strides=1, dilation=1, padding="valid", filters=1):
    kind = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}[x.ndim - 2]
    return kind(filters, kernel, strides=strides, dilation_rate=dilation, padding=padding, activation="relu")(x)


def squeeze_and_excite(x):
    y = layers.GlobalAveragePooling2D(name="squeeze")(x)
    y = layers.Dense(3, activation="sigmoid")(layers.Reshape((1, 1, 1))(y))
    return conv(layers.Multiply()([x, y]), padding="same")


class Unknown(layers.Layer):
    """Halves the size, in a way that the analysis cannot know."""

    def call(self, x):
        return x[:, ::2, ::2]


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (squeeze_and_excite, "squeeze: GlobalAveragePooling2D pools the whole image"),
        (layers.GroupNormalization(1, name="norm"), "norm: GroupNormalization normalises over the whole image"),
        (lambda x: layers.MultiHeadAttention(1, 2, name="attend")(x, x), "attend: MultiHeadAttention attends to the"),
        (layers.UnitNormalization(axis=(2, 3), name="norm"), "norm: UnitNormalization works along a spatial axis"),
        (layers.Softmax(axis=1, name="soft"), "soft: Softmax works along a spatial axis"),
        (lambda x: layers.UpSampling2D()(Unknown(name="half")(x)), "half: Unknown is not known to the analysis"),
        (lambda x: layers.Lambda(lambda y: y, name="any")(x), "any: Lambda is not known to the analysis"),
    ],
)
def test_a_layer_that_sees_everything_is_named(build, reason):
    geometry = analysis.geometry(functional(build, 2))
    assert geometry.is_global
    (named,) = geometry.global_layers
    assert named.startswith(reason)


def test_weights_for_every_position_are_not_the_same_everywhere():
    inputs = keras.Input((8, 8, 2))
    shared = keras.Model(inputs, layers.PReLU(shared_axes=(1, 2))(inputs))
    assert not analysis.geometry(shared).is_global
    model = keras.Model(inputs, layers.PReLU(name="prelu")(inputs))
    assert analysis.geometry(model).global_layers == ("prelu: PReLU has weights for every position",)


def test_normalisation_over_channels_is_local():
    def build(x):
        x = conv(x, filters=4)
        return layers.Softmax()(layers.UnitNormalization(axis=3)(layers.LayerNormalization()(x)))

    geometry = analysis.geometry(functional(build, 2))
    assert not geometry.is_global
    assert geometry.receptive_field == (3, 3)


def test_an_unknown_layer_keeps_the_rule_for_sizes():
    model = functional(lambda x: layers.Add()([x, layers.UpSampling2D()(Unknown()(x))]), 2)
    assert analysis.nearest_size(model, (3, 8)) == (4, 8)


def test_a_layer_declares_its_geometry():
    class Shift(layers.Layer):
        """Looks at the neighbour on the left."""

        def call(self, x):
            return ops.pad(x, [(0, 0), (1, 0), (0, 0)])[:, :-1]

    model = functional(lambda x: Shift()(x))
    assert analysis.geometry(model).is_global
    analysis.register(Shift)(lambda layer, axis, x: x.pad(1, -1))
    geometry = analysis.geometry(model)
    assert not geometry.is_global
    assert geometry.halo == ((1, 0),)
