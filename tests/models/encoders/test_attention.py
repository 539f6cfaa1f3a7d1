"""What the transformer encoders share."""

import math

import keras
import numpy as np

from maskzoo.models.encoders.attention import GlobalAttention, gelu


def _images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def test_gelu_is_the_exact_one():
    values = np.linspace(-6, 6, 101, dtype="float32")
    expected = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in values.astype(float)]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(gelu(values)), expected, atol=1e-6)


def _attend(query, keys, values, bias=0.0):
    scores = keys @ query / math.sqrt(len(query)) + bias
    weights = np.exp(scores - scores.max())
    return weights @ values / weights.sum()


def test_global_attention_is_a_softmax_over_all_keys_in_each_head():
    query, key, value = _images(1, 2, 3, 6), _images(1, 2, 2, 6) + 1, _images(1, 2, 2, 6) - 1
    found = keras.ops.convert_to_numpy(GlobalAttention(2)([query, key, value]))
    for head in (slice(0, 3), slice(3, 6)):
        keys, values = key[0, ..., head].reshape(-1, 3), value[0, ..., head].reshape(-1, 3)
        for position in np.ndindex(2, 3):
            expected = _attend(query[(0, *position, head)], keys, values)
            np.testing.assert_allclose(found[(0, *position, head)], expected, atol=1e-5)
