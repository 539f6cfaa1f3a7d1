"""Parameters and multiplications, counted by hand."""

import keras
import pytest
from keras import layers, ops

from maskzoo.models import analysis


def some_of_everything():
    inputs = keras.Input((None, None, 3))
    x = skip = layers.Conv2D(8, 3, padding="same")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    x = layers.Dropout(0.5)(x)
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    x = layers.Conv2D(4, 3, padding="same", groups=2)(x)
    x = layers.Concatenate()([skip, x])
    return keras.Model(inputs, layers.Dense(2)(x), name="net")


def test_costs_by_hand():
    model, pixels = some_of_everything(), 20 * 12
    expected = [pixels * 9 * 3 * 8, pixels // 4 * 9 * 16, pixels // 4 * 16 * 4 * 4, pixels * 9 * 2 * 4, pixels * 12 * 2]
    assert analysis.multiply_adds(model, (20, 12, 3)) == sum(expected)
    total = 3 * 8 * 9 + 8 + 8 * 4 + 16 * 9 + 16 + 16 * 4 * 4 + 4 + 9 * 2 * 4 + 4 + 12 * 2 + 2
    assert analysis.parameters(model) == (total, total - 16)
    with pytest.raises(ValueError, match=r"net: expected axis 1 to be a multiple of 2, at least 2; received 13"):
        analysis.multiply_adds(model, (20, 13, 3))
    with pytest.raises(ValueError, match=r"net: expected an input shape of 2 spatial sizes and 3 channels"):
        analysis.multiply_adds(model, (20, 12, 1))


class Attention(layers.Layer):
    """Attention of one's own: its matrix products are found inside it."""

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 3 * shape[-1]))

    def call(self, x):
        query, key, value = ops.split(ops.matmul(x, self.kernel), 3, axis=-1)
        return ops.einsum("bts,bsc->btc", ops.softmax(ops.einsum("btc,bsc->bts", query, key)), value)


@pytest.mark.parametrize(
    ("attention", "products", "projections"),
    [
        (Attention(), 2 * 10 * 10 * 16, 10 * 16 * 48),
        (layers.MultiHeadAttention(2, 8), 2 * 10 * 10 * 16, 4 * 10 * 16 * 16),
    ],
)
def test_attention_is_counted(attention, products, projections):
    inputs = keras.Input((None, 16))
    own = isinstance(attention, Attention)
    model = keras.Model(inputs, attention(inputs) if own else attention(inputs, inputs))
    assert analysis.multiply_adds(model, (10, 16)) == products + projections


def test_multiply_adds_of_mobilenet_are_those_of_the_paper():
    """Howard et al., "MobileNets", 2017, table 4: 569 million, 4.2 million parameters."""
    model = keras.applications.MobileNet(weights=None)
    assert round(analysis.multiply_adds(model, (224, 224, 3)) / 1e6) == 569
    assert round(analysis.parameters(model)[0] / 1e5) in (42, 43)
