"""Memory of activations, counted by hand."""

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


def test_activations_by_hand():
    model, pixels = some_of_everything(), 20 * 12
    # Channels times pixels. At the concatenation the skip, its partner and the result are alive.
    assert analysis.peak_activation_bytes(model, (20, 12, 3)) == 4 * pixels * (8 + 4 + 12)
    assert analysis.training_activation_bytes(model, (20, 12, 3)) == 4 * pixels * (3 + 8 + 8 + 4 + 4 + 4 + 12 + 2)


class Attention(layers.Layer):
    """Attention of one's own: its matrix products are found inside it."""

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 3 * shape[-1]))

    def call(self, x):
        query, key, value = ops.split(ops.matmul(x, self.kernel), 3, axis=-1)
        return ops.einsum("bts,bsc->btc", ops.softmax(ops.einsum("btc,bsc->bts", query, key)), value)


@pytest.mark.parametrize(("attention", "heads"), [(Attention(), 1), (layers.MultiHeadAttention(2, 8), 2)])
def test_scores_of_attention_take_memory(attention, heads):
    inputs = keras.Input((None, 16))
    model = keras.Model(inputs, attention(inputs) if heads == 1 else attention(inputs, inputs))
    # At least the input, query, key, value, and the scores of every pair.
    assert analysis.peak_activation_bytes(model, (10, 16)) >= 4 * (2 * 10 * 16 + heads * 10 * 10)
